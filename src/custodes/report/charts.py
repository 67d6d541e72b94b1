"""Charts as SVG without scripts. Only numbers and labels of our own go into them.

Vega-Lite draws them while the report is written, so nothing has to run where it is read. The
colours are those of paper; report.css has a dark twin for each, which it puts in place of the
attribute's value.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from markupsafe import Markup

__all__ = ["Change", "GoldPoint", "Intercept", "Ratings", "Span", "gold_chart", "ratings_chart"]

INK = "#22262b"
QUIET = "#6a7078"
GRID = "#e6e7ea"
AXIS = "#a9adb4"
OURS = "#20568f"
NULL = "#9fa3a9"
LIMIT = "#8a6a12"
CHANGE = "#7a4a9e"
FAILING = "#b3261e"
SPAN = "#f3e6cf"

BINS = 120
"""A longer run is drawn as means over this many groups of steps."""

POINTS = 48
"""Of more checkpoints than this, as many are drawn, evenly spaced and the last among them."""

LABELS = 16
"""More new checkpoints or perturbations than this are drawn without their numbers."""


@dataclass(frozen=True)
class GoldPoint:
    """A checkpoint's score, or its change, with its 95% interval; of the null run if ``null``."""

    checkpoint: int
    mean: float
    low: float
    high: float
    null: bool = False


@dataclass(frozen=True)
class Intercept:
    """What the Overseer held against the threshold at a step."""

    step: int
    statistic: float
    threshold: float
    failing: bool


@dataclass(frozen=True)
class Change:
    """A new checkpoint: where on the axis, its number, whether it was made for this domain."""

    at: float
    checkpoint: int
    mine: bool


@dataclass(frozen=True)
class Span:
    """A perturbation: its number in the table, its first step and its last."""

    number: int
    first: int
    last: int


