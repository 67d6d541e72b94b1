"""Logs as Inspect and lm-evaluation-harness write them."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

Sample = tuple[Any, str | None]
"""The input, and the answer; None if the sample failed."""


def inspect_samples(samples: list[Sample], epochs: int = 1) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        for number, (prompt, answer) in enumerate(samples, start=1):
            message = {"role": "assistant", "content": answer, "source": "generate"}
            row: dict[str, Any] = {
                "id": number,
                "epoch": epoch,
                "uuid": f"u{number}-{epoch}",
                "input": prompt,
                "target": "?",
                "output": {"model": "m", "choices": [{"message": message}], "completion": answer},
                "attachments": {},
            }
            if answer is None:
                row |= {"output": {"model": "m", "choices": []}, "error": {"message": "failed"}}
            rows.append(row)
    return rows


def write_eval(
    path: Path, samples: list[dict[str, Any]], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """Write a .eval log; method 93 is Zstandard, which Python's zipfile cannot write."""
    import pyarrow as pa

    plain: list[bytes] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if method == 93 else method) as archive:
        archive.writestr("_journal/start.json", "")
        for row in samples:
            content = json.dumps(row).encode()
            plain.append(content)
            stored = pa.compress(content, codec="zstd", asbytes=True) if method == 93 else content
            archive.writestr(f"samples/{row['id']}_epoch_{row['epoch']}.json", stored)
        archive.writestr("header.json", json.dumps({"version": 2}))
    if method == 93:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.startswith("samples/")]
        raw = bytearray(path.read_bytes())
        for member in members:
            struct.pack_into("<H", raw, member.header_offset + 8, 93)
            central = raw.rfind(member.filename.encode()) - 46
            struct.pack_into("<H", raw, central + 10, 93)
        path.write_bytes(raw)
    return path


def write_inspect_json(path: Path, samples: list[dict[str, Any]]) -> Path:
    log = {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": samples}
    path.write_text(json.dumps(log, indent=2))
    return path


def lm_eval_rows(samples: list[tuple[Any, list[str]]], filters: int = 1) -> list[dict[str, Any]]:
    """Return rows as ``--log_samples`` writes them."""
    return [
        {
            "doc_id": number,
            "doc": {"question": "?"},
            "target": "?",
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": []}}},
            "resps": [texts],
            "filtered_resps": ["?"],
            "filter": f"filter-{k}",
            "doc_hash": f"h{number}",
        }
        for k in range(filters)
        for number, (prompt, texts) in enumerate(samples)
    ]


def write_lines(path: Path, rows: list[Any]) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path
