"""Charts of an alignment: the plane of helpful against harmless, and curves over steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from custodes.report.charts import AXIS, LABEL, NULL, OURS, QUIET, Spec, _layer, _svg

__all__ = ["PlanePoint", "plane_chart", "steps_chart"]


@dataclass(frozen=True)
class PlanePoint:
    """A model in the plane.

    Attributes:
        number: Its number in the table beside the chart.
        x, x_low, x_high: Helpfulness with its interval, in logits.
        y, y_low, y_high: The constitution's measure with its interval, in logits.
        control: Whether it is a control (sham, or the base again).
    """

    number: int
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    control: bool


def plane_chart(points: Sequence[PlanePoint], width: int, titles: tuple[str, str]) -> Markup:
    """Draw one point with two intervals for each model.

    Args:
        points: The models.
        width: In CSS pixels.
        titles: Of the axes, x and y; our own words.
    """
    axis: Any = {"tickCount": 5}
    scale = {"zero": False, "nice": True}
    x: Spec = {
        "field": "x",
        "type": "quantitative",
        "title": titles[0],
        "scale": scale,
        "axis": axis,
    }
    y: Spec = {
        "field": "y",
        "type": "quantitative",
        "title": titles[1],
        "scale": scale,
        "axis": axis,
    }
    layers = []
    for control, colour in ((True, NULL), (False, OURS)):
        rows = [
            {
                "x": p.x, "x0": p.x_low, "x1": p.x_high, "y": p.y, "y0": p.y_low, "y1": p.y_high,
                "label": str(p.number),
            }
            for p in points
            if p.control == control
        ]  # fmt: skip
        rule = {"type": "rule", "color": colour, "strokeWidth": 1.2}
        point = {"type": "point", "filled": True, "opacity": 1, "size": 46, "color": colour}
        text = {**LABEL, "align": "left", "dx": 6, "color": QUIET}
        layers += [
            _layer(rows, rule, x={**x, "field": "x0"}, x2={"field": "x1"}, y=y),
            _layer(rows, rule, x=x, y={**y, "field": "y0"}, y2={"field": "y1"}),
            _layer(rows, point, x=x, y=y),
            _layer(rows, text, x=x, y=y, text={"field": "label"}),
        ]
    return _svg(layers, width, 260)


def steps_chart(curves: Sequence[tuple[Sequence[tuple[float, float]], bool]], width: int) -> Markup:
    """Draw curves over training steps.

    Args:
        curves: For each: its points (step, value), and whether it is the sham arm's.
        width: In CSS pixels.
    """
    x: Spec = {
        "field": "x",
        "type": "quantitative",
        "title": "step",
        "axis": {"tickCount": 5, "grid": False},
    }
    y: Spec = {
        "field": "y",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False},
        "axis": {"tickCount": 4},
    }
    ends = [point[0] for points, _ in curves for point in points]
    floor = {"type": "rule", "color": AXIS, "opacity": 0}
    layers = [_layer([{"x": min(ends, default=0), "y": curves[0][0][0][1]}], floor, x=x, y=y)]
    for points, sham in sorted(curves, key=lambda curve: not curve[1]):
        colour = NULL if sham else OURS
        rows = [{"x": step, "y": value} for step, value in points]
        point = {"color": colour, "size": 14} if len(rows) <= 24 else False
        mark = {"type": "line", "color": colour, "strokeWidth": 1.4, "point": point}
        layers.append(_layer(rows, mark, x=x, y=y))
    return _svg(layers, width, 130)
