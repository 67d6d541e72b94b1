"""Fit a reward model, with the twins and controls that would expose one that learnt nothing.

1. Hold out prompts, with all their pairs.
2. Fit the twin whose labels are put in order by chance, then the model: −p log σ(Δ − m) −
   (1 − p) log σ(−Δ − m), with Δ the difference of the two answers' logits, p the soft label and m
   the margin (Bradley & Terry 1952; margins as in Touvron et al. 2023, arXiv:2307.09288, eq. 2).
3. Shift logits so that the average held-out answer scores 0.5, and divide them by the temperature
   that makes held-out differences log-odds (Guo et al. 2017, arXiv:1706.04599).
4. Measure accuracy by prompt beside the twins, calibration, and the controls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.control import Control
from custodes.conversation import PreferencePair
from custodes.errors import CustodesError, RunError
from custodes.models.resolve import version_of
from custodes.progress import Progress, silent
from custodes.runs.files import write_json
from custodes.seeds import derive
from custodes.statistics import Interval
from custodes.training.examples import batched_order, fingerprint
from custodes.training.packing import Sequences, parts
from custodes.training.result import significant
from custodes.training.reward.checks import invariance_control, learning_controls, reload_control
from custodes.training.reward.measure import calibrate, held_out_accuracy, length_twin, temperature
from custodes.training.reward.model import RewardModel, load_reward, start_reward
from custodes.training.reward.options import RewardOptions
from custodes.training.reward.pairs import (
    RewardPair,
    labels_control,
    prompt_key,
    reward_pairs,
    split_by_prompt,
)

__all__ = ["RewardResult", "fit_reward", "pair_loss"]

_CARD = "card.json"

_HEAD_RATE = 10.0
"""How much faster than the adapter the head learns: it starts from nothing."""

_POSITIONS = 1_024
"""Positions of one forward and backward pass; gradients of several add up."""


@dataclass(frozen=True)
class RewardResult:
    """A fitted reward model and what was measured on prompts that it never saw.

    Attributes:
        model: The model.
        folder: Where it is kept: adapter, head (safetensors) and ``card.json``.
        accuracy: Held-out accuracy, with its interval over prompts.
        twins: Held-out accuracy of "length" and "shuffled".
        calibration: ``ece``, the expected calibration error of held-out differences as they are;
            ``ece_scaled``, the same with a temperature from the other half of the prompts;
            ``temperature``; ``table`` of confidence against accuracy.
        series: By name, a figure for each step: ``loss``, ``accuracy``, ``grad_norm``.
        moved: Relative norm of the change of the weights.
        pairs: Pairs trained on, and held out.
        controls: What would have exposed a model that learnt nothing.
    """

    model: RewardModel
    folder: Path
    accuracy: Interval
    twins: Mapping[str, Interval]
    calibration: Mapping[str, Any]
    series: Mapping[str, Sequence[float]]
    moved: float
    pairs: Mapping[str, int]
    controls: Sequence[Control]

    def metrics(self) -> dict[str, Any]:
        """Return what is deterministic, JSON-ready; the controls apart."""
        return {
            "accuracy": asdict(self.accuracy),
            "twins": {name: asdict(twin) for name, twin in self.twins.items()},
            "calibration": dict(self.calibration),
            "series": {n: [round(v, 5) for v in row] for n, row in self.series.items()},
            "weights_moved": significant(self.moved),
            "pairs": dict(self.pairs),
        }


def fit_reward(
    pairs: Sequence[PreferencePair],
    base: str,
    folder: Path,
    settings: RewardOptions,
    *,
    progress: Progress = silent,
) -> RewardResult:
    """Fit a reward model on preferences; Bradley-Terry with margins and soft labels.

    A model that is complete in ``folder`` with the same pairs and settings is loaded, not fitted
    again.

    Args:
        pairs: `RewardPair`s, or plain pairs, whose soft label is the agreement of the annotators.
        base: Name of the base model, as everywhere (`custodes.models.resolve.parse`); an adapter's
            folder starts from that adapter.
        folder: Where the model is written.
        settings: The options.
        progress: Called after each step.

    Raises:
        DataError: A pair is malformed, or too few prompts are left to hold any out.
        RunError: The folder holds a reward model of other pairs or settings.
        CustodesError: The loss stopped being a number.
    """
    checked = reward_pairs(pairs)
    key = fingerprint([[asdict(p) for p in checked], asdict(settings), base, version_of(base)])
    if (folder / _CARD).is_file():
        return _finished(folder, key)
    # 1. Held-out prompts.
    train, held = split_by_prompt(checked, settings.held_out, settings.seed)
    taught, tested = [checked[i] for i in train], [checked[i] for i in held]
    # 2. The twin first, so that its memory is free when the model is fitted.
    shuffled = _shuffled(taught, settings.seed)
    twins = {"length": length_twin(taught, tested)}
    if settings.shuffled_twin != "off":
        twin = _start(base, settings)
        if settings.shuffled_twin == "trained":
            _train(twin, shuffled, settings, progress, "shuffled twin")
        else:
            _fit_frozen(twin, shuffled)
        twins["shuffled"] = held_out_accuracy(*_differences(twin, tested))
        del twin
    model = _start(base, settings)
    before = model.lora.factors()
    series, dropped = _train(model, taught, settings, progress, "reward model")
    # 3. Mean and temperature.
    differences, outcomes, prompts, logits = _differences(model, tested, all_logits=True)
    calibration = calibrate(differences, outcomes, prompts, settings.seed)
    model.mean = float(np.mean(logits))
    model.scale = temperature(differences, outcomes)
    # 4. Measurements.
    accuracy = held_out_accuracy(differences, outcomes, prompts)
    model.save(folder)
    moved = model.lora.moved_from(before).total
    result = RewardResult(
        model=model,
        folder=folder,
        accuracy=accuracy.interval,
        twins={name: twin.interval for name, twin in twins.items()},
        calibration=calibration,
        series=series,
        moved=moved,
        pairs={"trained": len(taught) - dropped, "held_out": len(tested), "dropped": dropped},
        controls=[
            labels_control(checked),
            *learning_controls(accuracy, twins, settings.shuffled_twin),
            _cut_control(dropped, len(taught)),
            _moved_control(moved, series["grad_norm"]),
            reload_control(model, folder),
            invariance_control(model, [p.prompt for p in tested], [p.chosen for p in tested]),
        ],
    )
    write_json(
        folder / _CARD,
        {
            "key": key,
            "base": base,
            "settings": asdict(settings),
            "metrics": result.metrics(),
            "controls": [control.to_dict() for control in result.controls],
        },
    )
    return result


def pair_loss(difference: Any, probability: Any, margin: Any) -> Any:
    """Return the loss of each pair, (n,); see the head of this file."""
    from torch.nn.functional import logsigmoid

    return -(
        probability * logsigmoid(difference - margin)
        + (1 - probability) * logsigmoid(-difference - margin)
    )


def _start(base: str, settings: RewardOptions) -> RewardModel:
    return start_reward(
        base,
        layers=settings.layers,
        max_length=settings.max_length,
        lora=settings.lora,
        seed=settings.seed,
    )


def _encode(model: RewardModel, pairs: Sequence[RewardPair]) -> list[tuple[Any, Any, Any]]:
    """Return prompt, chosen and rejected answer of each pair as token ids."""
    sequences = model.encode(
        [p.prompt for p in pairs for _ in range(2)],
        [text for p in pairs for text in (p.chosen, p.rejected)],
    )
    return [
        (sequences.prompts[i], sequences.completions[i], sequences.completions[i + 1])
        for i in range(0, len(sequences), 2)
    ]


def _train(
    model: RewardModel,
    pairs: Sequence[RewardPair],
    settings: RewardOptions,
    progress: Progress,
    what: str,
) -> tuple[dict[str, list[float]], int]:
    """Fit a model in place; returns figures of each step, and the number of pairs left out.

    Left out are pairs whose answers are the same after cutting.
    """
    import torch

    encoded = _encode(model, pairs)
    usable = [i for i, (_, chosen, rejected) in enumerate(encoded) if chosen != rejected]
    if not usable:
        raise CustodesError("all answers are the same after cutting", "raise max_length")
    sizes = [sum(map(len, encoded[i])) for i in usable]
    batches = [
        order[at : at + settings.batch]
        for epoch in range(settings.epochs)
        for order in [batched_order(sizes, settings.batch, derive(settings.seed, "order", epoch))]
        for at in range(0, len(order), settings.batch)
    ]
    model.head.requires_grad_(True)
    adapter = [w for w in model.lora.model.parameters() if w.requires_grad]
    optimizer = torch.optim.Adam([{"params": adapter}, {"params": [model.head]}])
    series: dict[str, list[float]] = {"loss": [], "accuracy": [], "grad_norm": []}
    device = model.head.device
    for step, chosen_rows in enumerate(batches):
        progress(what, step, len(batches))
        rate = settings.learning_rate * (1 - step / len(batches))
        for group, factor in zip(optimizer.param_groups, (1.0, _HEAD_RATE), strict=True):
            group["lr"] = rate * factor
        rows = [usable[i] for i in chosen_rows]
        optimizer.zero_grad()
        loss_sum, right = 0.0, 0.0
        with model.computing():
            for part in _pair_parts([encoded[i] for i in rows]):
                own = [rows[i] for i in part]
                both = Sequences(
                    [encoded[i][0] for i in own for _ in range(2)],
                    [ids for i in own for ids in encoded[i][1:]],
                )
                logits = model.forward(both)
                difference = logits[0::2] - logits[1::2]
                targets = torch.tensor(
                    [[pairs[i].probability, pairs[i].margin] for i in own], device=device
                )
                losses = pair_loss(difference, targets[:, 0], targets[:, 1])
                (losses.sum() / len(rows)).backward()
                loss_sum += float(losses.detach().sum())
                sides = (difference.detach() > 0) == (targets[:, 0] > 0.5)
                right += float(sides.float().sum())
        norm = float(torch.nn.utils.clip_grad_norm_([*adapter, model.head], 1.0))
        if not np.isfinite(loss_sum) or not np.isfinite(norm):
            raise CustodesError(
                f"the {what} went wrong: its loss is {loss_sum / len(rows)} at step {step + 1}",
                "lower its learning_rate",
            )
        optimizer.step()
        for name, value in (("loss", loss_sum), ("accuracy", right)):
            series[name].append(value / len(rows))
        series["grad_norm"].append(norm)
    progress(what, len(batches), len(batches))
    model.head.requires_grad_(False)
    return series, len(pairs) - len(usable)


def _pair_parts(encoded: Sequence[tuple[Any, Any, Any]]) -> list[list[int]]:
    """Split pairs into parts that are computed together; a pair is never split."""
    firsts = Sequences(
        # The index makes each pair a row of its own.
        [(i, *prompt) for i, (prompt, _, _) in enumerate(encoded)],
        [(*chosen, *rejected) for _, chosen, rejected in encoded],
    )
    return parts(firsts, _POSITIONS)


def _fit_frozen(model: RewardModel, pairs: Sequence[RewardPair]) -> None:
    """Fit the head alone, by ridge regression on the frozen base's states."""
    import torch

    encoded = _encode(model, pairs)
    rows = []
    with torch.no_grad(), model.computing():
        for part in _pair_parts(encoded):
            states = model.states(
                Sequences(
                    [encoded[i][0] for i in part for _ in range(2)],
                    [ids for i in part for ids in encoded[i][1:]],
                )
            ).double()
            rows += list(zip(part, states[0::2] - states[1::2], strict=True))
    x = torch.stack([row for _, row in sorted(rows, key=lambda item: item[0])])
    y = torch.tensor([2 * p.probability - 1 for p in pairs], dtype=x.dtype, device=x.device)
    gram = x.T @ x
    ridge = gram.trace() / len(gram) * torch.eye(len(gram), dtype=x.dtype, device=x.device)
    model.head = torch.linalg.solve(gram + ridge, x.T @ y).float()


