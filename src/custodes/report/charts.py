"""Charts as SVG without scripts. Only numbers and labels of our own go into them.

They are written in Vega-Lite, and vl-convert draws them while the report is written, so nothing
has to run where it is read. The colours are those of paper; report.css has a dark twin for each,
which it puts in place of the attribute's value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

__all__ = [
    "Change",
    "Curve",
    "GoldPoint",
    "Intercept",
    "Ratings",
    "Span",
    "curves_chart",
    "gold_chart",
    "ratings_chart",
]

QUIET = "#6a7078"
GRID = "#e6e7ea"
AXIS = "#a9adb4"
OURS = "#20568f"
NULL = "#7b8087"
LIMIT = "#8a6a12"
GREEN = "#1d6b3f"
CHANGE = "#7a4a9e"
FAILING = "#b3261e"
SPAN = "#f3e6cf"
CURVES = (OURS, CHANGE, GREEN)
DASHES = ([1, 0], [7, 3], [2, 3])
"""Of several curves, each has a colour and dashes of its own."""

VEGA_LITE = "5.20"

BINS = 120
"""A longer run is drawn as means over this many groups of steps."""

POINTS = 48
"""Of more checkpoints than this, as many are drawn, evenly spaced and the last among them."""

LABELS = 16
"""More new checkpoints or perturbations than this are drawn without their numbers."""


ROOM = {"titlePadding": 12}
"""Between labels and title: a reader's font may be wider than the one that is measured with."""

LABEL = {"type": "text", "baseline": "bottom", "dy": -3, "fontSize": 12}

CONFIG = {
    # The page describes a chart in words and has its numbers in a table.
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": AXIS,
        "tickColor": AXIS,
        "tickSize": 4,
    },
}

Spec = dict[str, Any]


@dataclass(frozen=True)
class GoldPoint:
    """A checkpoint's score, or its change, with its 95% interval; of the null run if ``null``."""

    checkpoint: int
    mean: float
    low: float
    high: float
    null: bool = False


@dataclass(frozen=True)
class Curve:
    """Values by generation, from 1; of a control if ``null``. The name stands at its end."""

    values: Sequence[float]
    null: bool
    name: str = ""


@dataclass(frozen=True)
class Intercept:
    """The Overseer's statistic and threshold at a step."""

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


def gold_chart(
    points: Sequence[GoldPoint],
    width: int,
    zero: bool = False,
    title: str = "checkpoint",
    quantity: str | None = None,
) -> Markup:
    """Draw scores by checkpoint.

    Args:
        points: Those of the run and of its null run.
        width: In CSS pixels.
        zero: Whether to draw a line at 0.
        title: Title of the horizontal axis.
        quantity: Title of the vertical axis, if any.
    """
    last = max(point.checkpoint for point in points)
    drawn = set(np.linspace(0, last, min(POINTS, last + 1)).round().astype(int).tolist())
    label = f"datum.value ? format(datum.value, '{'+' if zero else ''}.2~f') : '0'"
    x = _x(title, -0.4, last + 0.4, _ticks(last))
    y = {
        "field": "y",
        "type": "quantitative",
        "title": quantity,
        "scale": {"zero": zero},
        "axis": {"labelExpr": label, "tickCount": 5, **ROOM},
    }
    layers = [_layer([{"y": 0}], {"type": "rule", "color": QUIET}, y=y)] if zero else []
    for null, colour in ((True, NULL), (False, OURS)):
        rows = [
            # The null run's points stand beside the run's, not upon them.
            {"x": p.checkpoint + 0.14 * null, "y": p.mean, "low": p.low, "high": p.high}
            for p in points
            if p.checkpoint in drawn and p.null == null
        ]
        rule = {"type": "rule", "color": colour, "strokeWidth": 1.5}
        point = {"type": "point", "filled": True, "opacity": 1, "size": 42, "color": colour}
        layers += [
            _layer(rows, rule, x=x, y={**y, "field": "low"}, y2={"field": "high"}),
            _layer(rows, point, x=x, y=y),
        ]
    return _svg(layers, width, 190)


