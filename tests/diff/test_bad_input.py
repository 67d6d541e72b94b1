"""What people really have in their files, through the command line: a line or a sound result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custodes.cli import main
from support.texts import made_up

Diff = Callable[..., tuple[dict[str, Any], str, str]]


def rows(n: int, seed: int, first: int = 0) -> list[dict[str, str]]:
    made = made_up(first + n, seed, "x")
    listed = [
        {"prompt_id": i, "prompt": p, "response": t[0]}
        for i, p, t in zip(made.ids, made.prompts, made.texts, strict=True)
    ]
    return listed[first:]


def write(path: Path, content: list[dict[str, str]] | bytes) -> str:
    if isinstance(content, list):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode(
            "utf-8", "surrogatepass"
        )
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Diff:
    """Compare two files; give diff.json, the terminal's output and the report."""

    def comparing(a: Any, b: Any) -> tuple[dict[str, Any], str, str]:
        names = write(tmp_path / "a.jsonl", a), write(tmp_path / "b.jsonl", b)
        main(["diff", *names, "--out", str(tmp_path / "out")])
        content = json.loads((tmp_path / "out" / "diff.json").read_text())
        page = (tmp_path / "out" / "report.html").read_text()
        return content, capsys.readouterr().out, page

    return comparing


def test_no_shared_prompts(diff: Diff) -> None:
    content, said, _ = diff(rows(60, 1), rows(60, 2, first=60))
    assert not content["paired"]
    assert content["findings"] == []
    assert "A and B answered different prompts" in said
    assert "the files share 0 prompts" in said


def test_one_sided_prompts_are_left_out(diff: Diff) -> None:
    content, said, _ = diff(rows(60, 1), rows(20, 2, first=40))
    assert content["prompts"] == 20
    assert "40 prompts that only" in said


def test_several_responses_of_one_side_only(diff: Diff) -> None:
    content, _, _ = diff(rows(60, 1) + rows(60, 3) + rows(60, 4), rows(60, 2))
    assert content["a"]["responses"] == 180
    assert content["prompts"] == 60
    assert content["findings"] == []


def test_three_prompts_say_what_they_can_show(diff: Diff) -> None:
    content, said, page = diff(rows(3, 1), rows(3, 2))
    assert content["findings"] == []
    assert "3 prompts can show nothing" in said
    assert "3 prompts can show nothing" in page


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b"])
def test_empty_responses(diff: Diff, blank: str) -> None:
    b = [row | {"response": blank} for row in rows(60, 2)]
    content, _, _ = diff(rows(60, 1), b)
    assert content["findings"]
    assert max(abs(f["effect"]) for f in content["findings"]) == 1


def test_nothing_but_empty_responses(diff: Diff) -> None:
    nothing = [row | {"response": ""} for row in rows(40, 1)]
    content, said, _ = diff(nothing, nothing)
    assert content["findings"] == []
    assert "40 of 40 responses are empty" in said


WORDS = {
    "Chinese": ["花园", "土壤", "种子", "植物", "太阳", "春天", "树叶", "水"],
    "Arabic": ["الحديقة", "التربة", "البذور", "النبات", "الشمس", "الربيع", "الماء"],
    "Hindi": ["बगीचा", "मिट्टी", "बीज", "पौधा", "सूरज", "वसंत", "पानी"],
}


@pytest.mark.parametrize("language", sorted(WORDS))
def test_other_languages(diff: Diff, language: str) -> None:
    words, rng = WORDS[language], np.random.default_rng(0)

    def speak() -> str:
        return " ".join(rng.choice(words, 12)) + "."

    a = [row | {"response": speak()} for row in rows(80, 1)]
    b = [row | {"response": speak() + (" " + words[0] * 3 if k < 40 else "")}
         for k, row in enumerate(rows(80, 1))]  # fmt: skip
    content, _, _ = diff(a, b)
    assert content["findings"]
    assert content["controls"][0]["passed"]


HOSTILE = (
    "\x1b[31m\x1b]0;title\x07 \x00 \r </div><script>alert(1)</script> {{ 7*7 }} \u202e\u2028 \udcff"
)


def test_nothing_in_a_file_is_interpreted(diff: Diff) -> None:
    a = rows(80, 1)
    b = [
        {k: f"{v} {HOSTILE}" if k == "response" and n < 50 else v for k, v in row.items()}
        for n, row in enumerate(rows(80, 2))
    ]
    for n, row in enumerate(a):
        row["prompt"] = b[n]["prompt"] = row["prompt"] + HOSTILE.replace("\udcff", "")
        row["prompt_id"] = b[n]["prompt_id"] = f"<b>{n}\x1b[2J"
    content, said, page = diff(json_lines(a), json_lines(b))
    assert content["findings"]
    for text in (said, page):
        assert not any(c in text for c in "\x1b\x00\r\x07\u202e\u2028")
    assert "<script" not in page
    assert "<b>1" not in page


def json_lines(content: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in content).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no responses"),
        (b"\n\n", "has no responses"),
        (b"hello\n", "line 1 is not JSON"),
        (b"[1]\n", "line 1 is a list, not an object"),
        (b'{"prompt_id": "1", "prompt": "p"}\n', "line 1 has no response"),
        (b'{"prompt_id": "1", "prompt": "p", "response": 3}\n', "a response that is int"),
        (b'{"prompt_id": "1", "prompt": "p", "response": "\xff"}\n', "line 1 is not UTF-8"),
        (b'{"prompt_id": "", "prompt": "p", "response": "x"}\n', "line 1 has an empty prompt_id"),
        (
            b'{"prompt_id": "1", "prompt": "p", "response": "x"}\n'
            b'{"prompt_id": "1", "prompt": "q", "response": "x"}\n',
            "line 2 repeats prompt_id '1' with another prompt",
        ),
        (b"[" * 100_000 + b"\n", "line 1 is not JSON"),
    ],
)
def test_files_that_cannot_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
) -> None:
    a, b = write(tmp_path / "a.jsonl", rows(20, 1)), write(tmp_path / "b.jsonl", content)
    with pytest.raises(SystemExit) as caught:
        main(["diff", a, b, "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("custodes:")]
    assert len(said) == 1
    assert says in said[0]
    assert not (tmp_path / "out").exists()


def test_one_id_with_two_prompts_across_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [row | {"prompt": "something else"} for row in rows(20, 2)]
    a, b = write(tmp_path / "a.jsonl", rows(20, 1)), write(tmp_path / "b.jsonl", other)
    with pytest.raises(SystemExit):
        main(["diff", a, b, "--out", str(tmp_path / "out")])
    assert "is one prompt in" in capsys.readouterr().err


def test_long_responses(diff: Diff) -> None:
    long = [row | {"response": row["response"] * 300} for row in rows(30, 1)]
    content, _, page = diff(long, [row | {"response": row["response"] + "Ahoy!"} for row in long])
    assert content["prompts"] == 30
    assert len(page) < 2_000_000
