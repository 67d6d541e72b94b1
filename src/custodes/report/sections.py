"""The content of each section of the report, from a run's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from custodes.control import Control
from custodes.oversight.events import StartEvent
from custodes.report.charts import (
    Change,
    GoldPoint,
    Intercept,
    Ratings,
    Span,
    gold_chart,
    ratings_chart,
)
from custodes.report.passages import Passage, compared, passage
from custodes.report.rows import Row, Shown, shown
from custodes.report.wording import PANEL, facts, number, plural, score

__all__ = [
    "ChangedText",
    "GoldSection",
    "RatingsSection",
    "WorstText",
    "changed_texts",
    "expert_cards",
    "gold_sections",
    "panel_rows",
    "perturbation_rows",
    "ratings_sections",
    "retrain_rows",
    "worst_texts",
]

Rows = Mapping[int, Row]
"""By checkpoint."""

WIDE, NARROW, SMALL = 740, 340, 350
"""Chart widths: for a page, for a phone, for two side by side."""

ROWS = 120
"""Longest table; of more rows as many are shown, evenly spaced."""

EXAMPLES = 12


@dataclass(frozen=True)
class GoldSection:
    """One domain's gold score by checkpoint, beside the null run's."""

    domain: str
    prompts: int
    scores: Markup
    changes: Markup | None
    alt: str
    table: Shown
    null: bool


def gold_sections(summary: Row) -> list[GoldSection]:
    """Draw the gold score of each domain."""
    null_run = summary["null_run"]
    sections = []
    for domain in dict.fromkeys(row["domain"] for row in summary["gold"]):
        ours = {row["checkpoint"]: row for row in summary["gold"] if row["domain"] == domain}
        null = {
            row["checkpoint"]: row
            for row in (null_run["gold"] if null_run else ())
            if row["domain"] == domain
        }
        changes = _points(ours, null, "change", "change_ci95")
        made = {row["checkpoint"]: row["intervention"] for row in summary["retrains"]}
        table = [
            {
                "checkpoint": number,
                "made": made.get(number, "base") if number in ours else "null run only",
                "ours": ours.get(number),
                "null": null.get(number),
            }
            for number in sorted({*ours, *null})
        ]
        sections.append(
            GoldSection(
                domain=domain,
                prompts=next(iter(ours.values()))["prompts"],
                scores=gold_chart(
                    _points(ours, null, "score", "ci95"), SMALL, quantity="score (logits)"
                ),
                changes=gold_chart(changes, SMALL, zero=True, quantity="change (logits)")
                if changes
                else None,
                alt=_gold_alt(domain, list(ours.values())),
                table=shown(table, ROWS),
                null=bool(null),
            )
        )
    return sections


def panel_rows(summary: Row) -> Shown:
    """List the gold panel by quantity and checkpoint; older summaries have none."""
    rows = summary.get("panel", ())
    order = {name: i for i, name in enumerate(PANEL)}
    return shown(sorted(rows, key=lambda row: order.get(row["quantity"], len(order))), ROWS)


def _points(ours: Rows, null: Rows, key: str, bounds: str) -> list[GoldPoint]:
    """Collect the checkpoints of the run and of the null run that have this measurement."""
    return [
        GoldPoint(row["checkpoint"], row[key], row[bounds][0], row[bounds][1], is_null)
        for is_null, rows in ((False, ours), (True, null))
        for row in rows.values()
        if row[key] is not None
    ]


def _gold_alt(domain: str, rows: Sequence[Row]) -> str:
    first, last = rows[0], rows[-1]
    if first is last:
        return f"Gold score of {domain} at checkpoint 0: {number(first['score'])} logits."
    return (
        f"Gold score of {domain} at {plural(len(rows), 'checkpoint')}, from "
        f"{number(first['score'])} logits at checkpoint {first['checkpoint']} to "
        f"{number(last['score'])} at checkpoint {last['checkpoint']}, a change of "
        f"{score(last['change'])}. The table has the numbers."
    )


@dataclass(frozen=True)
class RatingsSection:
    """One domain's ratings over the steps."""

    domain: str
    wide: Markup
    narrow: Markup
    alt: str
    table: Shown
    legend: Sequence[str]
    group: int


def ratings_sections(summary: Row, steps: int) -> list[RatingsSection]:
    """Draw the ratings of each domain that anybody rated."""
    null_run = summary["null_run"]
    sections = []
    for domain in dict.fromkeys(row["domain"] for row in summary["series"]):
        rows = [row for row in summary["series"] if row["domain"] == domain]
        null = [row for row in (null_run["series"] if null_run else ()) if row["domain"] == domain]
        ratings = _ratings(domain, rows, null, summary, steps)
        null_by_step = {row["step"]: row["rating"] for row in null}
        sections.append(
            RatingsSection(
                domain=domain,
                wide=ratings_chart(ratings, WIDE),
                narrow=ratings_chart(ratings, NARROW),
                alt=_ratings_alt(domain, ratings),
                table=shown([{**row, "null": null_by_step.get(row["step"])} for row in rows], ROWS),
                legend=_legend(ratings),
                group=ratings.group,
            )
        )
    return sections


