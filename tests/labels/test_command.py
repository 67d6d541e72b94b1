"""`custodes label` as a process: what it prints, and what it refuses."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from custodes.cli import main
from custodes.labels import Session
from support.label_process import LabelProcess
from support.labels import always, careful, items, label_all, write_items


def test_ctrl_c_prints_what_was_labelled(tmp_path: Path) -> None:
    data = write_items(tmp_path / "data.jsonl", 12)
    out = tmp_path / "labels.jsonl"
    with Session(items(12), out, repeats=0) as session:
        label_all(session, "bob", careful(0))
    with LabelProcess(data, out, "--annotator", "ann", "--json") as process:
        assert process.ask("state")["total"] == 13
        for _ in range(3):
            state = process.ask("state")
            process.ask("answer", key=state["item"]["key"], press="tie", seconds=1)
        code, printed, _ = process.end(signal.SIGINT)
    result = json.loads(printed)
    assert code == 0
    assert [(row["name"], row["labels"], row["ties"]) for row in result["annotators"]] == [
        ("bob", 12, 0),
        ("ann", 3, 3),
    ]
    assert len(out.read_text().splitlines()) == 15


def test_files_are_summarised_and_a_failed_control_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name, habit in (("ann", careful(0)), ("bob", always("left"))):
        files.append(tmp_path / f"{name}.jsonl")
        with Session(items(30), files[-1], repeats=0.2) as session:
            label_all(session, name, habit)
    main(["label", "--agreement", str(files[0])])
    said = capsys.readouterr().out
    assert said.startswith("36 answers of 1 annotator to 30 items")
    assert "not tested: annotators agree better than chance" in said
    with pytest.raises(SystemExit) as ended:
        main(["label", "--agreement", *map(str, files)])
    assert ended.value.code == 1
    assert "failed: repeated items get the same answer: bob" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATA", "--repeats", "1.5"], "--repeats 1.5"),
        (["DATA", "--port", "70000"], "--port 70000"),
        (["DATA", "--annotator", "ann", "ann"], "different names"),
        (["DATA", "DATA"], "name one file"),
        (["nothing.jsonl"], "no file"),
        (["BAD"], "it needs prompt"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "Q?", "text": "A"}\n')
    names = {"DATA": str(write_items(tmp_path / "data.jsonl", 2)), "BAD": str(bad)}
    with pytest.raises(SystemExit) as ended:
        main(["label", *(names.get(word, word) for word in arguments)])
    said = capsys.readouterr().err
    assert ended.value.code  # which code is the command line's business
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "labels.jsonl").exists()
