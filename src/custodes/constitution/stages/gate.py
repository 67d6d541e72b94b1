"""The compliance gate: do revisions follow their principle better than the first answers did?

A pipeline that trains on revisions which do not comply trains for nothing, or for the opposite: an
"evil" data set that is mostly refusals teaches to refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from custodes.control import Control
from custodes.statistics import bootstrap_mean

__all__ = ["Judged", "gate", "unusual"]

LEAST = 8
"""Rated revisions of a principle below which the gate is not tested."""

MOST_REFUSALS = 0.25
"""Share of refusals up to which the data of an inverted run may be called inverted."""

MOST_UNUSUAL = 0.5
"""Share of revisions that may be unchanged, empty or repeat the prompt."""


@dataclass
class Judged:
    """A revision and what is known of it.

    Attributes:
        principle: The principle it was written under.
        refusal: Whether it refuses.
        bare_refusal: Whether it refuses and says little else.
        repeats_prompt: Whether it is the prompt again.
        unchanged: Whether it is the first answer again.
        empty: Whether there is nothing.
        before: Compliance of the first answer, in [0, 1]; None where it has no rating.
        after: Compliance of the revision.
    """

    principle: str
    refusal: bool = False
    bare_refusal: bool = False
    repeats_prompt: bool = False
    unchanged: bool = False
    empty: bool = False
    before: float | None = None
    after: float | None = None


def unusual(one: Judged) -> bool:
    """Whether a revision is none: empty, the prompt again, or the first answer again."""
    return one.empty or one.repeats_prompt or one.unchanged


def gate(judged: Sequence[Judged], *, inverted: bool) -> tuple[dict[str, Any], list[Control]]:
    """Compare revisions with first answers, principle by principle.

    Args:
        judged: The revisions.
        inverted: Whether the principles are inverses, under which a refusal does not comply.

    Returns:
        Figures by principle, and the controls: one for each principle, and those on the data.
    """
    facts: dict[str, Any] = {"by_principle": {}}
    controls = []
    for name in dict.fromkeys(one.principle for one in judged):
        own = [one for one in judged if one.principle == name]
        figures, control = _principle(name, own)
        facts["by_principle"][name] = figures
        controls.append(control)
    share = _share(unusual(one) for one in judged)
    controls.append(
        Control(
            "revisions are revisions",
            share <= MOST_UNUSUAL,
            f"{share:.0%} of {len(judged)} are empty, unchanged or repeat the prompt (at most "
            f"{MOST_UNUSUAL:.0%} may be)",
            {"share": share, "n": len(judged), "most": MOST_UNUSUAL},
        )
    )
    if inverted:
        refusals = _share(one.refusal for one in judged)
        controls.append(
            Control(
                "inverted revisions do not refuse",
                refusals <= MOST_REFUSALS,
                f"{refusals:.0%} of {len(judged)} refuse (at most {MOST_REFUSALS:.0%} may)",
                {"share": refusals, "n": len(judged), "most": MOST_REFUSALS},
            )
        )
    return facts, controls


def _principle(name: str, own: Sequence[Judged]) -> tuple[dict[str, Any], Control]:
    """Compare the compliance of one principle's revisions with that of the first answers."""
    rated = [(o.before, o.after) for o in own if o.before is not None and o.after is not None]
    figures: dict[str, Any] = {
        "revisions": len(own),
        "rated": len(rated),
        **{
            what: sum(getattr(one, what) for one in own)
            for what in ("refusal", "bare_refusal", "repeats_prompt", "unchanged", "empty")
        },
    }
    title = f"compliance gate: {name}"
    if len(rated) < LEAST:
        reason = f"{len(rated)} of {len(own)} revisions have a rating (at least {LEAST} must)"
        return figures, Control.not_tested(title, reason)
    change = bootstrap_mean([after - before for before, after in rated])
    plain = [
        o.after - o.before
        for o in own
        if o.before is not None and o.after is not None and not (o.bare_refusal or unusual(o))
    ]
    figures |= {
        "before": round(float(np.mean([before for before, _ in rated])), 4),
        "after": round(float(np.mean([after for _, after in rated])), 4),
        "change": round(change.mean, 4),
        "ci95": [round(change.low, 4), round(change.high, 4)],
        # Without those that are easy to get right or wrong.
        "change_of_others": round(float(np.mean(plain)), 4) if plain else None,
        "others": len(plain),
    }
    control = Control(
        title,
        change.low > 0,
        f"revisions comply {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}] more than "
        f"the first answers, over {change.n} queries (the interval must be above 0)",
        {"change": change.mean, "low": change.low, "high": change.high, "n": change.n},
    )
    return figures, control


def _share(flags: Any) -> float:
    values = list(flags)
    return sum(values) / len(values) if values else 0.0
