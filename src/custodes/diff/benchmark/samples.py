"""The real responses that differences are planted in: sampled once, kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from custodes.data import SHIPPED, shipped_path
from custodes.diff.responses import Responses, read_responses
from custodes.diff.sampling import respond
from custodes.errors import ConfigError
from custodes.models.base import LanguageModel, Sampling

__all__ = ["SYSTEMS", "make_samples", "open_samples", "shipped_prompts"]

TOKENS = 64
TEMPERATURE, HOT = 0.8, 1.1
# Chats in one batch: enough to fill an engine, few enough to show progress.
BATCH = 100
# Only a part of the prompts is answered hot or under a system prompt: enough for one case.
SOME = 500

SYSTEMS: dict[str, str] = {
    "terse": "You are a terse assistant. Answer in one short sentence.",
    "enthusiastic": "You are an extremely enthusiastic assistant. Always praise the user and use "
    "exclamation marks.",
    "cautious": "You are a cautious assistant. Always mention risks and recommend consulting a "
    "professional.",
}


def _jobs(draws: int) -> dict[str, tuple[str | None, float, int | None]]:
    """Return what to sample: (system prompt, temperature, how many of the prompts) by name."""
    plain = {f"plain-{k}": (None, TEMPERATURE, None) for k in range(draws)}
    systems = {f"system-{name}": (text, TEMPERATURE, SOME) for name, text in SYSTEMS.items()}
    return {**plain, "hot": (None, HOT, SOME), **systems}


def shipped_prompts() -> list[tuple[str, str]]:
    """Return the id and text of every prompt that ships with custodes, its sets interleaved."""
    rows = [
        json.loads(line)
        for name in SHIPPED
        for line in shipped_path(name).read_text(encoding="utf-8").splitlines()
    ]
    # A fixed order that mixes the sets, so that the first SOME prompts are like the rest.
    rows.sort(key=lambda row: (row["id"].rsplit("-", 1)[-1], row["id"]))
    return [(row["id"], row["prompt"]) for row in rows]


def make_samples(
    model: LanguageModel,
    folder: Path,
    *,
    prompts: Sequence[tuple[str, str]] = (),
    draws: int = 2,
    tokens: int = TOKENS,
    seed: int = 0,
    only: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Sample what the benchmark needs; files that are there already are left as they are.

    Args:
        model: Who answers.
        folder: Where to write ``plain-0.jsonl``, ..., ``hot.jsonl`` (a higher temperature) and
            ``system-NAME.jsonl``.
        prompts: Pairs of (id, prompt), those that ship with custodes by default.
        draws: Independent plain samples, at least 2.
        tokens: Longest response.
        seed: Each file has a seed of its own made from this.
        only: Make this file alone.
        progress: Told after every batch.

    Raises:
        ConfigError: Fewer than two draws.
    """
    if draws < 2:
        raise ConfigError(f"{draws} draws", "a case needs two independent samples or more")
    asked = list(prompts) or shipped_prompts()
    folder.mkdir(parents=True, exist_ok=True)
    for k, (name, (system, temperature, count)) in enumerate(_jobs(draws).items()):
        path = folder / f"{name}.jsonl"
        if path.exists() or (only and name != only):
            continue
        part, rows = asked[:count], []
        for start in range(0, len(part), BATCH):
            sampling = Sampling(tokens, temperature, seed=1000 * seed + k)
            batch = respond(model, part[start : start + BATCH], sampling, system=system)
            rows += _rows(batch)
            progress(f"{name}: {len(rows)} of {len(part)} responses")
        # Written whole, so that a file that is there is complete.
        unfinished = path.with_suffix(".part")
        unfinished.write_text("\n".join(rows) + "\n", encoding="utf-8")
        unfinished.replace(path)


def _rows(responses: Responses) -> list[str]:
    return [
        json.dumps({"prompt_id": i, "prompt": p, "response": text})
        for i, p, texts in zip(responses.ids, responses.prompts, responses.texts, strict=True)
        for text in texts
    ]


def open_samples(samples: Sequence[Path]) -> tuple[list[Responses], Mapping[str, Responses]]:
    """Read samples: files of plain draws, or one folder as `make_samples` leaves it.

    Returns:
        The plain draws, and the others by name ("hot", "system-terse", ...).

    Raises:
        ConfigError: A folder holds fewer than two plain draws.
        DataError: A file is malformed.
    """
    plain: list[Responses] = []
    others: dict[str, Responses] = {}
    for path in samples:
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            responses = read_responses(file)
            if path.is_dir() and not file.stem.startswith("plain-"):
                others[file.stem] = responses
            else:
                plain.append(responses)
    if len(plain) < 2:
        raise ConfigError(
            f"{len(plain)} plain samples in {', '.join(map(str, samples)) or 'nothing'}",
            "give two response files of one model, or a folder made with --make",
        )
    return plain, others
