"""The page of a sweep's map: one file, no script, opens offline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from custodes.errors import DataError
from custodes.report import page
from custodes.runs.files import write_atomic

__all__ = ["render_phases", "write_phases_report"]

WIDTH, HEIGHT = 360.0, 300.0
LEFT, BOTTOM, TOP, RIGHT = 58.0, 46.0, 8.0, 10.0
SHOWN = 200
"""Points and failures that are listed; the files have all of them."""


def write_phases_report(folder: Path) -> Path:
    """Write ``phases.html`` from ``phases.json``.

    Raises:
        DataError: The folder holds no map.
    """
    try:
        result = json.loads((folder / "phases.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no map of a sweep", "run custodes sweep first") from error
    reports = {
        row["run"] for row in result["runs"] if (folder / row["folder"] / "report.html").exists()
    }
    path = folder / "phases.html"
    write_atomic(path, render_phases(result, reports))
    return path


def render_phases(
    result: Mapping[str, Any], reports: frozenset[int] | set[int] = frozenset()
) -> str:
    """Write the page.

    Args:
        result: What ``phases.json`` holds.
        reports: Runs that have a report to link to.
    """
    points = [_point(result, point, reports) for point in result["points"]]
    order = {"surprising": 0, "failed": 1}
    points.sort(
        key=lambda p: min(order.get(word, 2) for word in p["phase"].replace(",", "").split())
    )
    return page.render(
        "phases.html",
        ["report.css", "phases.css"],
        result=result,
        failed=[c for c in result["controls"] if c["passed"] is False],
        controls=result["controls"],
        panels=[_panel(result, panel, points) for panel in result["panels"]],
        points=points[:SHOWN],
        points_left=max(0, len(points) - SHOWN),
        failures=[row for row in result["runs"] if row["status"] == "failed"][:SHOWN],
        figure=_figure,
    )


def _point(result: Mapping[str, Any], point: Mapping[str, Any], reports: Any) -> dict[str, Any]:
    linked = [number for number in point["runs"] if number in reports]
    folders = {row["run"]: row["folder"] for row in result["runs"]}
    measure = point["measures"].get(result["measure"]) or next(iter(point["measures"].values()))
    return {
        **point,
        "place": ", ".join(f"{name} = {_figure(value)}" for name, value in point["point"].items()),
        "link": f"{folders[linked[0]]}/report.html" if linked else None,
        "links": [(number, f"{folders[number]}/report.html") for number in linked],
        "mean": measure["mean"],
        "low": measure["low"],
        "high": measure["high"],
        "surprising": point["phase"].endswith("surprising"),
    }


def _panel(
    result: Mapping[str, Any], panel: Mapping[str, Any], points: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    axes = {axis["name"]: axis for axis in result["axes"]}
    names = panel["axes"]
    mine = [point for point in points if _nearest_panel(result, point["point"]) == panel["fixed"]]
    return {
        "title": ", ".join(f"{name} = {_figure(value)}" for name, value in panel["fixed"].items()),
        "svg": _svg(result, panel, [axes[name] for name in names], mine),
        "count": len(mine),
    }


def _nearest_panel(result: Mapping[str, Any], point: Mapping[str, Any]) -> Any:
    """Return the fixed values of the panel that is nearest to a point."""
    axes = {axis["name"]: axis for axis in result["axes"]}

    def far(fixed: Mapping[str, Any]) -> float:
        return sum(
            (_share(axes[name], point[name]) - _share(axes[name], value)) ** 2
            for name, value in fixed.items()
        )

    return min((panel["fixed"] for panel in result["panels"]), key=far)


def _share(axis: Mapping[str, Any], value: Any) -> float:
    """Return where on its axis a value is, in [0, 1]; the middle of its part for a list's."""
    if axis["kind"] != "float":
        index = next(
            i for i, v in enumerate(axis["values"]) if v == value and type(v) is type(value)
        )
        return (index + 0.5) / len(axis["values"])
    low, high = axis["low"], axis["high"]
    if axis["log"]:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _svg(
    result: Mapping[str, Any],
    panel: Mapping[str, Any],
    axes: Sequence[Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
) -> Markup:
    """Draw a panel: shades of the probability, the boundary and its band, and the points."""
    first = axes[0]
    second = axes[1] if len(axes) > 1 else None
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    columns = len(panel["cells"][0])
    rows = len(panel["cells"][1]) if second else 1
    w, h = wide / columns, high / rows
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="group" aria-label="{}">').format(
            WIDTH, HEIGHT, f"Map over {' and '.join(panel['axes'])}"
        )
    ]
    for i in range(columns):
        for j in range(rows):
            p = panel["above"][i * rows + j]
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.2f}" height="{:.2f}"/>'
                ).format(_shade(p), LEFT + i * w, TOP + high - (j + 1) * h, w + 0.3, h + 0.3)
            )
    parts += _ticks(first, second, wide, high)
    for point in points:
        x = LEFT + wide * _share(first, point["point"][first["name"]])
        y = TOP + high * (
            0.5 if second is None else 1 - _share(second, point["point"][second["name"]])
        )
        parts.append(_mark(result, point, x, y))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _shade(p: float) -> str:
    """Name the class of a cell: sure above, likely above, in the boundary's 95% band, and so on."""
    for limit, name in (
        (0.025, "below"),
        (0.25, "below-likely"),
        (0.75, "either"),
        (0.975, "above-likely"),
    ):
        if p < limit:
            return name
    return "above"


