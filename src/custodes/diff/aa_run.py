"""The A/A run: the same comparison on relabelled copies, in which nothing differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.diff.inference.findings import Finding, describe
from custodes.diff.inference.hypotheses import Hypotheses
from custodes.diff.inference.null import CAUTION, Null
from custodes.diff.inference.randomization import Labels
from custodes.diff.inference.selection import select
from custodes.diff.responses import Aligned

__all__ = ["COPIES", "AARun", "aa_control", "aa_run", "allowed", "spent"]

COPIES = 20
# A diff without a defect fails the control in at most this share of cases.
FALSE_ALARMS = 0.01
BLOCK = 20_000  # Hypotheses scored at once.


@dataclass(frozen=True)
class AARun:
    """The A/A run: copies of the data in which a coin decides for each prompt who is A.

    Both sides of a copy are the same mixture, so every difference found in it is false. The
    behaviours of the responses stay as they are, and only the labels are drawn: a copy costs as
    much as one relabelling of the null distribution.

    Attributes:
        control: Whether no more copies have a finding than chance allows.
        copies: Number of copies.
        found: Copies in which a difference was found.
        findings: Findings of the first of these copies.
    """

    control: Control
    copies: int
    found: int
    findings: tuple[Finding, ...]


def aa_run(
    hypotheses: Hypotheses, aligned: Aligned, null: Null, fdr: float, rng: np.random.Generator
) -> AARun:
    """Look for differences in relabelled copies.

    Args:
        hypotheses: All that was tested.
        aligned: The responses.
        null: Scores under other relabellings.
        fdr: False findings to tolerate.
        rng: Draws the labels.
    """
    labels = hypotheses.design.draw(COPIES, rng)
    # A comparison has a finding if, and only if, its most surprising hypothesis is one.
    with_finding = np.flatnonzero(_least_expected(hypotheses, null, labels) <= fdr)
    findings: tuple[Finding, ...] = ()
    if len(with_finding):
        first = labels[:, [with_finding[0]]]
        findings = tuple(describe(hypotheses, aligned, select(hypotheses, null, first, fdr), first))
    found = len(with_finding)
    possible = null.expected(hypotheses.design.attainable(), hypotheses.family) <= fdr
    control = aa_control(found, fdr, int(possible.sum()))
    return AARun(control, COPIES, found, findings)


def _least_expected(hypotheses: Hypotheses, null: Null, labels: Labels) -> NDArray[np.float64]:
    """Return the expected false findings at each copy's most surprising hypothesis."""
    families = np.arange(len(null.sizes))
    least = np.full(labels.shape[1], np.inf)
    for start in range(0, hypotheses.design.size, BLOCK):
        which = np.arange(start, min(start + BLOCK, hypotheses.design.size))
        scores = hypotheses.design.scores(labels, which)
        for f in families:
            mine = scores[hypotheses.family[which] == f]
            if len(mine):
                top = mine.max(axis=0)
                expected = null.expected(top, np.full(len(top), f))
                least = np.minimum(least, expected)
    return least


def spent(fdr: float) -> float:
    """Return the probability of a finding where nothing differs.

    The search expects at most ``fdr`` clumps of false findings, and takes their number ``CAUTION``
    times as large as it estimates them (Poisson).
    """
    return float(1 - np.exp(-fdr / CAUTION))


def allowed(fdr: float, copies: int = COPIES) -> int:
    """Return the largest number of copies with a finding that chance allows (binomial)."""
    from scipy import stats

    return int(stats.binom.isf(FALSE_ALARMS, copies, spent(fdr)))


def aa_control(found: int, fdr: float, tested: int) -> Control:
    """Return the control of the A/A run.

    Args:
        found: Copies in which a difference was found.
        fdr: False findings that the search tolerates.
        tested: Number of hypotheses that some relabelling makes a finding. Without any the run
            cannot find anything, so it tests nothing.
    """
    name = "A/A run"
    if not tested:
        return Control.not_tested(
            name, "no behaviour differs on enough prompts to be found, however they are relabelled"
        )
    most, expected = allowed(fdr), COPIES * spent(fdr)
    passed = found <= most
    explanation = (
        f"{found} of {COPIES} copies, in which chance decides for each prompt which answer is A's, "
        f"gave a false alarm (about {expected:.0f} is expected, more than {most} would be too many)"
    )
    if not passed:
        explanation += (
            ". More of the findings are false than the error rate says. Do not rely on them: "
            "compare on other prompts, or with a smaller fdr"
        )
    figures = {"found": found, "copies": COPIES, "expected": expected, "allowed": most}
    return Control(name, passed, explanation, figures)
