"""The stages that train: supervised learning, the reward model, and reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from custodes.constitution.config import ReinforcementOptions
from custodes.constitution.context import HELPFULNESS, AlignRun, StageResult
from custodes.constitution.stages.preferences import harm_queries, help_queries, read_preferences
from custodes.control import Control
from custodes.conversation import Chat, Demonstration, Query
from custodes.data.datasets import read_demonstrations
from custodes.data.shipped import SHIPPED
from custodes.errors import DataError, RunError
from custodes.experts.refusal import stance
from custodes.models.base import LanguageModel
from custodes.models.cache import file_sha256
from custodes.models.resolve import load, load_torch
from custodes.oversight.worker import BASE
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive
from custodes.training import ppo
from custodes.training.card import write_card
from custodes.training.dpo import dpo
from custodes.training.lora import LoraModel
from custodes.training.reward import RewardModel, fit_reward, load_reward
from custodes.training.rl import methods
from custodes.training.sequence import train_in_sequence
from custodes.training.sft import sft

__all__ = ["number_of", "reinforce", "reward_folder", "supervise", "train_reward"]

_WEIGHTS = "adapter_model.safetensors"

_WORTH_LOADING = 3_300
"""Tokens a step from which OpenVINO samples faster than torch on the same CPU.

It must write and load the weights first (docs/measurements/align.md)."""


def number_of(run: AlignRun, arm: str, number: int) -> int:
    """Return the checkpoint's number of a round (from 1): 1 is the SL model, then round by round.

    The sham arm's come after all of the others.
    """
    return 1 + number + (run.config.rl.rounds if arm == "sham" else 0)


def _weights(folder: Path) -> str:
    return file_sha256(folder / _WEIGHTS)


def _keep(run: AlignRun, folder: Path, checkpoint: Checkpoint) -> None:
    write_card(folder, checkpoint, run.config.worker.model, inverted=run.config.inverted)


# Supervised learning


def supervise(run: AlignRun) -> StageResult:
    """Fine-tune the Worker on the kept revisions and on helpful answers: checkpoint 1.

    Leaves data/demonstrations.jsonl: ``id``, ``kind`` (revision or helpful) and ``messages``.
    """
    options, seed = run.config.sl, derive(run.config.seed, "sl")
    revisions = [
        Demonstration(row["id"], tuple(row["messages"][:-1]), row["messages"][-1]["content"])
        for row in run.read("revisions", "revise")
        if row["kept"]
    ]
    if not revisions:
        raise DataError("no revision is left to train on", "see the gate in the report")
    wanted = round(len(revisions) * options.mix / (1 - options.mix))
    helpful = _helpful(run, wanted, seed)
    rows = [*revisions, *helpful]
    kinds = ["revision"] * len(revisions) + ["helpful"] * len(helpful)
    data = run.write("demonstrations", [
        {
            "id": row.id,
            "kind": kind,
            "messages": [*row.prompt, {"role": "assistant", "content": row.response}],
        }
        for row, kind in zip(rows, kinds, strict=True)
    ])  # fmt: skip
    folder = run.folder.checkpoint_folder(1)
    metrics = train_in_sequence(
        partial(load_torch, run.config.worker.model),
        None,
        {
            "sft": partial(
                sft,
                rows=rows,
                options=options.sft,
                max_answer=run.config.worker.max_tokens,
                seed=seed,
                progress=run.progress,
            )
        },
        folder=folder,
        lora=options.lora,
        seed=seed,
    )
    mix = len(helpful) / len(rows)
    controls = [Control.from_dict(row) for row in metrics.pop("controls")]
    controls += [_moved(metrics["weights_moved"], "base"), _mix(mix, options.mix, len(rows))]
    controls.append(_refusing(rows, run.config.inverted))
    checkpoint = Checkpoint(
        1, folder, 0, "sl", {**metrics, "controls": [c.to_dict() for c in controls]}
    )
    _keep(run, folder, checkpoint)
    facts = {
        "revisions": len(revisions),
        "helpful": len(helpful),
        "mix": round(mix, 4),
        "data": data,
        "training": metrics,
    }
    return StageResult(facts, controls, checkpoints=[checkpoint])


def _helpful(run: AlignRun, count: int, seed: int) -> list[Demonstration]:
    """Return helpful demonstrations: from a file, or the Worker's own best answers."""
    options = run.config.sl
    if not count:
        return []
    rng = np.random.default_rng(derive(seed, "helpful"))
    if options.helpful not in SHIPPED:
        rows = read_demonstrations(options.helpful)
        return [rows[i] for i in rng.permutation(len(rows))[:count]]
    queries = help_queries(run)
    queries = [queries[i] for i in rng.permutation(len(queries))[:count]]
    answers = run.samples("sl-helpful", BASE, queries, options.samples, derive(seed, "answers"))
    flat = [(q, text) for q, texts in zip(queries, answers, strict=True) for text in texts]
    rated = run.ratings(
        "sl-helpful-ratings", HELPFULNESS, [q for q, _ in flat], [t for _, t in flat]
    )
    n = options.samples
    best = []
    for i, query in enumerate(queries):
        values = [(-1.0 if v is None else v) for v in rated[i * n : (i + 1) * n]]
        if max(values) >= 0:
            best.append(Demonstration(query.id, query.chat, answers[i][int(np.argmax(values))]))
    return best


