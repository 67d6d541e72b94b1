"""A comparison in two or three sentences: what differs, how large, how sure, at what price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from custodes.diff.aa_run import spent
from custodes.diff.features.text import TERMINAL
from custodes.diff.inference.power import Detectable
from custodes.diff.inference.wording import percent

if TYPE_CHECKING:
    from custodes.diff.compare import Diff

__all__ = ["detectable_sentence", "identical", "outcome"]

MOSTLY = 0.5
"""A limit is suspected where at least this share of each side's answers end in mid-sentence."""
LONG = 60
"""Characters of an answer that is more than a word or a line without a full stop."""

LEVEL = 0.05
"""The global test speaks of a difference where its p is at most this."""


def outcome(diff: Diff) -> str:
    """Say what a comparison found; the text may quote responses: untrusted."""
    return " ".join(filter(None, (_difference(diff), _broken_off(diff), _price(diff))))


def _difference(diff: Diff) -> str:
    n = _count(diff.aligned.n, "prompt")
    p = diff.global_test.p
    if diff.findings:
        first = diff.findings[0]
        size = first.size
        points = f"{100 * size.effect:+.0f} points, 95% interval {100 * size.low:+.0f} to "
        points = f"{points}{100 * size.high:+.0f}".replace("-", "−")
        once = round(1 / spent(diff.fdr))
        sure = f"If A and B were the same, about 1 such comparison in {once} would find something."
        # The rates of a typical value are those of a threshold, which is not in the statement.
        counted = f"{first.behaviour}: " if first.level else ""
        sentence = f"{first.statement} ({counted}{points})."
        if p > LEVEL:
            sure = (
                f"The test of all answers together does not confirm it (p = {p:.2g}), so compare "
                f"once more, with another seed, before you rely on it. {sure}"
            )
        if len(diff.findings) == 1:
            return f"One difference was found: {sentence} {sure}"
        return f"{len(diff.findings)} differences were found. The largest: {sentence} {sure}"
    if p <= LEVEL:
        return (
            f"B answers differently from A on {n} (p = {p:.2g}), but no single behaviour that "
            f"was looked at accounts for it. {detectable_sentence(diff.detectable)}"
        ).strip()
    if identical(diff):
        return f"All answers of A and B are the same, on {n}."
    found = f"No difference between A and B was found on {n}."
    return f"{found} {detectable_sentence(diff.detectable)}".strip()


def detectable_sentence(detectable: Sequence[Detectable]) -> str:
    """Say what would have been found; "" if that was not computed.

    Args:
        detectable: The smallest rises, that of a word that A never uses first.
    """
    if not detectable:
        return ""
    rise = detectable[0].rise
    if rise is None:
        return "With so few prompts nothing can be found."
    return (
        "A word that A never uses would have been found with 80% power if B used it in "
        f"{percent(round(rise, 3))} of its answers."
    )


def identical(diff: Diff) -> bool:
    """Tell whether every prompt has the same answers on both sides."""
    aligned, answers = diff.aligned, Counter[tuple[int, str]]()
    for unit, side, text in zip(aligned.unit, aligned.side, aligned.texts, strict=True):
        answers[int(unit), text] += 1 if side else -1
    return not any(answers.values())


def _broken_off(diff: Diff) -> str:
    """Warn of answers that end in mid-sentence: a limit of their length may be what differs."""
    shares = []
    for side in (0, 1):
        texts = [diff.aligned.texts[d].rstrip() for d in np.flatnonzero(diff.aligned.side == side)]
        cut = [len(text) >= LONG and not text.endswith(TERMINAL) for text in texts]
        shares.append(float(np.mean(cut)))
    if min(shares) < MOSTLY:
        return ""
    return (
        f"Most answers end in mid-sentence ({shares[0]:.0%} of A's, {shares[1]:.0%} of B's), as if "
        "cut by a limit: do not rely on differences in length or in how answers end."
    )


def _price(diff: Diff) -> str:
    a, b = diff.aligned.names
    answers = _count(len(diff.aligned.texts), "answer")
    prompts = _count(diff.aligned.n, "prompt")
    behaviours = _count(sum(diff.tested.values()), "behaviour")
    sides = "A and B" if (a, b) == ("A", "B") else f"A ({a}) and B ({b})"
    return f"Compared: {sides}, {answers} to {prompts}, {behaviours}."


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
