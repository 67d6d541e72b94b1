"""Reading datasets: every shape that is understood, and one clear line for everything else."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.data import SHIPPED, read_demonstrations, read_pairs, read_prompts, tables
from custodes.errors import CustodesWarning, DataError

RAW = "\n\nHuman: Hi there\n\nAssistant: Hello!\n\nHuman: How are you?\n\nAssistant:"
CHAT = [
    {"role": "user", "content": "Hi there"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "How are you?"},
]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(path: Path | str, **kwargs: str) -> list[str]:
    return [query.text for query in read_prompts(path, domain="helpfulness", **kwargs)]


def refused(path: Path | str, read: Any = prompts) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Shapes


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "Why?"}, "Why?"),
        ("Why?", "Why?"),
        ({"instruction": "Sum up", "context": "A text.", "response": "r"}, "Sum up\n\nA text."),
        ({"instruction": "Sum up", "context": "", "response": "r"}, "Sum up"),
        ({"instruction": "Sum up", "input": "A text.", "output": "r"}, "Sum up\n\nA text."),
        ({"prompt": None, "question": "Why?"}, "Why?"),
        ({"text": "Why?"}, "Why?"),
        ({"prompt": CHAT}, "How are you?"),
        ({"prompt": RAW}, "How are you?"),
        ({"chosen": RAW + " Fine.", "rejected": RAW + " No."}, "How are you?"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "Fine."}]}, "How are you?"),
        ({"messages": CHAT}, "How are you?"),
        ({"prompt": "Human: is it you?"}, "Human: is it you?"),
    ],
)
def test_prompt_shapes(tmp_path: Path, row: Any, text: str) -> None:
    assert prompts(write(tmp_path / "a.jsonl", row)) == [text]


def test_transcripts_and_messages_are_the_same_conversation(tmp_path: Path) -> None:
    raw = read_prompts(write(tmp_path / "a.jsonl", {"prompt": RAW}), domain="x")
    messages = read_prompts(write(tmp_path / "b.jsonl", {"messages": CHAT}), domain="x")
    assert list(raw[0].chat) == CHAT == list(messages[0].chat)
    assert raw[0].id == messages[0].id


def test_turns_of_one_speaker_become_one(tmp_path: Path) -> None:
    raw = "\n\nHuman: One\n\nHuman: Two\n\nAssistant: x"
    [pair] = read_pairs(write(tmp_path / "a.jsonl", {"chosen": raw, "rejected": raw + "y"}))
    assert pair.prompt == ({"role": "user", "content": "One\n\nTwo"},)


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": RAW + " Fine.", "rejected": RAW + " No."},
        {"prompt": CHAT, "chosen": "Fine.", "rejected": "No."},
        {
            "prompt": "unused",
            "chosen": [*CHAT, {"role": "assistant", "content": "Fine."}],
            "rejected": [*CHAT, {"role": "assistant", "content": "No."}],
        },
        {
            "prompt": CHAT,
            "chosen": [{"role": "assistant", "content": "Fine."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        },
    ],
)
def test_pair_shapes(tmp_path: Path, row: Any) -> None:
    [pair] = read_pairs(write(tmp_path / "a.jsonl", row))
    assert list(pair.prompt) == CHAT
    assert (pair.chosen, pair.rejected, pair.agreement) == ("Fine.", "No.", 1.0)


def test_an_answer_that_quotes_a_speaker_is_an_answer(tmp_path: Path) -> None:
    chosen = "Human: what?\n\nAssistant: I mean it."
    row = {"prompt": "Say it", "chosen": chosen, "rejected": "No.", "agreement": 0.5}
    [pair] = read_pairs(write(tmp_path / "a.jsonl", row))
    assert (pair.chosen, pair.agreement) == (chosen, 0.5)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "How are you?", "context": "", "response": "Fine."},
        {"prompt": "How are you?", "output": "Fine."},
        {"messages": [CHAT[2], {"role": "assistant", "content": "Fine."}]},
    ],
)
def test_demonstration_shapes(tmp_path: Path, row: Any) -> None:
    [shown] = read_demonstrations(write(tmp_path / "a.jsonl", row))
    assert shown.prompt == (CHAT[2],)
    assert shown.response == "Fine."


# Kinds of files


def test_every_kind_of_file_gives_the_same_queries(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": "Why, “oh” why?"}, {"prompt": "Wie, ähm, so?"}, {"prompt": "No"}]
    write(tmp_path / "a.jsonl", *rows)
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (tmp_path / "c.json").write_bytes((tmp_path / "a.jsonl").read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    text = "\n".join(row["prompt"] for row in rows)
    (tmp_path / "e.txt").write_text(text, encoding="utf-8")
    with (tmp_path / "f.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["prompt"])
        writer.writeheader()
        writer.writerows(rows)
    read = [read_prompts(path, domain="x") for path in sorted(tmp_path.iterdir())]
    assert len(read) == 6
    assert all(queries == read[0] for queries in read)
    assert [query.text for query in read[0]] == [row["prompt"] for row in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt"])
def test_byte_order_mark_and_windows_line_ends(tmp_path: Path, suffix: str) -> None:
    lines = {
        "jsonl": ['{"prompt": "One"}', '{"prompt": "Two"}'],
        "json": ['[{"prompt": "One"},', '{"prompt": "Two"}]'],
        "csv": ["prompt", "One", "Two"],
        "txt": ["One", "Two"],
    }[suffix]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ""]).encode())
    assert prompts(path) == ["One", "Two"]


def test_only_line_feeds_end_a_line_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One\u2028still one\x0band still\nTwo", encoding="utf-8")
    assert prompts(path) == ["One\u2028still one\x0band still", "Two"]


def test_csv_cells_may_span_lines_and_errors_count_from_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,topic\n"a\n\nb",x\nc,y\nd\n', encoding="utf-8")
    assert "line 6 has 1 cells where the header has 2" in refused(path)
    path.write_text('prompt,topic\n"a\n\nb",x\n', encoding="utf-8")
    assert prompts(path) == ["a\n\nb"]


def test_folder_of_files_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder / "train.jsonl", {"instruction": "One"}, {"instruction": "Two"})
    write(folder / "test.jsonl", {"instruction": "Three"})
    assert prompts(folder) == ["One", "Two"]
    assert prompts(f"{folder}:test") == ["Three"]
    message = refused(f"{folder}:trian")
    assert "trian" in message
    assert "train" in message.replace("trian", "")


def test_the_hub_is_asked_for_what_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(name: str, split: str) -> list[dict[str, Any]]:
        asked.append((name, split))
        good = [{"chosen": RAW + f" {i}", "rejected": RAW + " No."} for i in range(30)]
        return [{"chosen": RAW, "rejected": RAW}, *good]

    monkeypatch.setattr(datasets, "load_dataset", load)
    # A row of a hub dataset that cannot be used is passed over, and said.
    with pytest.warns(CustodesWarning, match="1 of 31 rows of owner/name:test cannot be used"):
        assert len(read_pairs("owner/name:test")) == 30
    assert asked == [("owner/name", "test")]


def test_too_many_unusable_rows_of_a_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [{"goal": "x"}, *({"prompt": str(i)} for i in range(10))]
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: rows)
    assert "owner/name row 1 has no prompt" in refused("owner/name")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("ConnectionError", "cannot be fetched: the hub does not answer"),
        ("DatasetNotFoundError", "no dataset owner/name on the hub"),
        ("ValueError", "(train) cannot be loaded: first line second line"),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, error: str, said: str) -> None:
    import builtins

    import datasets

    kind = getattr(builtins, error, None) or getattr(datasets.exceptions, error)

    def load(name: str, split: str) -> None:
        raise kind("first line\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert said in refused("owner/name")


# Splits and ids


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_keep_gold_out_of_the_loop(name: str) -> None:
    loop = read_prompts(name, domain="x")
    gold = read_prompts(name, domain="x", split="gold")
    assert loop
    assert gold
    assert not {q.text for q in loop} & {q.text for q in gold}
    assert all(q.topic for q in loop)


def test_split_of_a_file(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "split": "loop"}, {"prompt": "b", "split": "gold"}, {"prompt": "c"}]
    path = write(tmp_path / "a.jsonl", *rows)
    assert prompts(path) == ["a", "c"]
    assert prompts(path, split="gold") == ["b", "c"]
    other = write(tmp_path / "b.jsonl", {"prompt": "a", "split": "train"})
    assert "no row of split 'loop': known: train" in refused(other)


def test_ids_do_not_depend_on_order_and_tell_files_apart(tmp_path: Path) -> None:
    one = read_prompts(write(tmp_path / "a.jsonl", "x", "y"), domain="d")
    two = read_prompts(write(tmp_path / "b.jsonl", "y", "x"), domain="d")
    assert [q.id for q in one] == [q.id for q in reversed(two)]
    numbered = [{"id": 0, "prompt": "x"}, {"id": "b7", "prompt": "y"}]
    ids = [q.id for q in read_prompts(write(tmp_path / "c.jsonl", *numbered), domain="d")]
    assert ids == ["c-0", "b7"]


def test_repeated_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "x", "y", "x")
    with pytest.warns(CustodesWarning, match="1 of 3 rows .* read once"):
        assert prompts(path) == ["x", "y"]
    path = write(tmp_path / "b.jsonl", {"id": "p", "prompt": "x"}, {"id": "p", "prompt": "y"})
    assert "b.jsonl line 2 has the id 'p' of line 1" in refused(path)


# What is refused


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path / "dolly.jsonl", "x")
    assert "did you mean dolly.jsonl" in refused(tmp_path / "doly.jsonl")
    assert "data files in that folder: dolly.jsonl" in refused(tmp_path / "zzzzzz.csv")
    assert "no folder" in refused(tmp_path / "nowhere" / "a.jsonl")
    assert "did you mean everyday" in refused("everyda")
    (tmp_path / "a.xlsx").write_bytes(b"x")
    assert ".jsonl" in refused(tmp_path / "a.xlsx")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    assert "a." + suffix + " is empty" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'"x"\n{"prompt": "y"\n', "line 2 is not JSON (Expecting ',' delimiter at column"),
        (b'"x"\n\n"y"\n', "line 2 is empty"),
        (b'"x"\n{"prompt": "caf\xe9"}\n', "line 2 is not UTF-8 (byte 0xe9 at column 16)"),
        ('"x"'.encode("utf-16"), "a.jsonl is UTF-16"),
        (b'"x"\n3\n', "line 2 is a int, not an object"),
        (b'"x"\n{"prompt": NaN}\n', "line 2 is not JSON (NaN"),
        (b'"x"\n' + b"[" * 100_000 + b"\n", "line 2 is not JSON"),
        (b'"x"\n{"prompt": "  "}\n', "line 2: prompt is empty"),
        (b'"x"\n{"prompt": 3}\n', "line 2: prompt is a int"),
        (b'"x"\n{"prompt": "\\ud800"}\n', "line 2: prompt has half a character"),
        (b'"x"\n{"promt": "y"}\n', "line 2 has no prompt"),
        (b'"x"\n{"prompt": "y", "id": [1]}\n', "line 2: its id"),
        (b'"x"\n{"messages": []}\n', "line 2: messages has no turns"),
        (b'"x"\n{"messages": [{"role": "user"}]}\n', "line 2: messages message 1 has no role and"),
        (
            b'"x"\n{"messages": [{"role": "usr", "content": "y"}]}\n',
            "line 2: messages message 1 is of role 'usr': did you mean user",
        ),
        (
            b'"x"\n{"prompt": [{"role": "assistant", "content": "y"}]}\n',
            "line 2: prompt leaves no answer due",
        ),
        (b'"x"\n{"prompt": "y", "context": 3}\n', "line 2: its context is a int"),
    ],
)
def test_malformed_lines(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_missing_column_names_near_ones(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "a.jsonl", {"promt": "y", "topic": "t"}))
    assert "did you mean promt" in message
    assert "(it has promt, topic)" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "x", "chosen": "y"}, "line 1 has no rejected"),
        ({"prompt": "x", "chosen": "y", "rejected": "y"}, "are the same"),
        ({"prompt": "x", "chosen": "y", "rejected": " "}, "rejected is empty"),
        ({"prompt": "x", "chosen": "y", "rejected": "z", "agreement": 3}, "agreement is 3"),
        ({"prompt": "x", "chosen": "y", "rejected": "z", "agreement": "a"}, "agreement is 'a'"),
        ({"chosen": RAW + " y", "rejected": "\n\nHuman: a\n\nAssistant: z"}, "different"),
        ({"chosen": RAW + " y\n\nHuman: z", "rejected": RAW + " n"}, "does not end with an answer"),
        ({"chosen": "y", "rejected": "z"}, "line 1: chosen is no conversation: add a prompt"),
    ],
)
def test_malformed_pairs(tmp_path: Path, row: Any, said: str) -> None:
    assert said in refused(write(tmp_path / "a.jsonl", row), read_pairs)


def test_malformed_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt\nx\n"y\n', encoding="utf-8")
    assert "line 3 is not CSV" in refused(path)
    path.write_text("prompt,prompt\nx,y\n", encoding="utf-8")
    assert "line 1 has two columns 'prompt'" in refused(path)
    path.write_text("prompt;topic\nx;y\n", encoding="utf-8")
    assert "did you mean prompt;topic" in refused(path)


def test_malformed_json_and_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"prompt": "x"},\n{"prompt" "y"}\n]', encoding="utf-8")
    assert "at line 3 column" in refused(path)
    path.write_text('[{"prompt": "x"}, {"promt": "x"}]', encoding="utf-8")
    assert "a.json item 2 has no prompt" in refused(path)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 not really")
    assert "is not a Parquet file" in refused(path)


def test_enormous_lines_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "x" * 500_000 + "\n", encoding="utf-8")
    assert prompts(path) == ["x" * 500_000]  # longer than the csv module takes by itself
    path.write_text("prompt\n" + "x" * (1 << 20) + "\n", encoding="utf-8")
    assert "line 2 is longer than 1 MB" in refused(path)


@given(st.binary(max_size=200), st.sampled_from(["jsonl", "json", "csv", "txt", "parquet"]))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(DataError, CustodesWarning):
        assert all(text.strip() for text in prompts(path))