def curves_chart(curves: Sequence[Curve], limit: float, width: int, unit: str) -> Markup:
    """Draw curves by generation, and the level that they must reach.

    Args:
        curves: At least one, all of one length; they begin at 0 in generation 0.
        limit: The level.
        width: In CSS pixels.
        unit: Title of the vertical axis.
    """
    last = max(len(curve.values) for curve in curves)
    # Room for the names at the ends of the curves.
    end = last + 0.2 + 24 * last / width
    x = _x("generation", -0.2, end, _ticks(last))
    y = {"field": "y", "type": "quantitative", "title": unit, "axis": {"tickCount": 5}}
    rule = {"type": "rule", "color": LIMIT, "strokeDash": [6, 4], "strokeWidth": 1.2}
    layers = [_layer([{"x": -0.2, "end": last + 0.2, "y": limit}], rule, **_to(x, y))]
    own = [curve for curve in curves if not curve.null]
    places = _apart([curve.values[-1] for curve in own], [limit, 0.0])
    for k, (curve, place) in enumerate(zip(own, places, strict=True)):
        if curve.name:
            text = {**LABEL, "baseline": "middle", "align": "left", "dx": 7, "dy": 0}
            text["color"] = CURVES[k % len(CURVES)]
            row = {"x": last, "y": place, "label": curve.name}
            layers.append(_layer([row], text, x=x, y=y, text={"field": "label"}))
    for k, curve in enumerate([*(c for c in curves if c.null), *own]):
        at = k - (len(curves) - len(own))
        colour = NULL if curve.null else CURVES[at % len(CURVES)]
        dash = [1, 0] if curve.null else DASHES[at // len(CURVES) % len(DASHES)]
        rows = [{"x": t, "y": value} for t, value in enumerate([0.0, *curve.values])]
        point = {"color": colour, "size": 18}
        mark = {"type": "line", "color": colour, "strokeWidth": 1.6, "point": point}
        layers.append(_layer(rows, {**mark, "strokeDash": dash}, x=x, y=y))
    return _svg(layers, width, 260)


def _apart(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Move labels at these heights apart, so that none stands on another.

    Args:
        values: Heights of the labels.
        others: Further heights that the axis covers.
    """
    span = max([*values, *others], default=0) - min([*values, *others], default=0)
    gap = span / 15 or 1.0
    places = list(values)
    order = sorted(range(len(values)), key=lambda k: -values[k])
    for upper, lower in pairwise(order):
        places[lower] = min(places[lower], places[upper] - gap)
    return places


def ratings_chart(ratings: Ratings, width: int) -> Markup:
    """Draw one domain's ratings by step.

    Args:
        ratings: What to draw.
        width: In CSS pixels.
    """
    end = ratings.steps - 0.5
    x = _x("step", -0.5, end, _ticks(ratings.steps - 1, width // 44))
    y = {
        "field": "y",
        "type": "quantitative",
        "title": "rating",
        "scale": {"domain": [0, 1], "nice": False},
        "axis": {"tickCount": 5, "format": ".2~f", **ROOM},
    }
    floor = _layer([{"x": -0.5, "end": end, "y": 0}], {"type": "rule", "color": AXIS}, **_to(x, y))
    thin = {"type": "line", "strokeWidth": 1.2}
    layers = [
        floor,
        *_span_layers(ratings.spans, x, y),
        *_change_layers(ratings.changes, x, y),
        *_threshold_layers(ratings, x, y),
        _line(ratings.null, ratings.group, {**thin, "color": NULL}, x, y),
        _line(ratings.clean, ratings.group, {**thin, "color": OURS, "strokeDash": [2, 3]}, x, y),
        _line(ratings.seen, ratings.group, {"type": "line", "color": OURS}, x, y),
        *_intercept_layers(ratings.intercepts, ratings.group, x, y),
    ]
    return _svg(layers, width, 220)


def _line(values: Sequence[tuple[int, float]], group: int, mark: Spec, x: Spec, y: Spec) -> Spec:
    points = _grouped(values, group)
    # A line through a single point has no length.
    point = {"color": mark["color"], "size": 22} if len(points) == 1 else False
    rows = [{"x": step, "y": value} for step, value in points]
    return _layer(rows, {**mark, "point": point}, x=x, y=y)


def _span_layers(spans: Sequence[Span], x: Spec, y: Spec) -> list[Spec]:
    rows = [
        {"x": s.first - 0.5, "end": s.last + 0.5, "label": f"P{s.number}", "y": 0} for s in spans
    ]
    # The edge, since the shade alone has too little contrast.
    edge = {"stroke": LIMIT, "strokeWidth": 0.7}
    area = {"type": "rect", "color": SPAN, "opacity": 0.75, **edge}
    text = {**LABEL, "align": "left", "dx": 3, "color": QUIET}
    return [
        _layer(rows, area, x=x, x2={"field": "end"}),
        _layer(rows if len(rows) <= LABELS else [], text, x=x, y=y, text={"field": "label"}),
    ]


def _change_layers(changes: Sequence[Change], x: Spec, y: Spec) -> list[Spec]:
    layers = []
    for mine, dash in ((False, [2, 2]), (True, [1, 0])):
        rows = [{"x": c.at, "label": str(c.checkpoint), "y": 1} for c in changes if c.mine == mine]
        text = {**LABEL, "color": CHANGE}
        layers += [
            _layer(rows, {"type": "rule", "color": CHANGE, "strokeDash": dash}, x=x),
            _layer(rows if len(changes) <= LABELS else [], text, x=x, y=y, text={"field": "label"}),
        ]
    return layers


def _threshold_layers(ratings: Ratings, x: Spec, y: Spec) -> list[Spec]:
    levels = sorted({intercept.threshold for intercept in ratings.intercepts})
    rows = [{"x": -0.5, "end": ratings.steps - 0.5, "y": level} for level in levels]
    rule = {"type": "rule", "color": LIMIT, "strokeDash": [6, 4], "strokeWidth": 1.2}
    return [_layer(rows, rule, **_to(x, y))]


def _intercept_layers(intercepts: Sequence[Intercept], group: int, x: Spec, y: Spec) -> list[Spec]:
    # Of several intercepts in one group of steps the lowest is drawn.
    lowest: dict[int, Intercept] = {}
    for intercept in intercepts:
        held = lowest.setdefault(intercept.step // group, intercept)
        if intercept.statistic < held.statistic:
            lowest[intercept.step // group] = intercept
    size = 48 if group == 1 else 20
    layers = []
    for failing, colour, shape in ((False, OURS, "circle"), (True, FAILING, "diamond")):
        rows = [{"x": i.step, "y": i.statistic} for i in lowest.values() if i.failing == failing]
        mark = {"type": "point", "filled": True, "opacity": 1, "size": size}
        layers.append(_layer(rows, {**mark, "color": colour, "shape": shape}, x=x, y=y))
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


def _x(title: str, low: float, high: float, ticks: list[int]) -> Spec:
    return {
        "field": "x",
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [low, high], "nice": False},
        "axis": {"values": ticks, "format": "d", "grid": False},
    }


def _to(x: Spec, y: Spec) -> dict[str, Spec]:
    """Encode a horizontal line."""
    return {"x": x, "x2": {"field": "end"}, "y": y}


def _layer(rows: Sequence[Spec], mark: Spec, **encoding: Spec) -> Spec:
    return {"data": {"values": list(rows)}, "mark": mark, "encoding": encoding}


def _svg(layers: Sequence[Spec], width: int, height: int) -> Markup:
    import vl_convert

    spec = {
        "width": width,
        "height": height,
        "background": "transparent",
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 2, "right": 6, "top": 14, "bottom": 2},
        "layer": [layer for layer in layers if layer["data"]["values"]],
        "config": CONFIG,
    }
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    # Vega names the roles of its marks, without a text for those who cannot see them.
    svg = re.sub(r' (?:role|aria-\w+)="[^"]*"', "", svg).replace(
        "<svg ", '<svg aria-hidden="true" ', 1
    )
    return Markup(re.sub(r'="[^"]*"', lambda attribute: _short(attribute[0]), svg))


def _short(attribute: str) -> str:
    """Round coordinates to a tenth of a pixel."""
    return re.sub(r"\d+\.\d\d+", lambda number: f"{float(number[0]):.1f}", attribute)
