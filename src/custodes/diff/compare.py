"""Compare two models by their responses: global test, findings, and the A/A run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff.aa_run import AARun, aa_run
from custodes.diff.display import DiffDisplay
from custodes.diff.inference.findings import Finding, describe
from custodes.diff.inference.global_test import GlobalTest, combine, mmd
from custodes.diff.inference.hypotheses import FAMILIES, LEAST, SHARES, Hypotheses, averaging, build
from custodes.diff.inference.length import fold_length
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.power import Detectable, Sizes, detectable_rises
from custodes.diff.inference.randomization import Floats, Labels
from custodes.diff.inference.selection import select
from custodes.diff.outcome import outcome
from custodes.diff.responses import Aligned, Responses, align, read_responses
from custodes.errors import ConfigError
from custodes.progress import Progress, silent

__all__ = ["Diff", "compare"]

DRAWS = 1999
READING, TESTING = "extracting behaviours", "testing, and the A/A run"


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

    @property
    def outcome(self) -> str:
        """What differs, how large, how sure and at what price; untrusted, as findings are."""
        return outcome(self)


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
    distances = mmd(
        hypotheses.embedded, averaging(aligned), aligned.paired, (design.observed, draws), seed
    )
    whole = _global_test(hypotheses, null, design.observed, distances)
    progress(TESTING, 2, 4)
    selections = select(hypotheses, null, design.observed, fdr)
    selections = fold_length(hypotheses, aligned, null, selections, design.observed, fdr)
    findings = describe(hypotheses, aligned, selections, design.observed)
    progress(TESTING, 3, 4)
    relabelled = aa_run(hypotheses, aligned, null, fdr, rng)
    progress(TESTING, 4, 4)
    return Diff(
        aligned=aligned,
        fdr=fdr,
        seed=seed,
        global_test=whole,
        aa_run=relabelled,
        findings=tuple(findings),
        detectable=detectable_rises(_sizes(aligned), null, fdr),
        tested={name: int((hypotheses.family == f).sum()) for f, name in enumerate(FAMILIES)},
        notes=(*aligned.notes, *_limits(aligned)),
        hypotheses=hypotheses,
    )


def _read(source: Any, letter: str, columns: dict[str, str | None]) -> Responses:
    if isinstance(source, Responses):
        return source
    return read_responses(source, None if isinstance(source, str | Path) else letter, **columns)


def _global_test(
    hypotheses: Hypotheses, null: Null, labels: Labels, distances: Floats
) -> GlobalTest:
    components = {"mmd": (float(distances[0]), distances[1:])}
    for f, name in enumerate(FAMILIES):
        members = np.flatnonzero(hypotheses.family == f)
        scores = hypotheses.design.scores(labels, members)
        components[name] = (float(scores.max(initial=0)), null.largest[f])
    return combine(components)


def _sizes(aligned: Aligned) -> Sizes:
    a, b = (np.bincount(aligned.unit[aligned.side == side], minlength=aligned.n) for side in (0, 1))
    return Sizes(
        a=int((a > 0).sum()),
        b=int((b > 0).sum()),
        samples_a=int(np.median(a[a > 0])),
        samples_b=int(np.median(b[b > 0])),
        paired=aligned.paired,
    )


def _limits(aligned: Aligned) -> list[str]:
    if aligned.n >= LEAST:
        return []
    return [
        f"{aligned.n} prompt{'' if aligned.n == 1 else 's'} can show nothing: even if every answer "
        "changed, chance could do it "
        f"with p = {min(1.0, 2.0 ** (1 - aligned.n)):.2g}; use at least {3 * LEAST}"
    ]
