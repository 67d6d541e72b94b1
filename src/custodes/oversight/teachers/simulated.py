"""The Teacher of the simulated Worker: it gathers real pairs, and training is one step of dynamics.

The pairs are gathered as the `DpoTeacher` gathers them: several answers of the Worker to each
query, ranked by the domain's Expert. Training moves the Worker's latent state by what the pairs
say, which the answers' latent levels tell and not the Expert: where a share s of the pairs prefers
the truly worse answer, it gains 1 - 2s of what it would have gained otherwise, nothing where half
of them do and the opposite where all do. A Teacher with a flipped Expert so does what a real one
would do: harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from custodes.conversation import PreferencePair, Query
from custodes.errors import ConfigError, ModelError, near_misses
from custodes.experts.expert import Expert
from custodes.models.simulated import (
    Dynamics,
    SimulatedModel,
    SimulatedState,
    next_state,
    read_level,
)
from custodes.oversight.roles import Worker
from custodes.oversight.teachers.answers import draw, rate_answers
from custodes.oversight.teachers.preference_pairs import PreferenceData, rank
from custodes.oversight.worker import ModelWorker
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive
from custodes.training.result import significant

__all__ = ["SimulatedTeacher"]


class SimulatedTeacher:
    """Retrains the simulated Worker.

    Args:
        queries: By domain, what it may ask.
        experts: By domain, the Expert that ranks the answers.
        dynamics: What a retrain does to the Worker.
        prompts: Queries that a retrain asks (>= 1).
        samples: Answers to each of them (>= 2).
        seed: Draws the queries, the answers and the noise of the dynamics.
    """

    def __init__(
        self,
        queries: Mapping[str, Sequence[Query]],
        experts: Mapping[str, Expert],
        dynamics: Dynamics | None = None,
        *,
        prompts: int = 64,
        samples: int = 4,
        seed: int = 0,
    ) -> None:
        self.queries, self.experts = queries, experts
        self.dynamics = dynamics or Dynamics()
        self.prompts, self.samples, self.seed = prompts, samples, seed

    def gather(self, worker: Worker, domain: str, step: int, folder: Path) -> PreferenceData:
        """Rank the Worker's answers to queries of the domain, best against worst.

        Raises:
            ConfigError: There is no such domain.
            CustodesError: The Expert abstained on all answers.
        """
        del folder
        if domain not in self.queries:
            raise ConfigError(f"no domain {domain!r}", near_misses(domain, self.queries))
        seed = derive(self.seed, "pairs", step)
        queries = draw(self.queries[domain], self.prompts, derive(seed, "queries"))
        answers = worker.samples(queries, self.samples, derive(seed, "answers"))
        ratings = rate_answers(self.experts[domain], queries, answers)
        return PreferenceData(domain, {domain: rank(queries, answers, ratings, margin=0.0)})

    def train(
        self,
        worker: Worker,
        domain: str,
        step: int,
        folder: Path,
        data: PreferenceData,
        pairs: Sequence[PreferencePair],
    ) -> Checkpoint:
        """Make the next checkpoint; without pairs it is the Worker's own.

        Raises:
            ModelError: The Worker is not a simulated one.
        """
        model = worker.serving if isinstance(worker, ModelWorker) else None
        if not isinstance(model, SimulatedModel):
            raise ModelError("the simulated Teacher cannot teach this Worker", "use the DpoTeacher")
        before, after, parent = model.state, model.state, worker.checkpoint
        if pairs:
            gain = self.dynamics.gain * (1 - 2 * share_reversed(domain, pairs))
            dynamics = replace(self.dynamics, gain=gain)
            after = next_state(before, domain, dynamics, derive(self.seed, "retrain", step))
            after.save(folder)
        moved = max(
            abs(new - old) for new, old in zip(_levels(after), _levels(before), strict=True)
        )
        return Checkpoint(
            number=parent.number + 1,
            adapter=folder if pairs else parent.adapter,
            parent=parent.number,
            intervention=f"teacher:{domain}",
            metrics={
                "weights_moved": significant(moved),
                "data": data.facts,
                "controls": [control.to_dict() for control in data.controls()],
            },
        )


def _levels(state: SimulatedState) -> list[float]:
    return [state.helpful, state.harmful, *dict(state.others).values()]


def share_reversed(domain: str, pairs: Sequence[PreferencePair]) -> float:
    """Return the share of pairs whose chosen answer has the truly worse level, in [0, 1].

    Pairs with an answer that no simulated Worker wrote are left out; without any other the share
    is 0.5, from which nothing is learnt.
    """
    margins = []
    for pair in pairs:
        chosen, rejected = read_level(pair.chosen, domain), read_level(pair.rejected, domain)
        if chosen is not None and rejected is not None:
            margins.append(chosen - rejected)
    return sum((m < 0) + 0.5 * (m == 0) for m in margins) / len(margins) if margins else 0.5
