"""One reader for all that people have saved."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custodes.data.responses import prompt_hash, read_response_rows
from custodes.errors import DataError
from support.eval_logs import (
    inspect_samples,
    lm_eval_rows,
    write_eval,
    write_inspect_json,
    write_lines,
)

PROMPTS = ["Why is the sky blue?", "Hi", "Say “no”,\nin two lines."]
ANSWERS = ["Rayleigh scattering, mostly.", "", "No,\nno."]


def chat(prompt: str, system: str = "Be kind.") -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]


def said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def jsonl(*columns: str) -> Callable[[Path], Any]:
    rows = [dict(zip(columns, pair, strict=True)) for pair in zip(PROMPTS, ANSWERS, strict=True)]
    return lambda folder: write_lines(folder / "x.jsonl", rows)


def made(make: Callable[[str, str], dict[str, Any]]) -> Callable[[Path], Any]:
    rows = [make(prompt, answer) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    return lambda folder: write_lines(folder / "x.jsonl", rows)


def json_list(folder: Path) -> Path:
    rows = [{"prompt": p, "response": a} for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    (folder / "x.json").write_text(json.dumps(rows, indent=2))
    return folder / "x.json"


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"prompt": PROMPTS, "response": ANSWERS, "score": [1.0, None, 3.0]})


def csv(folder: Path) -> Path:
    frame().to_csv(folder / "x.csv", index=False)
    return folder / "x.csv"


def parquet(folder: Path) -> Path:
    frame().to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def dataset(folder: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"prompt": PROMPTS, "completion": ANSWERS})


def pairs(answers: list[str] = ANSWERS) -> list[tuple[Any, Any]]:
    return list(zip(PROMPTS, answers, strict=True))


def inspect(method: int) -> Callable[[Path], Path]:
    return lambda folder: write_eval(folder / "x.eval", inspect_samples(pairs()), method)


def inspect_frame(folder: Path) -> Any:
    import pandas as pd

    samples = inspect_samples(pairs())
    log = write_eval(folder / "x.eval", samples)
    return pd.DataFrame(
        {"sample_id": row["uuid"], "eval_id": "e", "log": str(log), "input": "user:\n…"}
        for row in samples
    )


SHAPES: dict[str, Callable[[Path], Any]] = {
    "our own": made(lambda p, a: {"prompt_id": prompt_hash(p), "prompt": p, "response": a}),
    "prompt, completion": jsonl("prompt", "completion"),
    "question, answer": jsonl("question", "answer"),
    "input, output": jsonl("input", "output"),
    "instruction, input, output": made(lambda p, a: {"instruction": p, "input": "", "output": a}),
    "messages": made(lambda p, a: {"messages": [*chat(p), said(a)]}),
    "messages, response": made(lambda p, a: {"messages": chat(p), "response": a}),
    "messages, completion of messages": made(
        lambda p, a: {"prompt": chat(p), "completion": [said(a)]}
    ),
    "contents in parts": made(
        lambda p, a: {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": p}]},
                {"role": "assistant", "content": [{"type": "text", "text": a}]},
            ]
        }
    ),
    "several responses": made(lambda p, a: {"prompt": p, "responses": [a]}),
    "JSON list": json_list,
    "CSV": csv,
    "Parquet": parquet,
    "lm-eval": lambda folder: write_lines(
        folder / "samples_x.jsonl", lm_eval_rows([(p, [a]) for p, a in pairs()], filters=2)
    ),
    "lm-eval, chat": lambda folder: write_lines(
        folder / "samples_x.jsonl",
        lm_eval_rows([([json.dumps(chat(p))], [a]) for p, a in pairs()]),
    ),
    "lm-eval, older": lambda folder: write_lines(
        folder / "samples_x.jsonl",
        [{"doc_id": k, "arguments": [[p, {}]], "resps": [[a]]} for k, (p, a) in enumerate(pairs())],
    ),
    "Inspect": inspect(zipfile.ZIP_DEFLATED),
    "Inspect, Zstandard": inspect(93),
    "Inspect, JSON": lambda folder: write_inspect_json(folder / "x.json", inspect_samples(pairs())),
    "Inspect's samples_df": inspect_frame,
    "list of dicts": lambda _: [{"prompt": p, "response": a} for p, a in pairs()],
    "dict of columns": lambda _: {"prompt": PROMPTS, "response": ANSWERS},
    "pandas": lambda _: frame(),
    "datasets": dataset,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_responses(shape: str, tmp_path: Path) -> None:
    source = SHAPES[shape](tmp_path)
    rows = list(read_response_rows(source).rows)
    assert [(row.prompt, row.response) for row in rows] == pairs()
    assert [row.prompt_id for row in rows] == [prompt_hash(prompt) for prompt in PROMPTS]


def test_a_conversation_is_a_prompt_without_its_system_prompt() -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "See you."},
    ]
    (row,) = read_response_rows([{"messages": turns}]).rows
    assert row.prompt == "user: Hi\n\nassistant: Hello.\n\nuser: Bye"
    assert row.response == "See you."


def test_columns_can_be_named(tmp_path: Path) -> None:
    source = [{"prompt": "?", "q": "Hi", "gpt": "one", "claude": "two"}]
    for column, answer in (("gpt", "one"), ("claude", "two")):
        (row,) = read_response_rows(source, prompt_column="q", response_column=column).rows
        assert (row.prompt, row.response) == ("Hi", answer)
    (row,) = read_response_rows(source, response_column="gpt").rows
    assert row.prompt == "?"


def test_several_responses_share_their_prompt() -> None:
    rows = list(read_response_rows([{"prompt": "Hi", "completions": ["a", "b"]}]).rows)
    assert [row.response for row in rows] == ["a", "b"]
    assert len({row.prompt_id for row in rows}) == 1


def test_epochs_are_several_responses_and_failed_samples_are_left_out(tmp_path: Path) -> None:
    samples: list[tuple[Any, str | None]] = [("Hi", None), ("Bye", "See you.")]
    log = write_eval(tmp_path / "x.eval", inspect_samples(samples, epochs=2))
    table = read_response_rows(log)
    assert [row.response for row in table.rows] == ["See you."] * 2
    assert any("2 samples without a response" in note for note in table.notes)


def test_long_texts_of_inspect_are_put_back(tmp_path: Path) -> None:
    (sample,) = inspect_samples([("attachment://h1", "attachment://h2")])
    sample["attachments"] = {"h1": "A long prompt.", "h2": "A long answer."}
    (row,) = read_response_rows(write_eval(tmp_path / "x.eval", [sample])).rows
    assert (row.prompt, row.response) == ("A long prompt.", "A long answer.")


def test_notes_say_which_columns_were_read() -> None:
    table = read_response_rows([{"question": "Hi", "output": "Hello.", "model": "m"}], "mine")
    assert list(table.rows)
    assert table.notes == [
        "mine: prompts from 'question', responses from 'output'",
        "mine: fields not read: model",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"text": "Hi", "score": 1}],
            "row 1 has no prompt: it has the columns text, score: it needs prompt .* and response "
            ".*--prompt-column and --response-column",
        ),
        ([{"prompt": "Hi", "text": "Hello."}], "row 1 has no response"),
        ([{"prompt": "Hi", "response": 3}], "row 1 has a response that is int"),
        ([{"prompt": "Hi", "response": []}], "row 1 has a response that is list"),
        ([{"prompt": 3, "response": "Hi"}], "row 1 has a prompt that is int"),
        ([{"prompt": "Hi", "response": "a"}, {"prompt": "Hi"}], "row 2 has no response"),
        (["Hi"], "row 1 is a str"),
        ([{"messages": [{"role": "user", "content": "Hi"}]}], "does not end with an answer"),
        ([{"messages": "Hi"}], "messages is str"),
        ([{"messages": ["Hi"]}], "message 1 has no role"),
        (3, "responses is a int"),
        ({"train": {"prompt": "Hi"}}, "is a dict of train"),
        ([*lm_eval_rows([("Hi", ["a"])])[:1], {"doc_id": 1}], "row 2 is no sample of lm-eval"),
        (
            [
                {
                    "doc_id": 0,
                    "arguments": {"gen_args_0": {"arg_0": "Hi"}, "gen_args_1": {"arg_0": "Hi"}},
                    "resps": [[["-1.0", "False"]], [["-2.0", "True"]]],
                }
            ],
            "log-likelihoods of given answers and no generated text",
        ),
        (
            [{"sample_id": "u", "eval_id": "e", "log": "nowhere.eval"}],
            "log nowhere.eval is not on this computer",
        ),
    ],
)
def test_what_is_wrong_is_one_line(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(read_response_rows(rows).rows)
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there_has_near_misses() -> None:
    with pytest.raises(DataError, match=r"no column 'respons' .*: did you mean response\?"):
        read_response_rows(
            [{"prompt": "Hi", "response": "a"}], response_column="respons"
        ).rows.__next__()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip"])
def test_a_broken_log_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.eval").write_bytes(content)
    with pytest.raises(DataError, match="is not a log of Inspect"):
        list(read_response_rows(tmp_path / "x.eval").rows)


def test_damaged_zstandard_is_one_line(tmp_path: Path) -> None:
    log = write_eval(tmp_path / "x.eval", inspect_samples(pairs()), 93)
    raw = bytearray(log.read_bytes())
    place = raw.find(b"\x28\xb5\x2f\xfd")  # a frame's magic number
    raw[place : place + 4] = b"\0\0\0\0"
    log.write_bytes(raw)
    with pytest.raises(DataError, match="is not a log of Inspect"):
        list(read_response_rows(log).rows)