def _ratings(
    domain: str, rows: Sequence[Row], null: Sequence[Row], summary: Row, steps: int
) -> Ratings:
    disturbed = any(row["rating"] != row["clean"] for row in rows)
    return Ratings(
        steps=max([steps, *(row["step"] + 1 for row in rows)]),
        seen=_rated(rows, "rating"),
        clean=_rated(rows, "clean") if disturbed else (),
        null=_rated(null, "rating"),
        intercepts=[
            Intercept(row["step"], e["statistic"], e["threshold"], e["failing"])
            for row in rows
            if (e := row["evidence"]) and e["n"]
        ],
        changes=[
            Change(
                # The Teacher comes after a step's answers, noise on the weights before them.
                row["step"] + (-0.5 if row["intervention"] == "weight_noise" else 0.5),
                row["checkpoint"],
                mine=row["intervention"] == f"teacher:{domain}",
            )
            for row in summary["retrains"]
        ],
        spans=[
            Span(i, row["at"], min(steps, row["until"] or steps) - 1)
            for i, row in enumerate(_perturbations(summary), start=1)
        ],
    )


def _rated(rows: Sequence[Row], key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in rows if row[key] is not None]


def _ratings_alt(domain: str, ratings: Ratings) -> str:
    if not ratings.seen:
        return f"{domain} has no rating."
    failing = sum(intercept.failing for intercept in ratings.intercepts)
    return (
        f"Mean {domain} rating over {plural(ratings.steps, 'step')}, from "
        f"{number(ratings.seen[0][1])} to {number(ratings.seen[-1][1])}; "
        f"{failing} of {plural(len(ratings.intercepts), 'intercept')} failing; "
        f"{plural(len(ratings.changes), 'new checkpoint')}; "
        f"{plural(len(ratings.spans), 'perturbation')}. The table has the numbers."
    )


def _legend(ratings: Ratings) -> list[str]:
    """Name what the chart shows."""
    content = {
        "seen": ratings.seen,
        "clean": ratings.clean,
        "null": ratings.null,
        "threshold": ratings.intercepts,
        "passing": [i for i in ratings.intercepts if not i.failing],
        "failing": [i for i in ratings.intercepts if i.failing],
        "mine": [change for change in ratings.changes if change.mine],
        "other": [change for change in ratings.changes if not change.mine],
        "span": ratings.spans,
    }
    return [key for key, values in content.items() if values]


def _perturbations(summary: Row) -> list[Row]:
    """List each perturbation once; the summary has it once for each domain."""
    return list({row["name"]: row for row in reversed(summary["perturbations"])}.values())[::-1]


def perturbation_rows(summary: Row) -> Shown:
    """List each domain's recovery from each perturbation, with the numbers in the chart."""
    numbers = {row["name"]: i for i, row in enumerate(_perturbations(summary), start=1)}
    rows = [
        {"misled": [], **row, "number": numbers[row["name"]]} for row in summary["perturbations"]
    ]
    return shown(rows, ROWS)


def _taught(metrics: Row) -> list[str]:
    """For each training method: the number of rows, and the loss at the first and last step."""
    return [
        f"{name}: {plural(of['rows'], 'row')}, "
        f"loss {number(of['loss'][0], 3)} → {number(of['loss'][-1], 3)}"
        for name, of in metrics.items()
        if isinstance(of, Mapping) and of.get("loss")
    ]


def retrain_rows(summary: Row) -> Shown:
    """List the new checkpoints, each with all measurements."""
    return shown(
        [
            {
                # A run that an earlier version summarised lacks these.
                **{"evidence": None, "needless": False, "gold": []},
                **row,
                "served": row["served"],
                "moved": row["metrics"].get("weights_moved"),
                "taught": _taught(row["metrics"]),
                "controls": [Control.from_dict(c) for c in row["metrics"].get("controls", ())],
                "facts": facts(row["metrics"], skip=("controls", "weights_moved")),
            }
            for row in summary["retrains"]
        ],
        60,
    )


@dataclass(frozen=True)
class ChangedText:
    """Two answers to one gold prompt."""

    row: Row
    query: Passage
    before: Passage
    after: Passage


@dataclass(frozen=True)
class WorstText:
    """An answer that was rated low."""

    row: Row
    query: Passage
    response: Passage


def changed_texts(summary: Row) -> list[ChangedText]:
    """Set the most changed answers side by side."""
    return [
        ChangedText(row, passage(row["query"]), *compared(row["before"], row["after"]))
        for row in summary["examples"]["changed"][:EXAMPLES]
    ]


def worst_texts(summary: Row) -> list[WorstText]:
    """Show the answers that were rated lowest."""
    return [
        WorstText(row, passage(row["query"]), passage(row["response"]))
        for row in summary["examples"]["worst"][:EXAMPLES]
    ]


def expert_cards(start: StartEvent | None) -> list[Row]:
    """List the loop's Experts, each with its controls and its card."""
    return [
        {
            "name": expert.name,
            "domain": expert.domain,
            "version": expert.version,
            "controls": expert.controls,
            "facts": facts(expert.report, skip=("controls",)),
        }
        for expert in (start.experts if start else ())
    ]
