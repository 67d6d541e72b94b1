"""A small constitutional training, and a process that runs it and can kill itself on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

WORDS = ("sea", "bread", "home", "water", "salt", "yeast", "fox", "poem", "France", "dog")


def write_prompts(path: Path, count: int = 60) -> Path:
    """Write prompts that the tiny tokenizer knows the words of; every third is held out."""
    rng = random.Random(0)
    rows = [
        {
            "id": f"p{i}",
            "split": "loop" if i % 3 else "gold",
            "prompt": f"Say {' '.join(rng.sample(WORDS, 4))} {i}.",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(model: Path, prompts: Path, **changes: Any) -> dict[str, Any]:
    """Return a config of `custodes align` that takes seconds on a tiny model."""
    measured = [{"kind": "measure", "domain": "helpfulness", "measure": "formal"}]
    raw: dict[str, Any] = {
        "name": "tiny",
        "constitution": "terse_florid",
        "gate": "continue",
        "worker": {"model": str(model), "engine": "torch", "max_tokens": 8},
        "experts": measured,
        "red_team": {"source": str(prompts), "pool": 24, "queries": 12},
        "revise": {"critic": "worker", "max_tokens": 8, "few_shot": False, "keep": "all"},
        "sl": {"samples": 2, "mix": 0.25, "sft": {"preflight": False}, "lora": {"rank": 4}},
        "preferences": {
            "prompts": 10,
            "samples": 3,
            "sources": [{"kind": "expert"}, {"kind": "judge", "model": str(model)}],
        },
        "reward": {"lora": {"rank": 4}, "shuffled_twin": "off"},
        "rl": {"method": "dpo", "prompts": 8, "held_out": 4, "dpo": {"preflight": False}},
        "report": {
            "source": str(prompts),
            "prompts": 8,
            "look_alikes": 4,
            "examples": 2,
            "experts": {"helpfulness": "formal-gold"},
        },
    }
    return {**raw, **changes}


def main(raw: str, folder: str, kill_at: str) -> None:
    """Run a config, and die by SIGKILL at the n-th write whose path holds a word: "WORD:N"."""
    from custodes.config import validate_config
    from custodes.constitution.config import AlignConfig
    from custodes.constitution.pipeline import align
    from custodes.runs import log
    from custodes.runs.store import Store

    word, _, number = kill_at.partition(":")
    left = int(number or 0)

    def count(path: Path) -> None:
        nonlocal left
        if word and word in str(path.relative_to(folder)):
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    append, put = log.Log.append, Store.put

    def appending(self: log.Log, *args: Any, **kwargs: Any) -> None:
        append(self, *args, **kwargs)
        count(self.path)

    def putting(self: Store, key: str, value: Any) -> None:
        # Just before the value is there: its files are, and will be written again.
        count(self.path(key))
        put(self, key, value)

    log.Log.append = appending  # type: ignore[method-assign]
    Store.put = putting  # type: ignore[method-assign]
    align(validate_config(json.loads(raw), AlignConfig), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
