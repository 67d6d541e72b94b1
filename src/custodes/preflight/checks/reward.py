"""Checks on the reward functions before RL: the reward audit."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.forward import scores
from custodes.preflight.measure.rewards import Function
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []

_ONLINE = ("grpo", "rloo")


def _functions(case: Case) -> list[Function]:
    functions = [one for one in case.audit.functions if not one.model]
    if not functions:
        raise NotTestable("the rewards come from reward models")
    return functions


def _working(case: Case) -> list[Function]:
    functions = [one for one in _functions(case) if one.values("rollouts")]
    if not functions:
        raise NotTestable("no reward function works (see reward-works)")
    return functions


@check(
    "reward-works",
    "reward",
    kinds=_ONLINE,
    expected="each function returns one number a completion, within the time limit",
    remedy="return a list of floats as long as completions; catch errors and time-outs inside",
    reference="huggingface/trl#5297",
)
def reward_works(case: Case) -> Verdict:
    """Reward functions return what they should, in time."""
    problems, figures = [], {}
    for one in _functions(case):
        call = one.calls["rollouts"]
        figures[one.name] = {"seconds": round(call.seconds, 3), "printed": call.printed}
        count = len(case.audit.completions)
        if call.error:
            problems.append(f"{one.name}: {call.error}")
        elif call.values is not None and len(call.values) != count:
            problems.append(
                f"{one.name} returned {len(call.values)} rewards for {count} completions"
            )
    slow = {n: f["seconds"] for n, f in figures.items()}
    text = "; ".join(problems) or f"seconds a call: {slow}"
    return verdict(not problems, text, functions=figures)


@check(
    "reward-finite",
    "reward",
    kinds=_ONLINE,
    expected="no NaN, no infinity, and a number for at least one function in every row",
    remedy="clip or replace NaN and infinity; return None only where another function rewards "
    "the row",
    reference="huggingface/trl#5297",
)
def reward_finite(case: Case) -> Verdict:
    """Rewards are finite, on real completions and on probes."""
    bad: dict[str, list[str]] = {}
    silent = None
    for one in _working(case):
        for probe, call in one.calls.items():
            raw = list(call.raw) if call.values is not None else []
            odd = any(
                v is not None and not math.isfinite(x)
                for v, x in zip(raw, call.values or [], strict=False)
            )
            if odd or (call.error and probe not in ("rollouts",)):
                bad.setdefault(one.name, []).append(probe)
        none = [math.isnan(v) for v in one.values("rollouts")]
        silent = none if silent is None else [a and b for a, b in zip(silent, none, strict=False)]
    unscored = sum(silent or [])
    serious = any("rollouts" in probes or len(probes) > 0 for probes in bad.values())
    return verdict(
        not serious and unscored == 0,
        f"{unscored} of {len(case.audit.completions)} completions get no reward from any function; "
        f"not finite or failing: {bad or 'none'}",
        unscored=unscored,
        bad=bad,
    )


@check(
    "reward-columns",
    "reward",
    kinds=_ONLINE,
    expected="every parameter of a reward function without a default is a column of the dataset",
    remedy="name the column as the parameter, and do not drop it (remove_unused_columns=False)",
    reference="docs/guide/preflight.md",
)
def reward_columns(case: Case) -> Verdict:
    """Every column that a reward function wants reaches it."""
    missing = {one.name: one.missing for one in _functions(case) if one.missing}
    return verdict(
        not missing,
        f"missing columns: {missing or 'none'}",
        missing=missing,
    )


@check(
    "reward-weights",
    "reward",
    kinds=_ONLINE,
    expected="no reward weight is negative, and one is above 0",
    remedy="set reward_weights to positive numbers; turn a penalty round inside its function",
    reference="NVlabs/alpamayo-recipes#29",
)
def reward_weights(case: Case) -> Verdict:
    """Reward weights have the right sign."""
    weights = [float(w) for w in case.trainer.reward_weights]
    good = all(w >= 0 and math.isfinite(w) for w in weights) and any(w > 0 for w in weights)
    return verdict(good, f"reward_weights: {weights}", weights=weights)


@check(
    "reward-aligned",
    "reward",
    kinds=_ONLINE,
    expected="a completion gets the same reward wherever it stands in the batch, and again",
    remedy="compute each reward from its own completion: no sorting, no state between calls",
    reference="docs/guide/preflight.md",
)
def reward_aligned(case: Case) -> Verdict:
    """Rewards follow their completions, and do not change between calls."""
    problems, figures = [], {}
    for one in _working(case):
        first = one.values("rollouts")
        back, again = one.values("reversed")[::-1], one.values("again")
        spread = max(_spread(first), 1e-9)
        moved = _gap(first, back) / spread
        changed = _gap(first, again) / spread
        alone = abs(one.values("single")[0] - first[0]) / spread if one.values("single") else 0.0
        figures[one.name] = {"order": moved, "again": changed, "alone": alone}
        if changed > 0.01:
            problems.append(
                f"{one.name} gives other rewards the second time ({changed:.2g} spreads)"
            )
        elif moved > 0.01:
            problems.append(f"{one.name} depends on the order of completions ({moved:.2g} spreads)")
    return verdict(
        not problems, "; ".join(problems) or "rewards follow their completions", functions=figures
    )


def _spread(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return max(finite) - min(finite) if finite else 0.0


def _gap(a: list[float], b: list[float]) -> float:
    if not b or len(a) != len(b):
        return 0.0
    return max(
        (abs(x - y) for x, y in zip(a, b, strict=True) if not (math.isnan(x) or math.isnan(y))),
        default=0.0,
    )


@check(
    "reward-varies",
    "reward",
    kinds=_ONLINE,
    expected="rewards differ within at least one group of completions",
    remedy="make the reward finer (partial credit), the task easier, or the completions longer; a "
    "group with equal rewards has no gradient",
    reference="huggingface/trl#3452; huggingface/trl#5697",
)
def reward_varies(case: Case) -> Verdict:
    """Rewards vary within groups."""
    audit = case.audit
    totals = [0.0] * len(audit.completions)
    every: list[float] = []
    for one in _working(case):
        for i, value in enumerate(one.values("rollouts")[: len(totals)]):
            totals[i] += 0.0 if math.isnan(value) else value * one.weight
        every += [v for probe in one.calls for v in one.values(probe) if math.isfinite(v)]
    groups = [totals[i : i + audit.group] for i in range(0, len(totals), audit.group)]
    flat = sum(_spread(group) < 1e-9 for group in groups)
    figures = {"flat": flat, "groups": len(groups), "rewards": [round(t, 4) for t in totals[:16]]}
    if flat == len(groups) and not any(_reacts(one) for one in _working(case)):
        return verdict(
            False, "no reward depends on the completion: every probe earns the same", **figures
        )
    if flat == len(groups) and _spread(every) > 1e-9:
        return not_tested(
            f"all {flat} groups of short completions have equal rewards, though probes differ: "
            "the task may be too hard for the model at first",
            **figures,
        )
    return verdict(
        flat < len(groups), f"{flat} of {len(groups)} groups have equal rewards", **figures
    )


def _reacts(one: Function) -> bool:
    """Return whether some prompt earns something else with another completion."""
    probes = [one.values(p) for p in ("rollouts", "empty", "echo", "long", "foreign", "appended")]
    probes = [values for values in probes if values]
    return any(
        _spread([values[i] for values in probes if i < len(values)]) > 1e-9
        for i in range(len(probes[0]))
    )


@check(
    "reward-direction",
    "reward",
    kinds=_ONLINE,
    expected="the right answer, where a column holds it, earns more than another row's, an empty "
    "one "
    "and an echo of the prompt",
    remedy="look for a flipped sign, swapped arguments, or an answer that is parsed wrongly",
    reference="NVlabs/alpamayo-recipes#29; huggingface/trl#2714",
)
def reward_direction(case: Case) -> Verdict:
    """Good answers earn more than bad ones."""
    audit = case.audit
    if not audit.truth:
        return not_tested("no column holds a right answer (answer, solution, ground_truth …)")
    sums = _means(case, ("good", "wrong", "empty", "echo"))
    if "good" not in sums or "wrong" not in sums:
        raise NotTestable("there is no second answer to compare with")
    text = ", ".join(f"{k} {v:.3g}" for k, v in sums.items())
    # The wrong answers are the right ones of other rows: the same texts. A reward that looks at the
    # text alone gives both the same mean, and column values say nothing about it.
    gap = sums["good"] - sums["wrong"]
    if abs(gap) < 1e-6 * max(abs(v) for v in (1e-3, *sums.values())):
        return not_tested(
            f"the rewards do not depend on the column {audit.truth!r} ({text})", **sums
        )
    beaten = [k for k, v in sums.items() if k != "good" and v > sums["good"] + 1e-9]
    return verdict(not beaten, f"mean rewards: {text}", **sums)


def _means(case: Case, probes: tuple[str, ...]) -> dict[str, float]:
    """Return the weighted mean reward of each probe, over all functions."""
    sums: dict[str, float] = {}
    for one in _working(case):
        for probe in probes:
            values = [v for v in one.values(probe) if math.isfinite(v)]
            if values:
                sums[probe] = sums.get(probe, 0.0) + one.weight * sum(values) / len(values)
    return sums


def _mean_change(one: Function, probe: str) -> tuple[float, float]:
    """Return the mean change against the rollouts in spreads, and the share of rises."""
    first, then = one.values("rollouts"), one.values(probe)
    pairs = [
        (a, b) for a, b in zip(first, then, strict=False) if math.isfinite(a) and math.isfinite(b)
    ]
    if not pairs:
        return 0.0, 0.0
    spread = max(_spread([a for a, _ in pairs]), 1e-9)
    rises = sum(b > a + 1e-9 for a, b in pairs) / len(pairs)
    return sum(b - a for a, b in pairs) / len(pairs) / spread, rises


@check(
    "reward-shortcuts",
    "reward",
    kinds=_ONLINE,
    expected="where a right answer is known, no shortcut (empty, echo, refusal, very long, a fixed "
    "sentence, another language) earns more than it",
    remedy="penalise the shortcut, or require the answer before anything else counts",
    reference="Gao et al. 2022, arXiv:2210.10760; Singhal et al. 2023, arXiv:2310.03716",
)
def reward_shortcuts(case: Case) -> Verdict:
    """Nothing cheap earns more than the right answer."""
    audit = case.audit
    figures: dict[str, dict[str, float]] = {}
    beaten: list[str] = []
    judged = False
    lengths = [float(len(text)) for text in audit.completions]
    for one in _working(case):
        row = {
            p: round(_mean_change(one, p)[0], 3)
            for p in ("appended", "long", "empty", "echo", "refusal", "foreign")
        }
        row["length_correlation"] = round(_correlation(lengths, one.values("rollouts")), 3)
        figures[one.name] = row
        good = [v for v in one.values("good") if math.isfinite(v)]
        wrong = [v for v in one.values("wrong") if math.isfinite(v)]
        if not good or one.weight <= 0 or abs(sum(good) - sum(wrong)) < 1e-9:
            continue
        judged = True
        best = sum(good) / len(good)
        for probe in ("empty", "echo", "refusal", "long", "foreign"):
            values = [v for v in one.values(probe) if math.isfinite(v)]
            if values and sum(values) / len(values) > best + 1e-9:
                beaten.append(f"{one.name}: {probe}")
    text = "; ".join(
        f"{name}: length r {row['length_correlation']:+.2f}, a fixed sentence "
        f"{row['appended']:+.2g} spreads"
        for name, row in figures.items()
    )
    if not judged:
        return not_tested(f"no right answer to compare with ({text})", functions=figures)
    more = f"; more than the right answer earn {', '.join(beaten)}" if beaten else ""
    return verdict(not beaten, text + more, functions=figures, beaten=beaten)


def _correlation(a: list[float], b: list[float]) -> float:
    pairs = [(x, y) for x, y in zip(a, b, strict=False) if math.isfinite(y)]
    if len(pairs) < 3:
        return 0.0
    first, second = torch.tensor(pairs, dtype=torch.float64).T
    if float(first.std()) == 0.0 or float(second.std()) == 0.0:
        return 0.0
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


@check(
    "reward-agrees-with-expert",
    "reward",
    kinds=_ONLINE,
    expected="where an Expert from outside is given, rewards do not rank against it",
    remedy="look at rows where the two disagree, before training on either",
    reference="Gao et al. 2022, arXiv:2210.10760",
)
def reward_agrees(case: Case) -> Verdict:
    """Rewards and an independent Expert rank completions alike."""
    if case.expert is None:
        return not_tested("no expert was passed (expert=)")
    audit = case.audit
    said = case.expert(audit.prompts, audit.completions)
    totals = [0.0] * len(audit.completions)
    for one in _working(case):
        for i, value in enumerate(one.values("rollouts")):
            totals[i] += value * one.weight if math.isfinite(value) else 0.0
    r = _correlation(totals, [float(v) for v in said])
    bound = -2.0 / max(len(totals) - 1, 1) ** 0.5
    return verdict(
        r > bound, f"correlation with the expert over {len(totals)} completions {r:+.2f}", r=r
    )


@check(
    "reward-model",
    "reward",
    kinds=_ONLINE,
    expected="a reward model gives one finite number, the same alone and padded on either side",
    remedy="load it with num_labels=1 and its own tokenizer, and set config.pad_token_id",
    reference="huggingface/trl#2708; allenai/reward-bench#137",
)
def reward_model(case: Case) -> Verdict:
    """Reward models are read where they should be."""
    found = [
        (f, p)
        for f, p in zip(
            case.trainer.reward_funcs, case.trainer.reward_processing_classes, strict=True
        )
        if isinstance(f, torch.nn.Module)
    ]
    if not found:
        return not_tested("no reward comes from a model")
    measure: Callable[..., torch.Tensor] = scores
    worst, labels = 0.0, 1
    for model, tokenizer in found:
        labels = int(getattr(model.config, "num_labels", 1))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        rows = sorted((list(one.ids) for one in case.rollouts.answers), key=len)
        short, long = rows[0][: max(len(rows[0]) - 4, 2)], rows[-1]
        alone = measure(model, [short], pad=pad)[0]
        beside = measure(model, [short, long], pad=pad)[0]
        scale = max(abs(float(alone)), 0.1)
        worst = max(worst, abs(float(beside) - float(alone)) / scale)
        if not math.isfinite(float(alone)):
            worst = math.inf
    return verdict(
        worst <= 0.01 and labels == 1,
        f"scores differ by {worst:.2g} of their size when padded; num_labels {labels}",
        difference=worst,
        num_labels=labels,
    )
