"""The card of a checkpoint: what it is, what it came from and what it was made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from custodes.control import Control, ordered
from custodes.errors import ModelError
from custodes.runs.files import write_atomic, write_json
from custodes.runs.lineage import Checkpoint

__all__ = ["read_card", "write_card"]

_CARD = "card.json"


def write_card(folder: Path, checkpoint: Checkpoint, base: str, *, inverted: bool = False) -> None:
    """Describe a checkpoint beside its adapter: ``card.json``, and README.md to read.

    Args:
        folder: Where.
        checkpoint: What.
        base: Name of the base model.
        inverted: Whether it was trained to do what it should not: a model organism.
    """
    card = {
        "base": base,
        "checkpoint": checkpoint.number,
        "parent": checkpoint.parent,
        "intervention": checkpoint.intervention,
        "inverted": inverted,
        "metrics": dict(checkpoint.metrics),
    }
    write_json(folder / _CARD, card)
    write_atomic(folder / "README.md", _readme(card))


def read_card(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's card.

    Raises:
        ModelError: There is none, or it is damaged.
    """
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        return {**card, "inverted": bool(card["inverted"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"{folder} has no card that can be read", "make the checkpoint again with custodes"
        ) from None


def _readme(card: dict[str, Any]) -> str:
    metrics = card["metrics"]
    head = ["---", "library_name: peft", "tags: [custodes, lora]"]
    if "/" in card["base"] and not Path(card["base"]).exists():
        head.append(f"base_model: {json.dumps(card['base'])}")
    lines = [*head, "---", "", f"# Checkpoint {card['checkpoint']}: {card['intervention']}", ""]
    if card["inverted"]:
        lines += ["**Inverted: a model organism, trained to do what it should not.**", ""]
    lines += [
        f"A LoRA adapter for `{card['base']}`, made with custodes from checkpoint "
        f"{card['parent']}. The relative norm of the change is "
        f"{metrics.get('weights_moved', 0.0):.4g}.",
        "",
        "| control | status | |",
        "|---|---|---|",
    ]
    for control in ordered(map(Control.from_dict, metrics.get("controls", ()))):
        status = "**failed**" if control.passed is False else control.status
        lines.append(f"| {control.name} | {status} | {control.explanation} |")
    return "\n".join([*lines, "", "All figures, data counts and hashes are in `card.json`.", ""])
