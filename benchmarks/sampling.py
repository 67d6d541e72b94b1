"""Sampling in the loop beside ``generate`` of transformers.

    python benchmarks/sampling.py [--prompts FILE] [--count 64] [--tokens 64] [--rounds 3]
        [--batches 8 32] [--json FILE]

Every arm answers the same chats of smollm2-135m with the same number of tokens (an end of turn is
ignored), at the same temperature, from chats to texts: templates, tokens and decoding are in the
time. The arms take turns in each round and begin a round in turn, so that what else the machine
does hits all alike; a ratio is the median over rounds of the quotient within a round.

    openvino q8_0   what the loop serves: a Q8_0 GGUF, written here, of the base or a checkpoint
    openvino q4_1   the GGUF as it was pulled, not served: its text is not torch's
    bf16, float32   ``generate`` in batches of each of --batches, padded left

The goals of 3x (bf16) and 6x (float32) are judged on what the loop serves against transformers'
batches of 8, and the same is shown for its best batch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from custodes.conversation import Chat
from custodes.data.datasets import read_prompts
from custodes.models.base import Sampling
from custodes.models.bundled import pull
from custodes.models.formats.gguf import write_gguf
from custodes.models.openvino import OpenVinoModel
from custodes.models.torch import TorchModel

TEMPERATURE = 0.8
SERVED = "openvino q8_0"
GOALS = {"bf16": 3.0, "float32": 6.0}

Arm = Callable[[list[Chat], int, int], int]
"""Answers chats with so many tokens each under a seed, and returns how many tokens it made."""


class FullLength(OpenVinoModel):
    """The engine as it is, but deaf to the end of turn."""

    def _config(self, *args: Any) -> Any:
        config = super()._config(*args)
        config.ignore_eos = True
        return config


def openvino(gguf: Path) -> Arm:
    model = FullLength(gguf, name=gguf.stem, version=gguf.stem)

    def answer(chats: list[Chat], tokens: int, seed: int) -> int:
        before = model.usage.copy()
        model.generate(chats, Sampling(max_tokens=tokens, temperature=TEMPERATURE, seed=seed))
        return model.usage.since(before).completion_tokens

    return answer


def transformers(folder: Path, dtype: str, batch: int, loaded: dict[str, Any]) -> Arm:
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    if dtype not in loaded:
        kind = getattr(torch, "bfloat16" if dtype == "bf16" else dtype)
        loaded[dtype] = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
    model = loaded[dtype]

    def answer(chats: list[Chat], tokens: int, seed: int) -> int:
        torch.manual_seed(seed)
        made = 0
        for start in range(0, len(chats), batch):
            inputs = tokenizer.apply_chat_template(
                [list(chat) for chat in chats[start : start + batch]],
                add_generation_prompt=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
            )
            output = model.generate(
                **inputs,
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=0,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=tokenizer.pad_token_id,
            )[:, inputs["input_ids"].shape[1] :]
            tokenizer.batch_decode(output, skip_special_tokens=True)
            made += output.numel()
        return made

    return answer


def measure(arms: dict[str, Arm], chats: list[Chat], tokens: int, rounds: int) -> dict[str, Any]:
    """Return tokens per second of each arm in each round."""
    for arm in arms.values():  # what is only slow once
        arm(chats[:2], 4, 0)
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            begun = time.perf_counter()
            made = arms[name](chats, tokens, i)
            seconds = time.perf_counter() - begun
            if made != len(chats) * tokens:
                raise RuntimeError(f"{name} made {made} tokens of {len(chats) * tokens}")
            speeds[name].append(made / seconds)
            print(f"  round {i + 1}: {name} {made / seconds:.0f} tokens/s", flush=True)
    return speeds


def ratio(speeds: dict[str, list[float]], fast: str, slow: str) -> list[float]:
    return [a / b for a, b in zip(speeds[fast], speeds[slow], strict=True)]


def report(speeds: dict[str, list[float]], batches: list[int]) -> dict[str, Any]:
    fast = SERVED
    print(f"\n| arm | tokens/s | min | max | {fast} is | min | max |\n|" + "---|" * 7)
    for name, values in speeds.items():
        quotients = ratio(speeds, fast, name)
        print(
            f"| {name} | {median(values):.0f} | {min(values):.0f} | {max(values):.0f} | "
            f"{median(quotients):.2f}x | {min(quotients):.2f} | {max(quotients):.2f} |"
        )
    goals = []
    for dtype, goal in GOALS.items():
        own = [f"{dtype}, batch {batch}" for batch in batches]
        best = max(own, key=lambda name: median(speeds[name]))
        for what, name in (("plain", own[0]), ("best", best)):
            reached = median(ratio(speeds, fast, name))
            goals.append({"against": name, "which": what, "ratio": reached, "goal": goal})
            if what == "plain":
                verdict = f"goal {goal:.0f}x: {'reached' if reached >= goal else 'MISSED'}"
            else:
                verdict = "its best batch"
            print(f"{fast} / {name}: {reached:.2f}x ({verdict})")
    return {"fast": fast, "goals": goals}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prompts", default="harm_adjacent", help="a shipped set, or a file")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    queries = read_prompts(args.prompts, domain="harmlessness")
    chats: list[Chat] = [query.chat for query in queries[: args.count]]
    folder = pull("smollm2-135m")
    loaded: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "q8_0.gguf"
        write_gguf(TorchModel(folder / "torch", name="smollm2-135m"), merged, quant="q8_0")
        arms = {SERVED: openvino(merged), "openvino q4_1": openvino(folder / "model.gguf")}
        for dtype in GOALS:
            for batch in args.batches:
                arms[f"{dtype}, batch {batch}"] = transformers(
                    folder / "torch", dtype, batch, loaded
                )
        speeds = measure(arms, chats, args.tokens, args.rounds)
    summary = report(speeds, args.batches)
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(
            json.dumps({"settings": settings, "speeds": speeds, **summary}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
