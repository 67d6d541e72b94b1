"""Compare two models by their responses: global test, findings, and the A/A run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.control import Control
from custodes.diff.display import DiffDisplay
from custodes.diff.inference.effects import detectable
from custodes.diff.inference.findings import Finding, describe
from custodes.diff.inference.global_test import GlobalTest, combine, mmd
from custodes.diff.inference.hypotheses import FAMILIES, LEAST, SHARES, Hypotheses, averaging, build
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.randomization import Floats, Labels
from custodes.diff.inference.selection import select
from custodes.diff.responses import Aligned, Responses, align, read_responses
from custodes.errors import ConfigError
from custodes.progress import Progress, silent

__all__ = ["AARun", "Detectable", "Diff", "aa_control", "compare", "half_swapped"]

DRAWS = 1999
BASES = (0.0, 0.05, 0.2)
READING, TESTING = "extracting behaviours", "testing, and the A/A run"


@dataclass(frozen=True)
class AARun:
    """The A/A run: the same data with A and B swapped on a random half of the prompts.

    After the swap both sides are the same mixture, so every finding is false.

    Attributes:
        control: Whether it has no findings.
        findings: Its findings; expected none.
        p: Its global p.
    """

    control: Control
    findings: tuple[Finding, ...]
    p: float


@dataclass(frozen=True)
class Detectable:
    """The smallest rise that a diff of this size finds with 80% power.

    Attributes:
        base: A's rate.
        rise: B's rate minus A's, or None where no rise has that power.
    """

    base: float
    rise: float | None


@dataclass(frozen=True, repr=False)
class Diff(DiffDisplay):
    """The result of a comparison.

    Attributes:
        aligned: The responses that were compared.
        fdr: The tolerated false-discovery rate.
        seed: Draws clusters, relabellings and the A/A run.
        global_test: Whether there is any difference at all.
        aa_run: The A/A run, with its control.
        findings: By falling |effect|.
        detectable: The smallest rises that could have been found.
        tested: Number of hypotheses by family.
        notes: What a reader should know, one line each.
        hypotheses: Everything that was tested.
    """

    aligned: Aligned
    fdr: float
    seed: int
    global_test: GlobalTest
    aa_run: AARun
    findings: tuple[Finding, ...]
    detectable: tuple[Detectable, ...]
    tested: dict[str, int]
    notes: tuple[str, ...]
    hypotheses: Hypotheses


def compare(
    a: Any,
    b: Any,
    *,
    fdr: float = 0.1,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    prompt_column: str | None = None,
    response_column: str | None = None,
    progress: Progress = silent,
) -> Diff:
    """Compare two sets of responses.

    Args:
        a: The responses of one model: a file (JSONL, JSON, CSV, Parquet, samples_*.jsonl of
            lm-eval, a log of Inspect), a list of dicts, a pandas or polars data frame, a data set,
            or `Responses`.
        b: The same, of the other model.
        fdr: Tolerated share of false findings, in (0, 0.5].
        seed: Draws clusters, relabellings and the A/A run. The same input and seed give the same
            diff.
        names: Names of the two sides in the result; by default those of the files, else A and B.
        prompt_column: The column of the prompts; by default prompt, or the first other usual name.
        response_column: The column of the responses; by default response, or the first other usual
            name.
        progress: Called after every stage.

    Raises:
        ConfigError: ``fdr`` is out of range.
        DataError: A file is malformed, or one id has different prompts in A and B.
    """
    if not 0 < fdr <= 0.5:
        raise ConfigError(f"fdr is {fdr}", "give a number above 0 and at most 0.5")
    columns = {"prompt_column": prompt_column, "response_column": response_column}
    sides = [_read(side, letter, columns) for side, letter in ((a, "A"), (b, "B"))]
    if names is not None:
        sides = [replace(side, name=name) for side, name in zip(sides, names, strict=True)]
    aligned = align(*sides)
    progress(READING, 0, 1)
    hypotheses = build(aligned, seed)
    design = hypotheses.design
    progress(READING, 1, 1)
    progress(TESTING, 0, 4)
    rng = np.random.default_rng(seed)
    draws = design.draw(DRAWS, rng)
    null = null_distribution(design, hypotheses.family, tuple(SHARES.values()), draws)
    progress(TESTING, 1, 4)
    observed, swapped = design.observed, half_swapped(hypotheses, rng)
    distances = mmd(
        hypotheses.embedded, averaging(aligned), aligned.paired, (observed, swapped, draws), seed
    )
    progress(TESTING, 2, 4)
    whole, aa_whole = (
        _global_test(hypotheses, null, labels, float(distances[k]), distances[2:])
        for k, labels in enumerate((observed, swapped))
    )
    progress(TESTING, 3, 4)
    findings, aa_findings = (
        tuple(describe(hypotheses, aligned, select(hypotheses, null, labels, fdr), labels))
        for labels in (observed, swapped)
    )
    progress(TESTING, 4, 4)
    return Diff(
        aligned=aligned,
        fdr=fdr,
        seed=seed,
        global_test=whole,
        aa_run=AARun(aa_control(aa_findings, aa_whole.p, design.size), aa_findings, aa_whole.p),
        findings=findings,
        detectable=_detectable(aligned, null, fdr),
        tested={name: int((hypotheses.family == f).sum()) for f, name in enumerate(FAMILIES)},
        notes=(*aligned.notes, *_limits(aligned)),
        hypotheses=hypotheses,
    )


def _read(source: Any, letter: str, columns: dict[str, str | None]) -> Responses:
    if isinstance(source, Responses):
        return source
    return read_responses(source, None if isinstance(source, str | Path) else letter, **columns)


def aa_control(findings: tuple[Finding, ...], p: float, tested: int) -> Control:
    """Return the control of the A/A run.

    Args:
        findings: What the A/A run found.
        p: Its global p.
        tested: Number of hypotheses. Without any the run cannot find anything, so it tests nothing.
    """
    name = "A/A run"
    if not tested:
        return Control.not_tested(
            name, f"no behaviour varies on {LEAST} prompts or more, so it could not find anything"
        )
    if findings:
        explanation = (
            f"with A and B swapped on half of the prompts there is no difference, and it has "
            f"{len(findings)} findings; expect false findings"
        )
    else:
        explanation = (
            f"with A and B swapped on half of the prompts it has no findings (global p = {p:.2g})"
        )
    return Control(name, not findings, explanation, {"findings": len(findings), "p": p})


def half_swapped(hypotheses: Hypotheses, rng: np.random.Generator) -> Labels:
    """Swap A and B on a random half of the prompts (of either model's, where they differ).

    Returns:
        The labels of the A/A run, shape (prompts, 1).
    """
    n = hypotheses.design.n
    if hypotheses.paired:
        labels = np.ones((n, 1), np.float32)
        labels[rng.permutation(n)[: n // 2]] = -1
        return labels
    labels = hypotheses.design.observed.copy()
    for side in (0, 1):
        prompts = rng.permutation(np.flatnonzero(hypotheses.design.observed[:, 0] == side))
        labels[prompts[: len(prompts) // 2]] = 1 - side
    return labels


def _global_test(
    hypotheses: Hypotheses, null: Null, labels: Labels, distance: float, draws: Floats
) -> GlobalTest:
    components = {"mmd": (distance, np.asarray(draws))}
    for f, name in enumerate(FAMILIES):
        members = np.flatnonzero(hypotheses.family == f)
        scores = hypotheses.design.scores(labels, members)
        components[name] = (float(scores.max(initial=0)), null.largest[f])
    return combine(components)


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
