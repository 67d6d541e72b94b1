"""What the pages have in common: the templates, and untrusted text with places marked."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from custodes.errors import RunError
from custodes.report import wording
from custodes.text import visible

__all__ = ["marked", "read_output", "render"]


def render(template: str, styles: Sequence[str], **context: Any) -> str:
    """Write a page, which holds no script and may ask for nothing.

    Args:
        template: Its template. It is given ``css`` and, for the content security policy,
            ``style``, beside the context.
        styles: Its style sheets, joined in this order.
        **context: What the template shows; every text in it is untrusted.
    """
    templates = _environment()
    css = "\n".join(
        templates.loader.get_source(templates, name)[0]  # type: ignore[union-attr]
        for name in styles
    )
    # Only this very style sheet may apply: style smuggled in as text would do nothing.
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return templates.get_template(template).render(
        css=Markup(css), style=f"sha256-{digest}", **context
    )


def _environment() -> Environment:
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


def read_output(path: Path, verb: str) -> Any:
    """Read a JSON file that a verb wrote.

    Args:
        path: The file.
        verb: What writes it anew, e.g. "diff".

    Raises:
        RunError: There is none, or it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}", f"run custodes {verb} again") from error
