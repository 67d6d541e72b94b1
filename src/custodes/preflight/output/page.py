"""The report as one HTML page: failures first, and real rows with the trained tokens in colour."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from custodes.text import visible

if TYPE_CHECKING:
    from custodes.preflight.result import Report, Result, TokenRow

__all__ = ["body", "page", "pages", "style"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def style() -> str:
    """Return the page's style sheet."""
    return """
.preflight { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; max-width: 62rem;
margin: 1rem auto; padding: 0 1rem }
.preflight h1 { font-size: 1.35rem } .preflight h2 { font-size: 1.1rem; margin-top: 2rem }
.preflight table { border-collapse: collapse; width: 100% }
.preflight td, .preflight th { text-align: left; vertical-align: top; padding: .35rem .6rem;
border-top: 1px solid #ddd }
.preflight .failed td:first-child { color: #a40000; font-weight: 600 }
.preflight .passed td:first-child { color: #1d6b2f } .preflight .none td { color: #5c5c5c }
.preflight code { font-size: .9em } .preflight .more { color: #444; font-size: .92em }
.preflight .tokens { font: 13px/1.9 ui-monospace, monospace; white-space: pre-wrap;
border: 1px solid #ddd; padding: .6rem; overflow-wrap: anywhere }
.preflight .trained { background: #bfe3c6; border-bottom: 2px solid #1d6b2f; border-radius: 2px }
.preflight .context { background: #efefef;
border-radius: 2px } .preflight .tokens span { margin-right: 1px }
@media (prefers-color-scheme: dark) {
.preflight { color: #e6e6e6; background: #161616 } .preflight .context { background: #2c2c2c }
.preflight .trained { background: #1f4d2a }
.preflight td, .preflight th, .preflight .tokens { border-color: #3a3a3a }
.preflight .failed td:first-child { color: #ff8a80 }
.preflight .passed td:first-child { color: #8fd19e }
.preflight .none td, .preflight .more { color: #b0b0b0 } }
"""


def page(report: Report) -> str:
    """Return a whole document that opens offline and runs nothing."""
    return pages([report])


def pages(reports: Sequence[Report]) -> str:
    """Return a whole document for several trainers."""
    parts = "".join(body(report) for report in reports)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>custodes "
        f"preflight</title><style>{style()}</style></head><body>{parts}</body></html>\n"
    )


def body(report: Report) -> str:
    """Return the report as a fragment, for a notebook or a page."""
    results = [one for one in report.ordered if not one.explanation.startswith("does not apply")]
    counts = (
        f"{len(report.failed)} failed, {len(report.passed)} passed, "
        f"{sum(one.passed is None for one in results)} not tested, {report.seconds:.1f} s"
    )
    rows = "".join(_result(one) for one in results)
    tokens = "".join(_tokens(row) for row in report.rows)
    shown = (
        "<h2>Rows of a real batch</h2><p>Green tokens are trained, grey ones are context.</p>"
        + tokens
        if tokens
        else ""
    )
    return (
        '<div class="preflight"><h1>Preflight of '
        f"{_safe(report.trainer)}</h1><p>{_safe(counts)}</p>"
        "<table><thead><tr><th>Verdict</th><th>Check</th><th>Measured</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{shown}</div>"
    )


def _result(one: Result) -> str:
    kind = {"failed": "failed", "passed": "passed"}.get(one.status, "none")
    more = ""
    if one.passed is False:
        figures = json.dumps(dict(one.measured), default=str)[:2000]
        more = (
            f'<div class="more"><p>Expected: {_safe(one.expected)}</p>'
            f"<p>Remedy: {_safe(one.remedy)}</p><p>Seen in: {_safe(one.reference)}</p>"
            f"<p><code>{_safe(figures)}</code></p></div>"
        )
    return (
        f'<tr class="{kind}"><td>{_safe(one.status)}</td><td><code>{_safe(one.id)}</code></td>'
        f"<td>{_safe(one.explanation)}{more}</td></tr>"
    )


def _tokens(row: TokenRow) -> str:
    spans = "".join(
        f'<span class="{"trained" if part == "trained" else "context"}">{_safe(text)}</span>'
        for text, part in row.tokens
    )
    note = f" ({_safe(row.note)})" if row.note else ""
    return f'<h3>{_safe(row.name)}{note}</h3><div class="tokens">{spans}</div>'


def _safe(text: str) -> str:
    """Escape untrusted text."""
    return html.escape(visible(str(text)))
