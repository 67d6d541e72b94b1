from __future__ import annotations

import json
from pathlib import Path

import pytest

from custodes.diff.responses import align, read_responses
from custodes.errors import DataError


def _write(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def _row(i: object, prompt: str = "why?", response: str = "because") -> dict[str, object]:
    return {"prompt_id": i, "prompt": prompt, "response": response}


def test_rows_of_one_prompt_are_its_responses(tmp_path: Path) -> None:
    read = read_responses(_write(tmp_path / "a", [_row("x"), _row(7, "how?"), _row("x")]))
    assert read.ids == ("x", "7")
    assert read.texts == (("because", "because"), ("because",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no responses"),
        (b"{nope", "line 1 is not JSON"),
        (b"[1]", "line 1 is a list, not an object"),
        (b"\xff{}", "line 1 is not UTF-8"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (
            json.dumps({"prompt_id": "x", "prompt": "p", "text": "t"}).encode(),
            "line 1 has no response: it has the columns prompt_id, prompt, text: it needs prompt",
        ),
        (json.dumps(_row("x", response=None)).encode(), "line 1 has no response"),  # type: ignore[arg-type]
        (json.dumps(_row(True)).encode(), "prompt_id that is bool"),
        (json.dumps(_row(" ")).encode(), "empty prompt_id"),
        (
            "\n".join(json.dumps(_row("x", p)) for p in ("one", "two")).encode(),
            "line 2 repeats prompt_id 'x' with another prompt",
        ),
    ],
)
def test_bad_files_get_one_line_that_says_where(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        read_responses(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_responses(tmp_path / "none.jsonl")


def test_empty_and_broken_responses_count_and_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(_row("x", response=""))
        + "\n\n"
        + '{"prompt_id": "y", "prompt": "p", "response": "a\\ud800b", "score": 1}',
        encoding="utf-8",
    )
    read = read_responses(path)
    assert read.texts == (("",), ("a?b",))
    assert len(read.notes) == 3


def test_alignment_leaves_one_sided_prompts_out_and_says_so(tmp_path: Path) -> None:
    a = read_responses(_write(tmp_path / "a", [_row(i) for i in range(10)]))
    b = read_responses(_write(tmp_path / "b", [_row(i) for i in range(2, 11)]))
    aligned = align(a, b)
    assert aligned.paired
    assert aligned.ids == tuple(str(i) for i in range(2, 10))
    assert list(aligned.side) == [0, 1] * 8
    assert any("2 prompts that only a answered" in note for note in aligned.notes)


def test_without_shared_prompts_units_have_one_side(tmp_path: Path) -> None:
    a = read_responses(_write(tmp_path / "a", [_row(f"a{i}", f"a{i}?") for i in range(4)]))
    b = read_responses(_write(tmp_path / "b", [_row(f"b{i}", f"b{i}?") for i in range(3)]))
    aligned = align(a, b)
    assert not aligned.paired
    assert aligned.n == 7
    assert any("share 0 prompts" in note for note in aligned.notes)


def test_one_id_for_two_prompts_is_refused(tmp_path: Path) -> None:
    a = read_responses(_write(tmp_path / "a", [_row("x", "one")]))
    b = read_responses(_write(tmp_path / "b", [_row("x", "two")]))
    with pytest.raises(DataError, match="'x' is one prompt in a and another in b"):
        align(a, b)


def test_ids_that_differ_are_paired_by_text(tmp_path: Path) -> None:
    """Row numbers of two files that list the prompts in another order say nothing."""
    a = read_responses(_write(tmp_path / "a", [_row(i, f"why {i}?", f"a{i}") for i in range(6)]))
    b = read_responses(
        _write(tmp_path / "b", [_row(i, f"why {5 - i}?", f"b{5 - i}") for i in range(6)])
    )
    aligned = align(a, b)
    assert aligned.paired
    assert aligned.texts[:2] == ("a0", "b0")
    assert any("paired by the text" in note for note in aligned.notes)


def test_a_file_with_ids_and_one_without_are_paired(tmp_path: Path) -> None:
    a = read_responses(_write(tmp_path / "a", [_row(f"x{i}", f"why {i}?") for i in range(6)]))
    b = read_responses([{"prompt": f"why {i}?", "response": "so"} for i in range(6)])
    aligned = align(a, b)
    assert aligned.paired
    assert aligned.n == 6


def test_one_mistaken_id_is_still_refused(tmp_path: Path) -> None:
    rows = [_row(i, f"why {i}?") for i in range(6)]
    a = read_responses(_write(tmp_path / "a", rows))
    b = read_responses(_write(tmp_path / "b", [*rows[:5], _row(5, "how?")]))
    with pytest.raises(DataError, match="'5' is one prompt in a and another in b"):
        align(a, b)
