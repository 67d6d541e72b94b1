"""Charts: numbers in, small SVG without scripts out."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from importlib.resources import files

import pytest

from custodes.report.charts import (
    Change,
    GoldPoint,
    Intercept,
    Ratings,
    Span,
    gold_chart,
    ratings_chart,
)

NOTHING = Ratings(8, (), (), (), (), (), ())


def some(steps: int = 8) -> Ratings:
    seen = [(i, 0.3 + 0.4 * i / steps) for i in range(steps)]
    return Ratings(
        steps=steps,
        seen=seen,
        clean=[(i, v + 0.1) for i, v in seen],
        null=[(i, 0.4) for i in range(steps)],
        intercepts=[Intercept(i, v - 0.1, 0.5, v - 0.1 <= 0.5) for i, v in seen[1::2]],
        changes=[Change(3.5, 1, True), Change(5.5, 2, False)],
        spans=[Span(1, 4, 5)],
    )


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_gold_points_have_their_intervals() -> None:
    points = [GoldPoint(0, 0.0, -0.2, 0.2), GoldPoint(1, 1.0, 0.8, 1.2)]
    null = [GoldPoint(0, 0.1, -0.1, 0.3, True), GoldPoint(1, 0.1, -0.1, 0.3, True)]
    svg = gold_chart([*points, *null], 320)
    rules = re.findall(r'<line [^>]*stroke="#20568f"[^>]*>', svg)
    assert len(rules) == 2
    assert len(re.findall(r'<line [^>]*stroke="#7b8087"[^>]*>', svg)) == 2
    # The higher score is drawn higher, and an interval of 0.4 is as long as another of 0.4.
    lengths = {re.search(r' y2="(-?[\d.]+)"', rule)[1] for rule in rules}  # type: ignore[index]
    assert len(lengths) == 1
    ys = [float(y) for y in re.findall(r'<path transform="translate\([\d.]+,([\d.]+)\)"', svg)]
    assert ys[-1] < ys[-2]


def test_a_single_checkpoint_is_drawn() -> None:
    assert "#20568f" in gold_chart([GoldPoint(0, 0.0, -0.2, 0.2)], 320)


def test_everything_that_happened_is_marked() -> None:
    svg = ratings_chart(some(), 640)
    for colour in ("#20568f", "#7b8087", "#8a6a12", "#7a4a9e", "#b3261e", "#f3e6cf"):
        assert colour in svg
    assert {"1", "2", "P1", "step"} <= set(labels(svg))


def test_nothing_is_drawn_of_what_is_not_there() -> None:
    seen = Ratings(8, [(0, 0.5)], (), (), (), (), ())
    svg = ratings_chart(seen, 640)
    for colour in ("#7b8087", "#8a6a12", "#7a4a9e", "#b3261e", "#f3e6cf"):
        assert colour not in svg


@pytest.mark.parametrize("chart", [ratings_chart(some(), 640), ratings_chart(NOTHING, 640)])
def test_charts_are_inert(chart: str) -> None:
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(chart).iter()}
    assert tags <= {"svg", "g", "path", "rect", "line", "text"}
    assert not re.search(r'\b(style|id|href|on\w+)="', chart)


def test_every_colour_has_a_dark_twin() -> None:
    css = files("custodes.report").joinpath("templates/report.css").read_text()
    drawn = ratings_chart(some(), 640) + gold_chart([GoldPoint(1, 0, -1, 1)], 320, zero=True)
    used = set(re.findall(r'(?:stroke|fill)="#\w+"', drawn))
    assert used
    assert {f".chart [{colour}]" for colour in used} - set(
        re.findall(r"\.chart \[[^]]+\]", css)
    ) == set()


def test_a_long_run_is_no_larger_to_draw() -> None:
    short, long = ratings_chart(some(120), 640), ratings_chart(some(5000), 640)
    assert len(long) < 1.5 * len(short)
    many = [GoldPoint(i, i, i - 1, i + 1) for i in range(1000)]
    assert len(gold_chart(many, 320)) < 30_000


def test_of_a_group_of_intercepts_the_lowest_is_drawn() -> None:
    good = [Intercept(i, 0.9, 0.5, False) for i in range(1200)]
    bad = Intercept(600, 0.1, 0.5, True)
    svg = ratings_chart(Ratings(1200, (), (), (), [*good, bad], (), ()), 640)
    assert svg.count("#b3261e") == 1


def test_the_same_numbers_give_the_same_chart() -> None:
    assert ratings_chart(some(), 640) == ratings_chart(some(), 640)
