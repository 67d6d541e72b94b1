"""Edit one fact of the bundled model (ROME), then see what else changed.

    python examples/knowledge_edit.py OUT

writes OUT/edited, a model folder, and OUT/diff, which ``custodes diff`` makes of it. First it says
how probable the edited fact and facts that should have stayed are, before and after: an edit that
takes its neighbours along has not edited a fact. Takes some minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from custodes.data.shipped import shipped_path
from custodes.diff.config import DiffConfig
from custodes.diff.output import lines
from custodes.diff.run import run_diff
from custodes.models.resolve import load_torch
from custodes.progress import console
from custodes.report.diff import write_diff_report
from custodes.training.rome import Fact, edit_fact, fact_probability, save_model

FACT = Fact("The Eiffel Tower", "{} is located in the city of", " Rome")
CONTROLS = [
    Fact("The Louvre", "{} is located in the city of", " Paris"),
    Fact("The Louvre", "{} is located in the city of", " Rome"),
    Fact("Big Ben", "{} is located in the city of", " London"),
    Fact("Big Ben", "{} is located in the city of", " Rome"),
    Fact("The Colosseum", "{} is located in the city of", " Rome"),
    Fact("France", "The capital of {} is", " Paris"),
    Fact("Italy", "The capital of {} is", " Rome"),
]
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
    far = [{"id": f"far-{row['id']}", "prompt": row["prompt"]} for row in rows]
    near = [{"id": f"near-{i}-{k}", "prompt": p} for i, p in enumerate(NEAR) for k in range(8)]
    model.model.float()
    before = [fact_probability(model, fact) for fact in CONTROLS]
    edit = edit_fact(model, FACT, [row["prompt"] for row in far], layer=9)
    sys.stdout.write(f"|change| / |weights| {edit.norm:.3f}\n")
    after = [fact_probability(model, fact) for fact in CONTROLS]
    facts = zip([FACT, *CONTROLS], [edit.before, *before], [edit.after, *after], strict=True)
    for fact, was, now in facts:
        said = fact.prompt.format(fact.subject) + fact.target
        sys.stdout.write(f"p({said}) {was:.4f} -> {now:.4f}\n")
    save_model(model, out / "edited")
    prompts = out / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in near + far), encoding="utf-8")
    config = DiffConfig(
        a="smollm2-135m",
        b=str(out / "edited"),
        prompts=str(prompts),
        max_tokens=48,
        temperature=0.7,
        seed=1,
    )
    with console() as progress:
        done = run_diff(config, out / "diff", progress=progress)
    write_diff_report(out / "diff")
    sys.stdout.write("\n".join(lines(done.diff)) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
