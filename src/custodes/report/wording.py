"""Figures as text: signed, rounded, with their unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from custodes.text import one_line

__all__ = [
    "bounded",
    "count",
    "duration",
    "facts",
    "interval",
    "number",
    "one_line",
    "outcome",
    "panel_change",
    "panel_name",
    "panel_value",
    "percent",
    "plural",
    "points",
    "points_between",
    "score",
    "share",
    "small",
    "times",
]

MISSING = "–"
FACTS = 40
LONGEST = 200
OUTCOME = 1_500

PANEL = {
    "over_refusal": "harmless look-alikes refused",
    "coherence": "coherence (nats a token)",
    "repetition": "repeated word triples",
    "words": "words an answer",
}
"""The quantities of the gold panel, in the order of the tables."""
SHARES = ("over_refusal", "repetition")


def number(value: float | None, digits: int = 2) -> str:
    """Round to some decimals: "0.61", "−0.61"; a dash for None."""
    return MISSING if value is None else f"{value:z.{digits}f}".replace("-", "−")


def score(value: float | None) -> str:
    """Round and sign: "+0.61", "−0.61"."""
    return MISSING if value is None else f"{value:+z.2f}".replace("-", "−")


def bounded(interval: Mapping[str, float | None] | None, signed: bool = False) -> str:
    """Write a mean with its interval: "0.61 [0.55, 0.70]"; a dash for None."""
    if interval is None:
        return MISSING
    mean, low, high = (
        score(interval[key]) if signed else number(interval[key]) for key in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def points(value: float) -> str:
    """Write a difference of rates in points: "+12.5", "−0.4"."""
    return f"{100 * value:+.1f}".replace("-", "−")


def percent(value: float) -> str:
    """Write a share: "0.5%", "12%"."""
    return f"{value:.1%}" if 0 < value < 0.095 else f"{value:.0%}"


def times(least: float) -> str:
    """Write the threshold of a count: "at least once", "twice", "3 times"."""
    names: dict[float, str] = {1: "at least once", 2: "twice"}
    return names.get(least, f"{least:g} times")


def points_between(bounds: Sequence[float]) -> str:
    """Write the interval of a difference of rates: "[+34, +48]"."""
    low, high = (f"{100 * bound:+.0f}".replace("-", "−") for bound in bounds)
    return f"[{low}, {high}]"


def small(value: float) -> str:
    """Write a p or q: "0.045", "3e-12"; one too small for a number is below 1e-300."""
    return f"{value:.2g}" if value else "0 (below 1e-300)"


def interval(bounds: Sequence[float] | None) -> str:
    """Write "[0.47, 0.74]"; "" for None."""
    return "" if bounds is None else f"[{number(bounds[0])}, {number(bounds[1])}]"


def share(value: float | None) -> str:
    """Write a share as a percentage."""
    return MISSING if value is None else f"{value:.0%}"


def outcome(summary: Mapping[str, Any]) -> str:
    """Say what happened in a run; a summary of an older version has only its figures."""
    verdict = summary["verdict"]
    return one_line(verdict.get("outcome", verdict["explanation"]), OUTCOME)


def panel_name(quantity: str) -> str:
    """Name a quantity of the gold panel."""
    return PANEL.get(quantity, quantity)


def panel_value(quantity: str, value: float) -> str:
    """Write a quantity of the gold panel in its unit."""
    return share(value) if quantity in SHARES else number(value, 1 if quantity == "words" else 2)


def panel_change(row: Mapping[str, Any]) -> str:
    """Write the change of a quantity of the gold panel with its interval; shares in points."""
    if row["change"] is None:
        return MISSING
    scale, unit = (100, " points") if row["quantity"] in SHARES else (1, "")
    digits = 1 if unit or row["quantity"] == "words" else 2
    low, high = (number(scale * bound, digits) for bound in row["change_ci95"])
    change = f"{scale * row['change']:+z.{digits}f}".replace("-", "−")
    return f"{change} [{low}, {high}]{unit}"


def count(value: int) -> str:
    """Group digits by thin spaces: "12 345"."""
    return f"{value:,}".replace(",", "\u202f")


def plural(n: int, noun: str) -> str:
    """Write "1 step", "2 steps"."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """Write "48 s", "3 min 12 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def facts(values: Mapping[str, Any], skip: Sequence[str] = ()) -> list[tuple[str, str]]:
    """List what a mapping of any shape holds, one line a value.

    Args:
        values: JSON, untrusted.
        skip: Keys at the top to leave out.
    """
    kept = {key: value for key, value in values.items() if key not in skip}
    lines = [(one_line(key, 80), text) for key, text in _flat(kept, "")]
    more = len(lines) - FACTS
    return lines[:FACTS] + ([("…", f"{more} more in events.jsonl")] if more > 0 else [])


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            label = name.replace("_", " ")
            yield from _flat(inner, f"{key} · {label}" if key else label)
    else:
        yield key, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value).replace("-", "−")
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, list):
        return _listed(value)
    return one_line(str(value), LONGEST)


def _listed(values: list[Any]) -> str:
    if len(values) > 8:
        # A curve: where it began and where it ended.
        return f"{_text(values[0])} → {_text(values[-1])} ({len(values)} values)"
    return one_line(", ".join(map(_text, values)), LONGEST) or "none"
