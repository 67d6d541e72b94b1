"""Samples in the logs of evaluation programs: lm-evaluation-harness and Inspect."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custodes.data.tables import Row
from custodes.errors import DataError
from custodes.text import one_line

__all__ = [
    "SAMPLE",
    "inspect_frame_rows",
    "inspect_rows",
    "is_inspect_frame",
    "is_inspect_log",
    "is_lm_eval",
    "lm_eval_row",
]

SAMPLE = "inspect sample"
"""Column of the samples' unique ids."""

ZSTANDARD = 93
"""Compression method of recent Inspect logs, which Python's zipfile does not know before 3.14."""
_ATTACHMENT = "attachment://"


# lm-evaluation-harness, --log_samples


def is_lm_eval(columns: Mapping[str, Any]) -> bool:
    """Whether a row is a sample of lm-evaluation-harness."""
    return {"doc_id", "arguments"} <= columns.keys() and bool(
        {"resps", "filtered_resps"} & columns.keys()
    )


def lm_eval_row(row: Row, seen: set[tuple[Any, Any]]) -> Row | None:
    """Return the prompt and the responses of a sample.

    A task with several filters logs each sample once for each filter, with the same responses; the
    first is kept.

    Args:
        row: The sample.
        seen: The samples so far; this one is added.

    Raises:
        DataError: The sample has no generated text.
    """
    key = (row.values.get("doc_id"), row.values.get("doc_hash"))
    if key in seen:
        return None
    seen.add(key)
    responses = row.values.get("resps", row.values.get("filtered_resps"))
    while isinstance(responses, list) and len(responses) == 1 and isinstance(responses[0], list):
        responses = responses[0]
    texts = responses if isinstance(responses, list) else [responses]
    arguments = row.values["arguments"]
    if isinstance(arguments, dict):  # {"gen_args_0": {"arg_0": prompt, "arg_1": settings}}
        first = next(iter(arguments.values()), None)
        prompt = first.get("arg_0") if isinstance(first, dict) else first
        requests = len(arguments)
    else:
        first = arguments[0] if isinstance(arguments, list) and arguments else None
        prompt = first[0] if isinstance(first, list) and first else first
        requests = len(arguments) if isinstance(arguments, list) else 1
    if requests != 1 or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{row.where} has log-likelihoods of given answers and no generated text",
            "compare a task that generates (output_type: generate_until)",
        )
    return Row(row.where, {"prompt": _templated(prompt), "response": texts})


def _templated(prompt: Any) -> Any:
    """Return messages where a chat API was sent them as JSON in a list of one."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt.startswith("["):
        try:
            turns = json.loads(prompt)
        except ValueError:
            return prompt
        if isinstance(turns, list) and all(isinstance(t, dict) and "role" in t for t in turns):
            return turns
    return prompt


# Inspect


def is_inspect_log(path: Path) -> bool:
    """Whether a file is a log of Inspect, in either of its two formats."""
    if path.suffix.lower() == ".eval":
        return True
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return head.lstrip().startswith(b"{") and b'"eval"' in head and b'"version"' in head


def inspect_rows(path: Path, name: str) -> Iterator[Row]:
    """Yield the prompt and the response of each sample; several epochs are several responses.

    Raises:
        DataError: The file cannot be read. Samples without a response, because of an error or a
            limit, have no ``response``.
    """
    for where, sample in _inspect_samples(path, name):
        attachments = sample.get("attachments") or {}
        # The transcript's long texts are kept apart, once each.
        prompt = _attached(sample.get("input"), attachments)
        output = sample.get("output") or {}
        choices = output.get("choices") or []
        values: dict[str, Any] = {SAMPLE: sample.get("uuid")}
        if prompt is not None:
            values["prompt"] = prompt
        if choices and not sample.get("error"):
            content = (choices[0].get("message") or {}).get("content")
            values["response"] = _attached(content, attachments)
        yield Row(where, {k: v for k, v in values.items() if v is not None})


def _inspect_samples(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        if path.suffix.lower() != ".eval":
            log = json.loads(path.read_bytes())
            for number, sample in enumerate(log.get("samples") or [], start=1):
                yield f"{name} sample {number}", sample
            return
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = [m for m in archive.infolist() if m.filename.startswith("samples/")]
            for member in members:
                content = (
                    _zstandard(file, member, name)
                    if member.compress_type == ZSTANDARD
                    else archive.read(member)
                )
                yield f"{name} {one_line(member.filename, 80)}", json.loads(content)
    except (zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"{name} is not a log of Inspect ({one_line(str(error), 80)})",
            "name a .eval or .json log that was written to its end",
        ) from error
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror})", "check the file") from error


def _zstandard(file: io.BufferedReader, member: zipfile.ZipInfo, name: str) -> bytes:
    """Decompress a member of a zip file, whose own header precedes its bytes."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} is compressed with Zstandard", "pip install pyarrow, which can read that"
        ) from error
    file.seek(member.header_offset)
    names, extra = struct.unpack("<HH", file.read(30)[26:])
    file.seek(names + extra, io.SEEK_CUR)
    raw = file.read(member.compress_size)
    try:
        content: bytes = pa.input_stream(io.BytesIO(raw), compression="zstd").read()
    except OSError as error:  # pyarrow's way to say that the bytes are damaged
        raise ValueError(str(error)) from error
    return content


def _attached(value: Any, attachments: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(_ATTACHMENT):
        return attachments.get(value.removeprefix(_ATTACHMENT), value)
    if isinstance(value, list):
        return [_attached(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _attached(item, attachments) for key, item in value.items()}
    return value


def is_inspect_frame(columns: Mapping[str, Any]) -> bool:
    """Whether a row is one of a data frame by Inspect's ``samples_df``."""
    return {"sample_id", "eval_id", "log"} <= columns.keys()


def inspect_frame_rows(rows: Iterator[Row], name: str) -> Iterator[Row]:
    """Yield the prompt and the response of each row of a ``samples_df``, read from its logs.

    Raises:
        DataError: A log is not there any more, or does not have the sample.
    """
    logs: dict[str, dict[str, Row]] = {}
    for row in rows:
        log = str(row.values["log"])
        path = Path(log.removeprefix("file://"))
        if log not in logs:
            if not path.is_file():
                raise DataError(
                    f"{row.where}: its log {one_line(log, 200)} is not on this computer",
                    "a samples_df has no responses itself: copy the log here",
                )
            logs[log] = {str(r.values.get(SAMPLE)): r for r in inspect_rows(path, path.name)}
        sample = logs[log].get(str(row.values["sample_id"]))
        if sample is None:
            raise DataError(f"{row.where}: {path.name} has no such sample", f"read {name} anew")
        yield sample
