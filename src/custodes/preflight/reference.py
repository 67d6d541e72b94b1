"""The reference of all checks, written from the checks themselves."""

from __future__ import annotations

from pathlib import Path

from custodes.preflight.plants.catalogue import Plant, plants
from custodes.preflight.registry import Check, checks
from custodes.preflight.result import LAYERS

__all__ = ["check_page", "index", "write"]

_NAMES = {
    "sft": "SFT",
    "dpo": "DPO",
    "kto": "KTO",
    "reward": "reward models",
    "grpo": "GRPO",
    "rloo": "RLOO",
    "plain": "transformers.Trainer",
}


def _links(reference: str) -> str:
    """Turn owner/repo#1 into a link to the issue."""
    found = []
    for one in reference.split("; "):
        place, hash_, number = one.partition("#")
        if hash_ and number.isdigit() and "/" in place:
            found.append(f"[{one}](https://github.com/{place}/issues/{number})")
        else:
            found.append(one)
    return "; ".join(found)


def check_page(one: Check, planted: list[Plant]) -> str:
    """Return the page of one check, as Markdown."""
    about = (one.measure.__doc__ or "").strip().splitlines()[0]
    kinds = ", ".join(_NAMES[k] for k in _NAMES if k in one.kinds) if one.kinds else "all trainers"
    lines = [
        f"# {one.id}",
        "",
        about,
        "",
        f"- Layer: {one.layer}",
        f"- Applies to: {kinds}",
        f"- Passes: {one.expected}",
        f"- Remedy: {one.remedy}",
        f"- Would have caught: {_links(one.reference)}"
        if not one.reference.startswith("docs/")
        else "- An invariant; no issue is cited for it",
        "",
    ]
    mine = [plant for plant in planted if one.id in plant.checks]
    if mine:
        lines += ["The self-test plants these bugs for it:", ""]
        lines += [
            f"- `{p.id}` ({_NAMES[p.kind]}): {p.about} {_links(p.reference)}".rstrip() for p in mine
        ]
        lines.append("")
    lines.append(f"Run it alone: `check(trainer, only=[{one.id!r}])`. Leave it out: `skip`.")
    return "\n".join(lines) + "\n"


def index() -> str:
    """Return the table of all checks, as Markdown."""
    lines = ["# The checks", ""]
    for layer in LAYERS:
        lines += [f"## {layer.capitalize()}", "", "| check | what holds |", "|---|---|"]
        for one in checks([layer]):
            about = (one.measure.__doc__ or "").strip().splitlines()[0]
            lines.append(f"| [{one.id}]({one.id}.md) | {about} |")
        lines.append("")
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Write a page for each check, and the table of them.

    Args:
        folder: docs/reference/preflight of the repository.
    """
    planted = plants()
    written = []
    for one in checks(LAYERS):
        path = folder / f"{one.id}.md"
        path.write_text(check_page(one, planted), encoding="utf-8")
        written.append(path)
    (folder / "index.md").write_text(index(), encoding="utf-8")
    return [*written, folder / "index.md"]
