"""Results in notebooks: a small HTML view in which every text is escaped, and data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from custodes.control import Control, failed
from custodes.errors import ConfigError
from custodes.text import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Example", "controls_line", "example_html", "frame", "table_html", "view_html"]

STYLE = {
    "box": "font:14px/1.5 system-ui,sans-serif;max-width:60rem",
    "bad": "border-left:4px solid #b3261e;padding:.3rem .7rem;margin:.5rem 0",
    "text": "white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8886;"
    "padding:.4rem .6rem;margin:.2rem 0",
    "mark": "background:#ffe08a;color:#22262b",
}
LONGEST = 1200
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Example:
    """A text with the places to highlight.

    Attributes:
        name: Whose text it is.
        text: The text; untrusted.
        spans: Pairs of (start, end).
    """

    name: str
    text: str
    spans: Sequence[Sequence[int]] = ()


def view_html(title: str, controls: Iterable[Control], parts: Iterable[str]) -> str:
    """Return a view: the title, the controls that failed, and the parts.

    Args:
        title: The outcome in a sentence; untrusted.
        controls: All controls of the result.
        parts: HTML, escaped already.
    """
    banners = [
        f'<div style="{STYLE["bad"]}"><b>Control failed: {_text(control.name)}.</b> '
        f"{_text(control.explanation)}</div>"
        for control in failed(controls)
    ]
    body = "".join([f"<p><b>{_text(title)}</b></p>", *banners, *parts])
    return f'<div style="{STYLE["box"]}">{body}</div>'


def controls_line(controls: Sequence[Control]) -> str:
    """Return how many controls passed, failed and were not tested, in words."""
    counts = {
        status: sum(control.status == status for control in controls)
        for status in ("passed", "failed", "not tested")
    }
    told = [f"{count} {status}" for status, count in counts.items() if count]
    return f"controls: {', '.join(told) or 'none'}"


def table_html(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    cells = "".join(f'<th style="text-align:left">{_text(name)}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{_text(str(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def example_html(summary: str, prompt: str, examples: Sequence[Example]) -> str:
    """Return a prompt with its responses, folded."""
    boxes = [f'<div style="{STYLE["text"]}">{_text(prompt[:LONGEST])}</div>']
    for example in examples:
        boxes.append(f"<div>{_text(example.name)}</div>")
        boxes.append(f'<div style="{STYLE["text"]}">{_marked(example)}</div>')
    return f"<details><summary>{_text(summary)}</summary>{''.join(boxes)}</details>"


def _marked(example: Example) -> str:
    parts, end = [], 0
    text = example.text[:LONGEST]
    for start, stop in sorted(tuple(span) for span in example.spans):
        if start >= end:
            inside = f'<mark style="{STYLE["mark"]}">{_text(text[start:stop])}</mark>'
            parts += [_text(text[end:start]), inside]
            end = stop
    return "".join([*parts, _text(text[end:])])


def _text(text: str) -> str:
    return escape(visible(text))


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a pandas data frame.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ConfigError("to_frame needs pandas", "pip install pandas") from error
    return pd.DataFrame(list(rows), columns=list(columns))
