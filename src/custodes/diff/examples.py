"""What a reader should see of a finding: responses side by side, with what to look at."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from custodes.diff.compare import Diff
from custodes.diff.inference.findings import Finding

__all__ = ["example_rows", "map_rows"]

MOST_EXAMPLES = 4
MOST_CHARACTERS = 1200
MOST_SPANS = 20
# The map shows at most this many responses: enough to see where they lie.
MOST_POINTS = 1000
PERPLEXITY = 30


def example_rows(diff: Diff, finding: Finding) -> list[dict[str, Any]]:
    """Return responses that bear a finding out, those first that show it on one side only.

    Of several responses to a prompt the first that shows it is taken, else the first.
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
        marked = [(_spans(finding.pattern, aligned.texts[d]), aligned.texts[d]) for d in docs]
        spans, text = next((m for m in marked if m[0]), marked[0] if marked else ([], None))
        row[name] = None if text is None else text[:MOST_CHARACTERS]
        row[f"spans_{name}"] = spans
    return row


def _spans(pattern: str, text: str) -> list[list[int]]:
    if not pattern:
        return []
    found = re.finditer(pattern, text[:MOST_CHARACTERS])
    return [[m.start(), m.end()] for m in found if m.end() > m.start()][:MOST_SPANS]


def map_rows(diff: Diff) -> list[dict[str, Any]]:
    """Lay responses out in the plane, like beside like (t-SNE, van der Maaten & Hinton 2008).

    Returns:
        One row for each response shown, with x and y in [0, 1], its side, its prompt's id, the
        ids of the findings it bears out, and its beginning.
    """
    aligned = diff.aligned
    rng = np.random.default_rng(diff.seed)
    chosen = np.sort(rng.permutation(len(aligned.texts))[:MOST_POINTS])
    if len(chosen) < 8:
        return []
    points = _plane(diff, chosen)
    shown: dict[tuple[int, str], list[str]] = {}
    for finding in diff.findings:
        for side, evidence in enumerate((finding.evidence_a, finding.evidence_b)):
            for i in evidence:
                shown.setdefault((side, i), []).append(finding.id)
    rows = []
    for d, (x, y) in zip(chosen, points.tolist(), strict=True):
        side, prompt_id = int(aligned.side[d]), aligned.ids[aligned.unit[d]]
        rows.append(
            {
                "x": round(x, 4),
                "y": round(y, 4),
                "side": "ab"[side],
                "prompt_id": prompt_id,
                "findings": shown.get((side, prompt_id), []),
                "text": aligned.texts[d][:80],
            }
        )
    return rows


def _plane(diff: Diff, chosen: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    points = diff.hypotheses.embedded[chosen]
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    # Equal texts (empty ones, refusals) would be one point on top of another without the noise.
    noise = np.random.default_rng(diff.seed).normal(0, 1e-4, points.shape)
    plane = TSNE(
        perplexity=perplexity, init="random", random_state=diff.seed, max_iter=500
    ).fit_transform(points + noise)
    low, high = plane.min(axis=0), plane.max(axis=0)
    result: np.ndarray = (plane - low) / np.maximum(high - low, 1e-9)
    return result
