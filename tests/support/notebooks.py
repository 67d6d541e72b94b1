"""Run notebooks without Jupyter: ``python tests/support/notebooks.py FILE`` renews the outputs."""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any


def run_notebook(path: Path, folder: Path) -> dict[str, Any]:
    """Run the cells in order, in a folder; return the notebook with its outputs.

    A cell may not print; what its last expression is becomes its output, as in Jupyter.
    """
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    space: dict[str, Any] = {"__name__": "__main__"}
    with chdir(folder):
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            tree = ast.parse("".join(cell["source"]))
            name = f"{path.name} cell {number}"
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), space)
            cell["outputs"] = []
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), space)
                cell["outputs"].append(_output(value))
    return notebook


def _output(value: Any) -> dict[str, Any]:
    data = {"text/plain": [repr(value)]}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = [value._repr_html_()]
    return {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data}


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as scratch:
        renewed = run_notebook(target, Path(scratch))
    text = json.dumps(renewed, indent=1, ensure_ascii=False) + "\n"
    target.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{target}: {os.path.getsize(target)} bytes\n")
