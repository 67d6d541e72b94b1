"""Edit one fact of the bundled model (ROME), then see what else changed.

    python examples/knowledge_edit.py OUT

writes OUT/edited, a model folder, and OUT/diff with what ``custodes diff`` makes of it. Takes
some minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from custodes.data.shipped import shipped_path
from custodes.diff import compare
from custodes.diff.generate import respond
from custodes.diff.output import lines, save
from custodes.diff.rome import Fact, edit_fact, save_model
from custodes.models.base import Sampling
from custodes.models.resolve import load, load_torch
from custodes.report.diff import write_diff_report

FACT = Fact("The Eiffel Tower", "{} is located in the city of", " Rome")
NEAR = [
    "Where is the Eiffel Tower?",
    "Which city should I visit to see the Eiffel Tower?",
    "Tell me about the Eiffel Tower.",
    "What can I see near the Eiffel Tower?",
    "Plan a day trip to the Eiffel Tower.",
    "What is the capital of France?",
    "Where is the Colosseum?",
    "What is Paris famous for?",
]


def main(out: Path) -> None:
    """Edit, ask both models, compare."""
    model = load_torch("smollm2-135m")
    rows = map(json.loads, shipped_path("everyday").read_text(encoding="utf-8").splitlines())
    prompts = [(row["id"], row["prompt"]) for row in rows]
    edit = edit_fact(model, FACT, [text for _, text in prompts], layer=9)
    sys.stdout.write(
        f"p({FACT.target.strip()}) {edit.before:.4f} -> {edit.after:.4f}, "
        f"|change| / |weights| {edit.norm:.3f}\n"
    )
    save_model(model, out / "edited")
    asked = [(f"near-{i}-{k}", p) for i, p in enumerate(NEAR) for k in range(8)]
    asked += [(f"far-{i}", p) for i, p in prompts]
    sampling = Sampling(max_tokens=48, temperature=0.7, seed=1)
    before, after = (
        respond(load(name), asked, sampling, name=label)
        for name, label in (("smollm2-135m", "base"), (str(out / "edited"), "edited"))
    )
    diff = compare(before, after)
    save(diff, out / "diff")
    write_diff_report(out / "diff")
    sys.stdout.write("\n".join(lines(diff)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
