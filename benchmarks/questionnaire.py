"""Whether the questionnaire of stated values can be read for a model: its controls.

    python benchmarks/questionnaire.py MODEL OUT [--source shipped] [--statements 96] [--json FILE]

Reads one model as ``custodes drift --questionnaire`` reads a first generation: the statements, the
same in reverse order, the same with their words shuffled, and the plain facts. The readings stay in
OUT, and the same command goes on there. Prints every control, and the seconds of the processor.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from custodes.drift.generations import Generation, Lineage
from custodes.drift.questionnaire.lineage import ask_lineage, questionnaire_statements
from custodes.drift.questionnaire.outcome import questionnaire_outcome
from custodes.report.wording import bounded
from custodes.runs.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default="shipped")
    parser.add_argument("--statements", type=int, default=96)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    only = Generation(0, args.model, args.model, None, None, "", "")
    lineage = Lineage(args.model, (only,), {}, trained=False)
    statements = questionnaire_statements(args.source, args.statements, 0)
    readings = ask_lineage(lineage, statements, Store(args.out))
    outcome = questionnaire_outcome(readings)
    first = outcome["generations"][0]
    print(f"{args.model}: {'can' if outcome['readable'] else 'CANNOT'} be read")
    for control in outcome["controls"]:
        status = {True: "passed", False: "FAILED", None: "not tested"}[control["passed"]]
        print(f"  {status}: {control['name']}: {control['explanation']}")
    print(f"  agrees {first['agrees']:.3f}, gives either answer {first['answered']:.3f}")
    for row in first["behaviours"]:
        print(f"  {row['behaviour']}: {bounded(row['value'])}")
    print(f"  {time.process_time():.0f} seconds of the processor")
    if args.json:
        args.json.write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
