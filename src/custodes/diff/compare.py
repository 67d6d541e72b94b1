"""Compare two models by what they answered: gate, findings, control."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.diff.inference.effects import detectable
from custodes.diff.inference.findings import Finding, describe
from custodes.diff.inference.global_test import Gate, combine, mmd
from custodes.diff.inference.hypotheses import FAMILIES, LEAST, SHARES, Hypotheses, averaging, build
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.randomization import Labels
from custodes.diff.inference.selection import select
from custodes.diff.responses import Aligned, Responses, align, read_responses
from custodes.errors import ConfigError
from custodes.progress import Progress, silent

__all__ = ["Control", "Detectable", "Diff", "compare"]

DRAWS = 1999
BASES = (0.0, 0.05, 0.2)
LOOKING, TESTING = "looking at the responses", "comparing, and its control"


@dataclass(frozen=True)
class Control:
    """The A/A run: the same data with the labels of a random half of the prompts swapped.

    Whatever it finds is false, for under the swap A and B have the same mixture.

    Attributes:
        findings: What it found; expected none.
        p: Its global p.
    """

    findings: tuple[Finding, ...]
    p: float


@dataclass(frozen=True)
class Detectable:
    """The smallest rise that would have been found in four of five such diffs.

    Attributes:
        base: A's rate.
        rise: B's rate minus A's, or None where no rise would have been found.
    """

    base: float
    rise: float | None


@dataclass(frozen=True)
class Diff:
    """What a comparison says.

    Attributes:
        aligned: The responses that were compared.
        fdr: The false-discovery rate asked for.
        seed: Of everything random.
        gate: Whether there is any difference at all.
        control: The A/A run.
        findings: By falling |effect|.
        detectable: What could have been found.
        looked_at: Number of hypotheses by family.
        notes: What a reader should know, one line each.
        hypotheses: Everything looked at, for reports.
    """

    aligned: Aligned
    fdr: float
    seed: int
    gate: Gate
    control: Control
    findings: tuple[Finding, ...]
    detectable: tuple[Detectable, ...]
    looked_at: dict[str, int]
    notes: tuple[str, ...]
    hypotheses: Hypotheses


def compare(
    a: Responses | Path | str,
    b: Responses | Path | str,
    *,
    fdr: float = 0.1,
    seed: int = 0,
    progress: Progress = silent,
) -> Diff:
    """Compare two sets of responses.

    Args:
        a: Responses, or the response file to read them from.
        b: The same, of the other model.
        fdr: Tolerated share of false ones among the findings, in (0, 0.5].
        seed: Of clusters, relabellings and the control. The same input and seed give the same
            diff.
        progress: Told what is going on.

    Raises:
        ConfigError: ``fdr`` is out of range.
        DataError: A file is malformed, or one id has different prompts in A and B.
    """
    if not 0 < fdr <= 0.5:
        raise ConfigError(f"fdr is {fdr}", "give a number above 0 and at most 0.5")
    aligned = align(_read(a), _read(b))
    progress(LOOKING, 0, 1)
    hypotheses = build(aligned, seed)
    design = hypotheses.design
    progress(LOOKING, 1, 1)
    progress(TESTING, 0, 4)
    rng = np.random.default_rng(seed)
    draws = design.draw(DRAWS, rng)
    null = null_distribution(design, hypotheses.family, tuple(SHARES.values()), draws)
    progress(TESTING, 1, 4)
    swapped = _half_swapped(hypotheses, rng)
    distances = mmd(
        hypotheses.embedded,
        averaging(aligned),
        aligned.paired,
        (design.observed, swapped, draws),
        seed,
    )
    progress(TESTING, 2, 4)
    gates = [
        _gate(hypotheses, null, labels, float(distances[k]), distances[2:])
        for k, labels in enumerate((design.observed, swapped))
    ]
    progress(TESTING, 3, 4)
    found, in_control = (
        describe(hypotheses, aligned, select(hypotheses, null, labels, fdr), labels)
        for labels in (design.observed, swapped)
    )
    progress(TESTING, 4, 4)
    return Diff(
        aligned,
        fdr,
        seed,
        gates[0],
        Control(tuple(in_control), gates[1].p),
        tuple(found),
        _detectable(aligned, null, fdr),
        {name: int((hypotheses.family == f).sum()) for f, name in enumerate(FAMILIES)},
        (*aligned.notes, *_limits(aligned)),
        hypotheses,
    )


def _read(source: Responses | Path | str) -> Responses:
    return source if isinstance(source, Responses) else read_responses(Path(source))


def _half_swapped(hypotheses: Hypotheses, rng: np.random.Generator) -> Labels:
    """Swap A and B on a random half of the prompts (of either model's, where they differ)."""
    n = hypotheses.design.n
    if hypotheses.paired:
        labels = np.ones((n, 1), np.float32)
        labels[rng.permutation(n)[: n // 2]] = -1
        return labels
    labels = hypotheses.design.observed.copy()
    for side in (0, 1):
        mine = rng.permutation(np.flatnonzero(hypotheses.design.observed[:, 0] == side))
        labels[mine[: len(mine) // 2]] = 1 - side
    return labels


def _gate(
    hypotheses: Hypotheses, null: Null, labels: Labels, distance: float, draws: object
) -> Gate:
    parts = {"mmd": (distance, np.asarray(draws))}
    for f, name in enumerate(FAMILIES):
        members = np.flatnonzero(hypotheses.family == f)
        scores = hypotheses.design.scores(labels, members)
        parts[name] = (float(scores.max(initial=0)), null.largest[f])
    return combine(parts)


def _detectable(aligned: Aligned, null: Null, fdr: float) -> tuple[Detectable, ...]:
    if not aligned.paired:
        return ()
    score = null.threshold(FAMILIES.index("phrase"), fdr)
    return tuple(Detectable(base, detectable(aligned.n, score, base)) for base in BASES)


def _limits(aligned: Aligned) -> list[str]:
    if aligned.n >= LEAST:
        return []
    return [
        f"{aligned.n} prompts can show nothing: even if every one changed, chance could do it "
        f"with p = {min(1.0, 2.0 ** (1 - aligned.n)):.2g}; use at least {3 * LEAST}"
    ]
