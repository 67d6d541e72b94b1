"""One HTML file of a diff: controls first, then each finding with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from custodes.errors import RunError
from custodes.report import page
from custodes.report.page import marked
from custodes.runs.files import write_atomic
from custodes.text import visible

__all__ = ["render_diff", "write_diff_report"]

SCHEMA = 3
IN_FULL = 25
"""Findings with examples; the others get a row in a table."""

ROWS = 200
EVIDENCE = 60
"""Prompt ids shown of each finding; diff.json has all."""

TEXTS = 6
"""Contrastive texts and divergent prompts shown of each kind; contrast.json has all."""

LISTED = 100
"""Answers of the map that are listed in words."""

SIZE = 640
"""Width of the map, in pixels."""


def write_diff_report(folder: Path) -> Path:
    """Write ``report.html`` beside a ``diff.json``, as one file of at most 2 MB.

    Raises:
        RunError: The folder has no diff, its diff is damaged, or the report cannot be written.
    """
    path, contrast = folder / "report.html", folder / "contrast.json"
    written = render_diff(
        page.read_output(folder / "diff.json", "diff"),
        page.read_output(folder / "map.json", "diff"),
        page.read_output(contrast, "diff") if contrast.exists() else None,
    )
    write_atomic(path, written)
    return path


def render_diff(
    diff: dict[str, Any],
    points: Sequence[dict[str, Any]],
    contrast: dict[str, Any] | None = None,
) -> str:
    """Write the report of a diff.

    Args:
        diff: The content of diff.json.
        points: The content of map.json.
        contrast: The content of contrast.json, if there is one.

    Returns:
        A whole document without scripts, whose content security policy allows no requests.

    Raises:
        RunError: The diff was written by another version of custodes.
    """
    if diff.get("schema") != SCHEMA:
        raise RunError(f"diff.json has schema {diff.get('schema')!r}", f"this reads {SCHEMA}")
    full, rest = diff["findings"][:IN_FULL], diff["findings"][IN_FULL:]
    return page.render(
        "diff.html",
        ["report.css", "diff.css"],
        diff=diff,
        full=full,
        rest=rest[:ROWS],
        left=max(0, len(rest) - ROWS),
        evidence=EVIDENCE,
        points=points,
        hits=[point for point in points if point["findings"]][:LISTED],
        size=SIZE,
        marked=marked,
        contrast=contrast,
        texts=TEXTS,
        gapped=_gapped,
        token=_token,
        total=sum(diff["tested"].values()),
    )


def _gapped(row: dict[str, Any]) -> Markup:
    """Render contrastive text and mark the tokens that the other model finds less likely."""
    if "".join(row["tokens"]) != row["text"]:
        # A token that ends inside a character has no text of its own.
        return marked(row["text"], [])
    if not row["text"]:
        return marked("", [])
    out = Markup()
    for token, gap in zip(row["tokens"], row["gaps"], strict=True):
        strength = "" if gap < 1 else "far" if gap >= 3 else "near"
        shown = escape(visible(token))
        out += Markup('<mark class="{}">{}</mark>').format(strength, shown) if strength else shown
    return out


def _token(text: str) -> str:
    """Render a token; one of nothing but spaces and line breaks gets visible signs."""
    return text if text.strip() else text.replace(" ", "␣").replace("\n", "⏎")
