"""What the pages have in common: the templates, and untrusted text with places marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from custodes.report import wording
from custodes.text import visible

__all__ = ["environment", "marked"]


def environment() -> Environment:
    """Return the templates: everything is escaped, and what cannot be seen is spelled out."""
    made = Environment(
        loader=PackageLoader("custodes.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in wording.__all__:
        made.filters[name] = getattr(wording, name)
    return made


def marked(text: str | None, spans: Sequence[Sequence[int]]) -> Markup:
    """Write untrusted text with some places marked.

    Args:
        text: Untrusted; None where there is no response.
        spans: Pairs of (start, end) in it, in order; those that overlap another are left out.
    """
    if not text:
        return Markup('<span class="empty">{}</span>').format(
            "(no response)" if text is None else "(empty)"
        )
    out, at = Markup(), 0
    for start, end in spans:
        if start >= at:
            out += escape(visible(text[at:start]))
            out += Markup("<mark>{}</mark>").format(visible(text[start:end]))
            at = end
    return out + escape(visible(text[at:]))


def _finalize(value: Any) -> Any:
    """Spell out what cannot be seen in every text that is not HTML of ours (before escaping)."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