def _shuffled(pairs: Sequence[RewardPair], seed: int) -> list[RewardPair]:
    """Turn pairs round by chance."""
    draws = np.random.default_rng(derive(seed, "shuffled")).random(len(pairs)) < 0.5
    return [
        replace(p, chosen=p.rejected, rejected=p.chosen) if turn else p
        for p, turn in zip(pairs, draws, strict=True)
    ]


def _differences(model: RewardModel, pairs: Sequence[RewardPair], all_logits: bool = False) -> Any:
    """Return Δ, the probability that it should be above 0, and the prompt, of each pair."""
    sequences = model.encode(
        [p.prompt for p in pairs for _ in range(2)],
        [text for p in pairs for text in (p.chosen, p.rejected)],
    )
    logits = model.raw(sequences)
    out = (
        logits[0::2] - logits[1::2],
        np.array([p.probability for p in pairs]),
        [prompt_key(p) for p in pairs],
    )
    return (*out, logits) if all_logits else out


def _cut_control(dropped: int, count: int) -> Control:
    return Control(
        "reward answers differ after cutting",
        dropped <= 0.05 * count,
        f"{dropped} of {count} pairs are left out, since max_length cuts both answers to the same "
        "(at most 5%)",
        {"dropped": dropped, "pairs": count},
    )


def _moved_control(moved: float, norms: Sequence[float]) -> Control:
    zero = sum(norm == 0 for norm in norms)
    return Control(
        "reward weights moved",
        moved > 0 and zero == 0,
        f"the relative norm of the change is {moved:.2g} (must be above 0), and the gradient is "
        f"zero at {zero} of {len(norms)} steps (must be 0)",
        {"moved": moved, "zero_steps": zero},
    )


def _finished(folder: Path, key: str) -> RewardResult:
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        same, metrics = card["key"] == key, card["metrics"]
        controls = [Control.from_dict(row) for row in card["controls"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{folder / _CARD} is damaged", "remove the folder and run again") from None
    if not same:
        raise RunError(
            f"{folder} holds a reward model of other pairs or settings",
            "choose another folder, or remove it",
        )
    return RewardResult(
        model=load_reward(folder),
        folder=folder,
        accuracy=Interval(**metrics["accuracy"]),
        twins={name: Interval(**twin) for name, twin in metrics["twins"].items()},
        calibration=metrics["calibration"],
        series=metrics["series"],
        moved=metrics["weights_moved"],
        pairs=metrics["pairs"],
        controls=controls,
    )
