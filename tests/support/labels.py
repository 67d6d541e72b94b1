"""Items to label, and annotators of known habits."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from custodes.labels import Item, Session
from custodes.labels.session import Press

Habit = Callable[[Item, str, str], Press]
"""Called with the item and the texts on the left and on the right."""


def items(n: int) -> list[Item]:
    return [
        Item(f"i{k}", ({"role": "user", "content": f"Question {k}?"},), f"good {k}", f"bad {k}")
        for k in range(n)
    ]


def write_items(path: Path, n: int) -> Path:
    rows = [
        {
            "id": f"i{k}",
            "prompt": f"Question {k}?",
            "response_a": f"good {k}",
            "response_b": f"bad {k}",
        }
        for k in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def careful(error: float, seed: int = 0) -> Habit:
    """Prefer the good answer, with a share of slips."""
    rng = random.Random(seed)

    def press(item: Item, left: str, right: str) -> Press:
        better, worse = ("left", "right") if left == item.a else ("right", "left")
        return worse if rng.random() < error else better  # type: ignore[return-value]

    return press


def always(press: Press) -> Habit:
    return lambda item, left, right: press


def label_all(session: Session, annotator: str, habit: Habit, most: int = 10**6) -> int:
    known = {item.id: item for item in session.items}
    count = 0
    while (state := session.state(annotator)["item"]) is not None and count < most:
        item = known[state["key"].rpartition("|")[0]]
        press = habit(item, state["left"], state["right"])
        session.answer(annotator, state["key"], press, 2.0)
        count += 1
    return count