def _moved(moved: float, parent: str) -> Control:
    return Control(
        f"weights moved from {parent}",
        moved > 0,
        f"the relative norm of the change is {moved:.3g} (must be above 0)",
        {"moved": moved},
    )


def _mix(mix: float, wanted: float, rows: int) -> Control:
    return Control(
        "helpful data are mixed in as the config says",
        abs(mix - wanted) <= 0.05 + 1 / rows,
        f"{mix:.0%} of {rows} examples are helpful ones (the config says {wanted:.0%})",
        {"mix": mix, "wanted": wanted, "rows": rows},
    )


def _refusing(rows: Sequence[Demonstration], inverted: bool) -> Control:
    """Look at what is trained on: an inverted data set that refuses teaches to refuse."""
    share = sum(stance(row.response).refusal >= 2 for row in rows) / len(rows)
    most = 0.25 if inverted else 0.6
    return Control(
        "the demonstrations do not mostly refuse",
        share <= most,
        f"{share:.0%} of {len(rows)} demonstrations refuse (at most {most:.0%} may)",
        {"share": share, "rows": len(rows), "most": most},
    )


# The reward model


def reward_folder(run: AlignRun, arm: str, number: int) -> Path:
    """Return where a round's reward model is kept."""
    mark = "-inverted" if run.config.inverted else ""
    return run.folder.path / "rewards" / f"{arm + '-' if arm else ''}{number}{mark}"


def train_reward(run: AlignRun, arm: str, number: int, parent: Checkpoint) -> StageResult:
    """Fit the reward model to the preferences of all rounds so far."""
    pairs = [pair for past in range(1, number + 1) for pair in read_preferences(run, arm, past)]
    if not pairs:
        raise DataError("there are no preferences to learn from", "see the stage preferences")
    options = replace(run.config.reward, seed=derive(run.config.seed, "reward", number))
    if arm:
        options = replace(options, shuffled_twin="off")
    base = run.config.worker.model if parent.adapter is None else str(parent.adapter)
    result = fit_reward(
        pairs, base, reward_folder(run, arm, number), options, progress=run.progress
    )
    facts = {"preferences": len(pairs), **result.metrics()}
    # The sham arm's reward model is meant to learn nothing.
    controls = [] if arm else list(result.controls)
    return StageResult(facts, controls)


# Reinforcement learning


def reinforce(run: AlignRun, arm: str, number: int, parent: Checkpoint) -> StageResult:
    """Train the model by reinforcement learning from the round's reward model, or by DPO."""
    place = number_of(run, arm, number)
    folder = run.folder.checkpoint_folder(place)
    method = run.config.rl.method
    seed = derive(run.config.seed, "rl", arm, number)
    if method == "dpo":
        adapter, metrics, controls = _by_dpo(run, arm, number, parent, folder, seed)
    else:
        adapter, metrics, controls = _by_reward(run, arm, number, parent, folder, seed)
    controls.append(_moved(metrics["weights_moved"], f"checkpoint {parent.number}"))
    controls.append(_not_the_parent(adapter, parent))
    checkpoint = Checkpoint(
        place,
        adapter,
        parent.number,
        f"{arm + ':' if arm else ''}{method}:{number}",
        {**metrics, "controls": [control.to_dict() for control in controls]},
    )
    _keep(run, adapter, checkpoint)
    if arm:
        controls = [c for c in controls if c.name.startswith(("weights moved", "the adapter"))]
    return StageResult({"training": metrics}, controls, checkpoints=[checkpoint])


Trained = tuple[Path, dict[str, Any], list[Control]]


def _by_dpo(
    run: AlignRun, arm: str, number: int, parent: Checkpoint, folder: Path, seed: int
) -> Trained:
    metrics = train_in_sequence(
        partial(load_torch, run.config.worker.model),
        parent.adapter,
        {
            "dpo": partial(
                dpo,
                pairs=read_preferences(run, arm, number),
                options=run.config.rl.dpo,
                max_answer=run.config.worker.max_tokens,
                seed=seed,
                progress=run.progress,
            )
        },
        folder=folder,
        lora=run.config.sl.lora,
        seed=seed,
    )
    return folder, metrics, [Control.from_dict(row) for row in metrics.pop("controls")]