def _mark(result: Mapping[str, Any], point: Mapping[str, Any], x: float, y: float) -> Markup:
    quality = point["quality"]
    says = f"{point['phase']}: {point['place']}; {result['measure']} {_figure(point['mean'])}"
    shape = {
        "good": '<circle cx="{0:.1f}" cy="{1:.1f}" r="4.5" class="good"/>',
        "bad": '<rect x="{2:.1f}" y="{3:.1f}" width="8" height="8" class="bad"/>',
        "undecided": '<path d="M{0:.1f} {4:.1f}l5.5 9h-11z" class="undecided"/>',
        "failed": '<path d="M{2:.1f} {3:.1f}l8 8m0 -8l-8 8" class="failed"/>',
    }[quality].format(x, y, x - 4, y - 4, y - 5)
    ring = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" class="{name}"/>'
        for name in ("halo", "surprising")
    )
    drawn = Markup(ring if point["surprising"] else "") + Markup(shape)
    # A place to touch that is larger than the mark: 24 CSS pixels on a phone.
    hit = Markup(
        '<circle cx="{0:.1f}" cy="{1:.1f}" r="14" class="hit"/>'
        '<circle cx="{0:.1f}" cy="{1:.1f}" r="14" class="focus"/>'
    ).format(x, y)
    body = Markup("<title>{}</title>{}{}").format(says, drawn, hit)
    if point["link"]:
        return Markup('<a href="{}" aria-label="{}">{}</a>').format(point["link"], says, body)
    return Markup('<g role="img" aria-label="{}">{}</g>').format(says, body)


def _ticks(first: Any, second: Any, wide: float, high: float) -> list[Markup]:
    parts = []
    for share, text in _marks(first):
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
                LEFT + wide * share, TOP + high + 15, "end" if share == 1 else "middle", text
            )
        )
    parts.append(
        Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle" class="axis">{}</text>').format(
            LEFT + wide / 2, HEIGHT - 10, _short(first["name"], 52)
        )
    )
    if second is None:
        return parts
    for share, text in _marks(second):
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 5, TOP + high * (1 - share) + 4, text
            )
        )
    parts.append(
        Markup(
            '<text transform="translate(11 {:.1f}) rotate(-90)" text-anchor="middle" '
            'class="axis">{}</text>'
        ).format(TOP + high / 2, _short(second["name"], 42))
    )
    return parts


def _marks(axis: Mapping[str, Any]) -> list[tuple[float, str]]:
    if axis["kind"] != "float":
        return [(_share(axis, value), _short(_figure(value), 9)) for value in axis["values"]]
    low, high = axis["low"], axis["high"]
    middle = math.sqrt(low * high) if axis["log"] else (low + high) / 2
    return [(_share(axis, value), _figure(value)) for value in (low, middle, high)]


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}".replace("-", "−")
    return str(value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-(most - 1) :]
