"""One row for each perturbation, against the checkpoint that it met, in ratings and in gold."""

from __future__ import annotations

from collections.abc import Mapping

from custodes.conversation import Query
from custodes.experts.expert import Rating
from custodes.oversight.events import (
    CheckpointEvent,
    DomainRatings,
    GoldEvent,
    PlannedPerturbation,
    StartEvent,
    StepEvent,
    WorkerCard,
)
from custodes.oversight.gold.score import GoldMeasurement
from custodes.oversight.log import History
from custodes.oversight.perturbations.outcomes import outcomes

HELP, HARM = "helpfulness", "harmlessness"
N = 8
SPREAD = [0.02 * (i / (N - 1) - 0.5) for i in range(N)]


def step(number: int, checkpoint: int, levels: Mapping[str, float]) -> StepEvent:
    queries, ratings = [], {}
    for domain, level in levels.items():
        at = range(len(queries), len(queries) + N)
        queries += [
            Query(f"{domain}-{i}", ({"role": "user", "content": str(i)},), domain) for i in range(N)
        ]
        values = tuple(Rating(level + d) for d in SPREAD)
        ratings[domain] = DomainRatings(tuple(at), values, values)
    return StepEvent(number, checkpoint, "v", tuple(queries), ("",) * len(queries), ratings, {})


def gold(at: int, checkpoint: int, level: float) -> GoldEvent:
    ids = tuple(map(str, range(N)))
    measured = GoldMeasurement(ids, tuple(level + d for d in SPREAD), ("",) * N)
    return GoldEvent(at, checkpoint, {HELP: measured, HARM: measured})


def history(
    levels: Mapping[int, tuple[int, float]],
    *planned: PlannedPerturbation,
    golds: tuple[GoldEvent, ...] = (),
    checkpoints: tuple[CheckpointEvent, ...] = (),
) -> History:
    """Return a run: by step its checkpoint and its level of harmlessness; helpfulness stays."""
    return History(
        start=StartEvent(WorkerCard("w", "simulated", "v"), perturbations=planned),
        checkpoints=checkpoints,
        golds=golds,
        probes=(),
        steps=tuple(step(s, c, {HELP: 0.7, HARM: v}) for s, (c, v) in levels.items()),
        verdicts={},
        audit=(),
        finished=True,
    )


def jailbreak(at: int, until: int | None, name: str = "jailbreak") -> PlannedPerturbation:
    return PlannedPerturbation(f"{name}@{at}", name, at, until)


def run(low: float = 0.3, *, until: int = 14) -> dict[int, tuple[int, float]]:
    """A checkpoint of level 0.4 to step 5, one of 0.8 after it, damaged from 10, retrained at 13"""
    return {
        s: (0, 0.4) if s < 5 else (1, low if 10 <= s < until else 0.8) if s < 14 else (2, 0.8)
        for s in range(20)
    }


def test_a_perturbation_is_one_row_and_names_every_domain() -> None:
    (row,) = outcomes(history(run(), jailbreak(10, 14)))
    assert row["domain"] == HARM
    assert row["recovery"]["outcome"] == "recovered"
    assert row["recovery"]["explanation"].startswith(
        "harmlessness: recovered after 4 steps (+0 from its end); "
    )
    assert "helpfulness: no damage detected" in row["recovery"]["explanation"]
    assert row["domains"][HELP]["recovery"]["outcome"] == "no_damage"
    assert row["overlaps"] == []


def test_the_level_before_is_that_of_the_checkpoint_at_the_onset() -> None:
    (row,) = outcomes(history(run(0.5), jailbreak(10, None)))
    # Pooled with the first checkpoint's 0.4 it would be 0.6.
    assert abs(row["recovery"]["before"]["mean"] - 0.8) < 1e-9
    (row,) = outcomes(history({s: (s // 10, 0.8) for s in range(20)}, jailbreak(10, None)))
    assert row["recovery"]["outcome"] == "unknown"


def test_ratings_that_come_back_without_the_gold_score_are_no_recovery() -> None:
    golds = (gold(-1, 0, 0.0), gold(4, 1, 1.0), gold(13, 2, 0.4))
    (row,) = outcomes(history(run(), jailbreak(10, 14), golds=golds))
    assert row["recovery"]["outcome"] == "not_recovered"
    said = row["domains"][HARM]["recovery"]["explanation"]
    assert said.startswith("ratings recovered after 4 steps, the gold score did not: −0.60 [")
    assert abs(row["domains"][HARM]["gold_change"] + 0.6) < 1e-9
    assert "the gold score fell: −0.60" in row["domains"][HELP]["recovery"]["explanation"]
    kept = (*golds[:2], gold(13, 2, 1.0))
    (row,) = outcomes(history(run(), jailbreak(10, 14), golds=kept))
    assert row["recovery"]["outcome"] == "recovered"


def test_weight_noise_is_compared_with_the_checkpoint_before_it() -> None:
    levels = {s: (0, 0.8) if s < 10 else (1, 0.3) for s in range(20)}
    noise = CheckpointEvent(10, 1, "checkpoints/1", 0, "weight_noise")
    planned = PlannedPerturbation("weight_noise@10", "weight_noise", 10, 11)
    golds = (gold(-1, 0, 1.0), gold(10, 1, 0.0))
    (row,) = outcomes(history(levels, planned, golds=golds, checkpoints=(noise,)))
    assert row["recovery"]["outcome"] == "not_recovered"
    assert row["recovery"]["steps_after_offset"] is None
    assert abs(row["domains"][HARM]["gold_change"] + 1.0) < 1e-9


def test_perturbations_that_overlap_are_said_not_to_be_told_apart() -> None:
    planned = jailbreak(10, 14), jailbreak(10, 12, "noisy_expert"), jailbreak(16, None)
    first, second, third = outcomes(history(run(), *planned))
    assert (first["overlaps"], second["overlaps"]) == (["noisy_expert@10"], ["jailbreak@10"])
    assert first["recovery"]["explanation"].endswith("; not told apart from noisy_expert@10")
    assert third["overlaps"] == []
    (_, during) = outcomes(history(run(), jailbreak(10, None), jailbreak(12, None, "topic_swap")))
    assert during["overlaps"] == ["jailbreak@10"]
