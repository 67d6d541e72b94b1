"""The Python functions: what they take, and how their results show themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import custodes
from custodes.errors import DataError
from support.notebooks import run_notebook

EVIL = "<img src=x onerror=alert(1)>\x1b[31m"


def answers(text: str, n: int = 40) -> list[dict[str, str]]:
    return [
        {"prompt": f"Question {k} {EVIL}?", "response": f"{text} Number {k % 7}. {EVIL}"}
        for k in range(n)
    ]


@pytest.fixture(scope="module")
def diff() -> Any:
    return custodes.compare(answers("The answer is here."), answers("I'm sorry, I cannot say."))


def test_every_name_can_be_imported_from_the_package() -> None:
    """In a process of its own, so that no other import has set the names before."""
    code = (
        "import custodes; names = custodes.__all__; "
        "exec('from custodes import ' + ', '.join(names)); assert all(callable(globals()[n]) "
        "for n in names if n != '__version__'); import custodes.drift.config; "
        "assert callable(custodes.drift); print(*names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"compare", "drift", "oversee"} <= set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, custodes; from custodes import CustodesError, load_config; "
        "assert not {'torch', 'transformers', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_diff_is_one_line(diff: Any) -> None:
    line = repr(diff)
    assert len(line) < 200
    assert "\n" not in line
    assert f"{len(diff.findings)} finding" in line
    assert "40 prompts" in line


def test_a_diff_in_a_notebook_has_findings_and_examples_and_is_escaped(diff: Any) -> None:
    page = diff._repr_html_()
    assert diff.findings
    assert page.count("<details>") >= 1
    assert "Control failed" not in page
    assert "<img" not in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;img" in page


def test_a_failed_control_comes_first(diff: Any) -> None:
    from dataclasses import replace

    from custodes.control import Control

    control = Control("A/A run", False, f"it found what is not there {EVIL}")
    broken = replace(diff, aa_run=replace(diff.aa_run, control=control))
    page = broken._repr_html_()
    assert page.index("Control failed: A/A run") < page.index("<table>")
    assert "<img" not in page
    assert "1 failed" in repr(broken)


def test_a_diff_as_a_frame_and_as_a_dict(diff: Any) -> None:
    frame = diff.to_frame()
    assert len(frame) == len(diff.findings)
    assert (frame["low"] <= frame["effect"]).all()
    assert (frame["effect"] <= frame["high"]).all()
    assert (frame["rate_b"] - frame["rate_a"]).tolist() == pytest.approx(frame["effect"].tolist())
    content = json.loads(json.dumps(diff.to_dict()))
    assert [row["id"] for row in content["findings"]] == frame["id"].tolist()


def test_a_diff_without_findings_has_an_empty_frame() -> None:
    same = answers("The same.", 12)
    diff = custodes.compare(same, same, names=("before", "after"))
    assert diff.aligned.names == ("before", "after")
    assert list(diff.to_frame().columns) == list(custodes.compare(same, same).to_frame().columns)
    assert "No difference was found" in diff._repr_html_() or hasattr(diff, "outcome")
    assert "0 findings" in repr(diff)


def test_files_frames_and_lists_give_one_diff(tmp_path: Path) -> None:
    import pandas as pd

    one, two = answers("The answer is here.", 12), answers("I'm sorry.", 12)
    diffs = []
    for make in (
        lambda rows, name: rows,
        lambda rows, name: pd.DataFrame(rows),
        lambda rows, name: (
            pd.DataFrame(rows).to_csv(tmp_path / name, index=False) or tmp_path / name
        ),
        lambda rows, name: str(tmp_path / name),
    ):
        diffs.append(custodes.compare(make(one, "a.csv"), make(two, "b.csv")))
    contents = [diff.to_dict() for diff in diffs]
    for content in contents:
        content["a"].pop("name"), content["b"].pop("name")
        content.pop("findings"), content.pop("outcome")  # their sentences name the sides
    assert all(content == contents[0] for content in contents)
    assert diffs[2].aligned.names == ("a.csv", "b.csv")
    assert diffs[0].aligned.names == ("A", "B")


def test_columns_of_one_table() -> None:
    rows = [{"q": f"Why {k}?", "old": "Because.", "new": "I'm sorry."} for k in range(12)]
    sides = (
        custodes.diff.read_responses(rows, name, prompt_column="q", response_column=name)
        for name in ("old", "new")
    )
    diff = custodes.compare(*sides)
    assert diff.aligned.names == ("old", "new")
    with pytest.raises(DataError, match="A row 1 has no prompt: it has the columns q, old, new"):
        custodes.compare(rows, rows)


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(DataError, match=r"no file nothing\.csv"):
        custodes.compare("nothing.csv", "nothing.csv")


def test_a_run_shows_itself(tmp_path: Path) -> None:
    config = custodes.load_config(
        Path(__file__).parents[1] / "examples" / "simulated.yaml",
        custodes.OverseeConfig,
        ["steps=30"],
    )
    summary = custodes.oversee(config, tmp_path / "run")
    assert len(repr(summary)) < 200
    assert "finished" in repr(summary)
    page = summary._repr_html_()
    assert "gold score" in page
    frame = summary.to_frame()
    assert len(frame) == len(summary["gold"])
    assert set(frame["domain"]) == {"helpfulness", "harmlessness"}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == json.loads(
        json.dumps(summary.to_dict())
    )


def test_drift_is_a_function_of_the_package(
    tmp_path: Path, tiny_model_dir: Path, tiny_adapter_dir: Path
) -> None:
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Why {k}?"}) + "\n" for k in range(6))
    )
    drift = custodes.drift(
        tiny_model_dir,
        tiny_adapter_dir,
        out=tmp_path / "d",
        prompts=str(tmp_path / "q.jsonl"),
        max_tokens=4,
        engine="torch",
        concepts="none",
    )
    assert repr(drift).startswith("<Drift of 1 generation from")
    assert len(repr(drift)) < 300
    assert "controls:" in drift._repr_html_()
    assert list(drift.to_frame().columns)[:3] == ["statement", "generation", "name"]
    assert drift.to_dict()["prompts"] == 6
    with pytest.raises(custodes.CustodesError, match="limits"):
        custodes.drift("runs/x", out=tmp_path / "e", limits=3)


NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_shows_its_results(path: Path, tmp_path: Path) -> None:
    notebook = run_notebook(path, tmp_path)
    shown = [output["data"] for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert len(shown) >= 4
    assert any(data["text/plain"][0].startswith("<Diff") for data in shown)
    assert all(len(data["text/plain"][0]) < 1000 for data in shown)
    assert str(tmp_path) not in json.dumps(notebook)