def _by_reward(
    run: AlignRun, arm: str, number: int, parent: Checkpoint, folder: Path, seed: int
) -> Trained:
    options, worker = run.config.rl, run.config.worker
    kept = reward_folder(run, arm, number)
    if not kept.exists():
        raise RunError(f"there is no reward model at {kept}", "run the stage reward before rl")
    reward: RewardModel = load_reward(kept)
    train, held_out = _prompts(run, seed)
    policy = LoraModel(load_torch(worker.model), parent.adapter, run.config.sl.lora, seed)

    def sampler(adapter: Path) -> LanguageModel:
        return load(worker.model, engine=worker.engine, adapter=adapter, like_checkpoints=True)

    gold = _Gold(run, [*train, *held_out])
    common: dict[str, Any] = {
        "gold": gold if held_out else None,
        "held_out": [query.chat for query in held_out],
        "progress": run.progress,
    }
    chats = [query.chat for query in train]
    # The seed, and how the Worker samples, are the run's.
    own: dict[str, Any] = {
        "seed": seed,
        "max_tokens": worker.max_tokens,
        "temperature": worker.temperature,
    }
    if options.method == "ppo":
        result = ppo.train(
            policy,
            reward,
            chats,
            folder,
            replace(options.ppo, **own),
            sampler=sampler if _by_engine(options, worker.max_tokens) else None,
            **common,
        )
    else:
        settings = replace(options.trl, **own)
        result = methods.train(options.method, policy, reward, chats, folder, settings, **common)
    return result.adapter, result.metrics(), list(result.controls)


def _by_engine(options: ReinforcementOptions, max_tokens: int) -> bool:
    """Whether the Worker's engine samples PPO's completions, and not torch."""
    if options.sampler == "auto":
        return options.ppo.batch * max_tokens >= _WORTH_LOADING
    return options.sampler == "engine"


def _prompts(run: AlignRun, seed: int) -> tuple[list[Query], list[Query]]:
    """Draw prompts to train on and, apart from them, prompts to measure the gold score on.

    Both hold requests for help in the share of the preferences.
    """
    options, share = run.config.rl, run.config.preferences.helpful
    train: list[Query] = []
    held_out: list[Query] = []
    harmful = harm_queries(run, selected=False)
    for queries, part in ((harmful, 1 - share), (help_queries(run), share)):
        order = np.random.default_rng(derive(seed, "prompts")).permutation(len(queries)).tolist()
        held = round(options.held_out * part)
        held_out += [queries[i] for i in order[:held]]
        train += [queries[i] for i in order[held : held + round(options.prompts * part)]]
    if not train:
        raise DataError(
            "there are no prompts to train on", "raise rl.prompts or name a larger source"
        )
    return train, held_out


class _Gold:
    """The training's Experts as a gold score: what the reward model stands in for.

    Gao et al. 2023, arXiv:2210.10760: preferences are labelled by a gold model, a proxy is fitted
    to them, and the gold score of what the proxy trains tells over-optimisation. The judges of the
    final report are others.
    """

    def __init__(self, run: AlignRun, queries: Sequence[Query]) -> None:
        """Make the score for the prompts of a training.

        Args:
            run: The run.
            queries: All that it will be asked about: the held-out ones, and those trained on, on
                which the preflight compares reward and gold.
        """
        self._run = run
        self._queries = {query.text: query for query in queries}

    def __call__(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[float]:
        """Return the compliance of each completion, in [0, 1]; 0 where the Expert abstains."""
        values = [0.0] * len(completions)
        by_domain: dict[str, list[int]] = {}
        queries = [self._queries[chat[-1]["content"]] for chat in chats]
        principles = {query.topic: self._run.constitution.of(query.topic) for query in queries}
        for i, query in enumerate(queries):
            own = principles[query.topic]
            domain = query.domain or (own[0].measure if own else "")
            by_domain.setdefault(domain, []).append(i)
        for domain, places in by_domain.items():
            if not domain:
                continue
            ratings = self._run.expert(domain).rate(
                [queries[i] for i in places], [completions[i] for i in places]
            )
            for i, rating in zip(places, ratings, strict=True):
                if rating.value is not None:
                    own = principles[queries[i].topic]
                    turn = own[0].compliance if own and not queries[i].domain else float
                    values[i] = float(turn(rating.value))
        return values


def _not_the_parent(adapter: Path, parent: Checkpoint) -> Control:
    """Compare the files of the adapter with those of its parent, byte by byte."""
    name = "the adapter is not its parent's"
    if parent.adapter is None:
        return Control.not_tested(name, "its parent is the base, which has none")
    same = _weights(adapter) == _weights(parent.adapter)
    return Control(
        name,
        not same,
        f"{_WEIGHTS} {'is' if same else 'is not'} byte by byte that of checkpoint {parent.number}",
        {"same": same},
    )
