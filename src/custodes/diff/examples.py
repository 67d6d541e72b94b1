"""Examples of findings: responses side by side, with the evidence to highlight, and the map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from custodes.diff.compare import Diff
from custodes.diff.inference.findings import Finding

__all__ = ["best_example", "evidence_spans", "example_rows", "map_rows"]

MOST_EXAMPLES = 4
MOST_CHARACTERS = 1200
MOST_SPANS = 20
# Enough responses to see where they lie.
MOST_POINTS = 1000
PERPLEXITY = 30


def example_rows(diff: Diff, finding: Finding) -> list[dict[str, Any]]:
    """Return responses that show a finding; prompts come first where only one side shows it.

    Of several responses to a prompt, the first that shows it is taken, else the first.
    """
    higher = finding.size.effect > 0
    first, second = (
        (finding.evidence_b, finding.evidence_a)
        if higher
        else (finding.evidence_a, finding.evidence_b)
    )
    other = set(second)
    ordered = [i for i in first if i not in other] + [i for i in first if i in other]
    unit = {x: k for k, x in enumerate(diff.aligned.ids)}
    return [_row(diff, finding, unit[i]) for i in ordered[:MOST_EXAMPLES]]


def _row(diff: Diff, finding: Finding, unit: int) -> dict[str, Any]:
    aligned = diff.aligned
    row: dict[str, Any] = {
        "prompt_id": aligned.ids[unit],
        "prompt": aligned.prompts[unit][:MOST_CHARACTERS],
    }
    for side, name in enumerate("ab"):
        docs = np.flatnonzero((aligned.unit == unit) & (aligned.side == side))
        texts = [aligned.texts[d] for d in docs]
        # An answer that does not show the finding may still have words that are typical of it.
        shows = aligned.ids[unit] in (finding.evidence_a, finding.evidence_b)[side]
        pattern = finding.pattern if shows else ""
        spans, text = best_example(pattern, texts, MOST_CHARACTERS) if texts else ([], None)
        row[name] = None if text is None else text[:MOST_CHARACTERS]
        row[f"spans_{name}"] = spans
    return row


def best_example(
    pattern: str, texts: Sequence[str], characters: int
) -> tuple[list[list[int]], str]:
    """Return the first text with evidence, else the first text, and the spans of the evidence.

    Args:
        pattern: Regular expression of the evidence, or "".
        texts: At least one response.
        characters: Only so many characters of a text are searched.
    """
    for text in texts:
        spans = evidence_spans(pattern, text[:characters])
        if spans:
            return spans, text
    return [], texts[0]


def evidence_spans(pattern: str, text: str) -> list[list[int]]:
    """Return pairs of (start, end) of what matches a pattern; none for an empty pattern."""
    matches = re.finditer(pattern, text) if pattern else ()
    return [[m.start(), m.end()] for m in matches if m.end() > m.start()][:MOST_SPANS]


def map_rows(diff: Diff) -> list[dict[str, Any]]:
    """Lay responses out in the plane, similar ones close together.

    t-SNE (van der Maaten & Hinton 2008).

    Returns:
        One row for each response on the map: x and y in [0, 1], its side, its prompt's id, the
        ids of the findings that it shows and the other side's response does not, and its
        beginning.
    """
    aligned = diff.aligned
    rng = np.random.default_rng(diff.seed)
    docs = np.sort(rng.permutation(len(aligned.texts))[:MOST_POINTS])
    if len(docs) < 8:
        return []
    points = _plane(diff, docs)
    findings: dict[tuple[int, str], list[str]] = {}
    for finding in diff.findings:
        a, b = finding.evidence_a, finding.evidence_b
        side, evidence, other = (1, b, set(a)) if finding.size.effect > 0 else (0, a, set(b))
        for i in evidence:
            if i not in other:
                findings.setdefault((side, i), []).append(finding.id)
    rows = []
    for d, (x, y) in zip(docs, points.tolist(), strict=True):
        side, prompt_id = int(aligned.side[d]), aligned.ids[aligned.unit[d]]
        rows.append(
            {
                "x": round(x, 4),
                "y": round(y, 4),
                "side": "ab"[side],
                "prompt_id": prompt_id,
                "findings": findings.get((side, prompt_id), []),
                "text": aligned.texts[d][:80],
            }
        )
    return rows


def _plane(diff: Diff, docs: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    points = diff.hypotheses.embedded[docs]
    perplexity = min(PERPLEXITY, (len(docs) - 1) / 3)
    # Without the noise, equal texts (empty ones, refusals) would be a single point.
    noise = np.random.default_rng(diff.seed).normal(0, 1e-4, points.shape)
    plane = TSNE(
        perplexity=perplexity, init="random", random_state=diff.seed, max_iter=500
    ).fit_transform(points + noise)
    low, high = plane.min(axis=0), plane.max(axis=0)
    result: np.ndarray = (plane - low) / np.maximum(high - low, 1e-9)
    return result