@dataclass(frozen=True)
class Ratings:
    """One domain's ratings, and what happened meanwhile.

    Attributes:
        steps: Steps on the axis, counted from 0.
        seen: Mean ratings, by step, that the Overseer saw.
        clean: The same before perturbations; empty where they are no different.
        null: The null run's; empty where there was none.
        intercepts: At which the Overseer judged this domain.
        changes: New checkpoints.
        spans: Perturbations.
    """

    steps: int
    seen: Sequence[tuple[int, float]]
    clean: Sequence[tuple[int, float]]
    null: Sequence[tuple[int, float]]
    intercepts: Sequence[Intercept]
    changes: Sequence[Change]
    spans: Sequence[Span]

    @property
    def group(self) -> int:
        """Steps that are drawn as one."""
        return -(-self.steps // BINS)


def gold_chart(points: Sequence[GoldPoint], width: int, zero: bool = False) -> Markup:
    """Draw scores by checkpoint.

    Args:
        points: Those of the run and of its null run.
        width: In CSS pixels.
        zero: Whether to draw a line at 0.
    """
    import altair as alt

    last = max(point.checkpoint for point in points)
    drawn = set(np.linspace(0, last, min(POINTS, last + 1)).round().astype(int).tolist())
    # The null run's points stand beside the run's, not upon them.
    rows = [
        {
            "x": p.checkpoint + (0.14 if p.null else 0.0),
            "y": p.mean,
            "low": p.low,
            "high": p.high,
            "null": p.null,
        }
        for p in points
        if p.checkpoint in drawn
    ]
    x = alt.X(
        "x:Q",
        title="checkpoint",
        scale=alt.Scale(domain=[-0.4, last + 0.4], nice=False),
        axis=alt.Axis(values=_ticks(last), format="d", grid=False),
    )
    label = f"datum.value ? format(datum.value, '{'+' if zero else ''}.2~f') : '0'"
    y = alt.Y(
        "y:Q", title=None, scale=alt.Scale(zero=zero), axis=alt.Axis(labelExpr=label, tickCount=5)
    )
    layers = []
    if zero:
        layers.append(_rows(alt, [{"y": 0.0}]).mark_rule(color=QUIET).encode(y="y:Q"))
    for null, colour in ((True, NULL), (False, OURS)):
        chart = _rows(alt, [row for row in rows if row["null"] == null])
        if chart.data.values:
            layers += [
                chart.mark_rule(color=colour, strokeWidth=1.5).encode(x=x, y="low:Q", y2="high:Q"),
                chart.mark_point(filled=True, opacity=1, size=42, color=colour).encode(x=x, y=y),
            ]
    return _svg(layers, width, 190)


def ratings_chart(ratings: Ratings, width: int) -> Markup:
    """Draw one domain's ratings by step."""
    import altair as alt

    group = ratings.group
    x = alt.X(
        "x:Q",
        title="step",
        scale=alt.Scale(domain=[-0.5, ratings.steps - 0.5], nice=False),
        axis=alt.Axis(values=_ticks(ratings.steps - 1, width // 44), format="d", grid=False),
    )
    y = alt.Y(
        "y:Q",
        title=None,
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(tickCount=5, format=".2~f"),
    )
    layers = [
        *_span_layers(alt, ratings.spans, x),
        *_change_layers(alt, ratings.changes, x),
        *_threshold_layers(alt, ratings, x),
    ]
    layers += [
        *_line_layers(alt, _grouped(ratings.null, group), x, y, color=NULL, strokeWidth=1.2),
        *_line_layers(
            alt,
            _grouped(ratings.clean, group),
            x,
            y,
            color=OURS,
            strokeWidth=1.2,
            strokeDash=[2, 3],
        ),
        *_line_layers(alt, _grouped(ratings.seen, group), x, y, color=OURS, strokeWidth=2),
    ]
    layers += _intercept_layers(alt, ratings.intercepts, group, x)
    return _svg(layers, width, 220)


def _line_layers(
    alt: Any, points: Sequence[tuple[float, float]], x: Any, y: Any, **mark: Any
) -> list[Any]:
    if not points:
        return []
    # A line through a single point has no length.
    point = {"color": mark["color"], "size": 22} if len(points) == 1 else False
    chart = _rows(alt, [{"x": step, "y": value} for step, value in points])
    return [chart.mark_line(point=point, **mark).encode(x=x, y=y)]


def _span_layers(alt: Any, spans: Sequence[Span], x: Any) -> list[Any]:
    if not spans:
        return []
    rows = [
        {"x": s.first - 0.5, "end": s.last + 0.5, "label": f"P{s.number}", "y": 0} for s in spans
    ]
    chart = _rows(alt, rows)
    areas = chart.mark_rect(color=SPAN, opacity=0.75).encode(x=x, x2="end:Q")
    text = chart.mark_text(align="left", baseline="bottom", dx=3, dy=-3, color=QUIET, fontSize=11)
    return [areas, text.encode(x=x, y="y:Q", text="label:N")] if len(spans) <= LABELS else [areas]


def _change_layers(alt: Any, changes: Sequence[Change], x: Any) -> list[Any]:
    layers = []
    for mine, dash in ((False, [2, 2]), (True, [])):
        rows = [{"x": c.at, "label": str(c.checkpoint), "y": 1} for c in changes if c.mine == mine]
        if rows:
            chart = _rows(alt, rows)
            layers.append(chart.mark_rule(color=CHANGE, strokeDash=dash).encode(x=x))
            if len(changes) <= LABELS:
                text = chart.mark_text(baseline="bottom", dy=-3, color=CHANGE, fontSize=11)
                layers.append(text.encode(x=x, y="y:Q", text="label:N"))
    return layers


def _threshold_layers(alt: Any, ratings: Ratings, x: Any) -> list[Any]:
    levels = sorted({intercept.threshold for intercept in ratings.intercepts})
    rows = [{"x": -0.5, "end": ratings.steps - 0.5, "y": level} for level in levels]
    if not rows:
        return []
    rule = _rows(alt, rows).mark_rule(color=LIMIT, strokeDash=[6, 4], strokeWidth=1.2)
    return [rule.encode(x=x, x2="end:Q", y="y:Q")]


def _intercept_layers(alt: Any, intercepts: Sequence[Intercept], group: int, x: Any) -> list[Any]:
    # Of several intercepts in one group of steps the lowest is drawn.
    lowest: dict[int, Intercept] = {}
    for intercept in intercepts:
        held = lowest.setdefault(intercept.step // group, intercept)
        if intercept.statistic < held.statistic:
            lowest[intercept.step // group] = intercept
    layers = []
    for failing, colour, shape in ((False, OURS, "circle"), (True, FAILING, "diamond")):
        rows = [{"x": i.step, "y": i.statistic} for i in lowest.values() if i.failing == failing]
        if rows:
            mark = {"filled": True, "opacity": 1, "size": 48 if group == 1 else 20}
            point = _rows(alt, rows).mark_point(color=colour, shape=shape, **mark)
            layers.append(point.encode(x=x, y="y:Q"))
    return layers


def _grouped(values: Sequence[tuple[int, float]], group: int) -> list[tuple[float, float]]:
    """Take means over groups of steps."""
    groups: dict[int, list[tuple[int, float]]] = {}
    for step, value in values:
        groups.setdefault(step // group, []).append((step, value))
    return [
        (float(np.mean([s for s, _ in rows])), float(np.mean([v for _, v in rows])))
        for _, rows in sorted(groups.items())
    ]


def _ticks(last: int, most: int = 8) -> list[int]:
    """Choose whole numbers from 0 to ``last``, at round distances."""
    sizes = (m * 10**e for e in range(9) for m in (1, 2, 5))
    size = next(size for size in sizes if last / size <= most)
    return list(range(0, last + 1, size))


def _rows(alt: Any, rows: Sequence[dict[str, Any]]) -> Any:
    return alt.Chart(alt.Data(values=list(rows)))


def _svg(layers: Sequence[Any], width: int, height: int) -> Markup:
    chart = reduce(add, layers).properties(
        width=width,
        height=height,
        background="transparent",
        autosize={"type": "fit", "contains": "padding"},
        padding={"left": 2, "right": 6, "top": 14, "bottom": 2},
    )
    axis = {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": AXIS,
        "tickColor": AXIS,
        "tickSize": 4,
    }
    # The page describes the chart in words and has its numbers in a table.
    chart = chart.configure(aria=False, axis=axis, view={"stroke": None})
    file = io.StringIO()
    chart.save(file, format="svg")
    svg = re.sub(r'="[^"]*"', lambda attribute: _short(attribute[0]), file.getvalue())
    return Markup(svg)


def _short(attribute: str) -> str:
    """Round coordinates to a tenth of a pixel."""
    return re.sub(r"\d+\.\d\d+", lambda number: f"{float(number[0]):.1f}", attribute)
