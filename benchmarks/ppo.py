"""PPO: a step's time beside trl's GRPOTrainer, and the shape of over-optimisation.

    python benchmarks/ppo.py --step-time          bundled model: 4 prompts × 8 × 48 tokens
    python benchmarks/ppo.py --overoptimisation   a tiny random model and a synthetic gold score

Step time: both train the same adapter (rank 16 on all linear layers) of the bundled model in bf16,
with a penalty on the KL divergence, on the same prompts, at temperature 1; they take turns. PPO
computes log-probabilities under the policy and the reference, then passes over the completions
``--epochs`` times; GRPOTrainer does so once a step (``num_iterations``). The first step of each is
not counted. Both seconds and CPU seconds are given: on a core that other processes share, pin the
benchmark to it (``taskset -c 1``, OMP_NUM_THREADS=1) and read the CPU seconds.

Over-optimisation: the reward is the share of vowels in the answer. The gold score wants half of the
letters to be vowels: it rises with the reward at first, and falls when the policy writes nothing
else. Three seeds; gold of the kept checkpoint on prompts that neither training nor stop rule saw.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from custodes.conversation import Chat, user_chat
from custodes.training.ppo import PpoOptions, train

PROMPTS = [
    "How do I keep bread fresh for longer?",
    "Write two sentences about the sea in winter.",
    "What should I think about before I buy a used bicycle?",
    "Explain to a child why the sky is blue.",
]


def length_reward(_: Sequence[Chat], texts: Sequence[str]) -> list[float]:
    return [len(text) / 100 for text in texts]


def vowels(_: Sequence[Chat], texts: Sequence[str]) -> list[float]:
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in texts]


def half_vowels(chats: Sequence[Chat], texts: Sequence[str]) -> list[float]:
    return [1 - abs(2 * share - 1) for share in vowels(chats, texts)]


Clock = tuple[float, float]
"""Seconds, and CPU seconds of all threads."""


def clock(what: str = "") -> Clock:
    """Return the time; given a name, show that a step of it began or ended."""
    now = time.perf_counter(), time.process_time()
    if what:
        print(f"{what} {now[0]:.1f} {now[1]:.1f}", file=sys.stderr, flush=True)
    return now


def between(a: Clock, b: Clock) -> Clock:
    return b[0] - a[0], b[1] - a[1]


def lora(base: Any, rank: int) -> Any:
    from custodes.training.lora import LoraModel, LoraOptions

    return LoraModel(base, None, LoraOptions(rank=rank, alpha=2.0 * rank), 0)


# Step time


def ppo_steps(model: Any, steps: int, epochs: int, folder: Path) -> list[Clock]:
    """Return times of a step, without the first, which has controls of its own."""
    ticks: list[Clock] = []
    train(
        model,
        length_reward,
        [user_chat(prompt) for prompt in PROMPTS],
        folder,
        PpoOptions(
            steps=steps + 1,
            batch=32,
            samples=8,
            max_tokens=48,
            epochs=epochs,
            beta=0.05,
            evaluate_every=steps + 2,
            preflight=False,
        ),
        progress=lambda *_: ticks.append(clock("ppo")),
    )
    # The last step includes writing the state.
    return [between(a, b) for a, b in itertools.pairwise(ticks[1:])]


def grpo_steps(model: Any, steps: int, iterations: int, folder: Path) -> list[Clock]:
    """Return times of a step of trl's own trainer, without the first."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from custodes.training.trainer import silenced

    times: list[Clock] = []

    class Times(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(between(self.began, clock("grpo")))

    def reward(completions: list[Any], **_: Any) -> list[float]:
        return [len(c[0]["content"]) / 100 for c in completions]

    rows = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS]
    with silenced():
        trainer = GRPOTrainer(
            model.model,
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=str(folder),
                per_device_train_batch_size=32,
                num_generations=8,
                max_completion_length=48,
                beta=0.05,
                temperature=1.0,
                num_iterations=iterations,
                max_steps=(steps + 1) * iterations,
                learning_rate=2e-4,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_steps=10_000,
            ),
            train_dataset=Dataset.from_list(rows * 64),
            processing_class=model.tokenizer,
            callbacks=[Times()],
        )
        trainer.train()
    # on_step_begin comes before the batch is made: sampling is within.
    batches = [times[i : i + iterations] for i in range(0, len(times), iterations)]
    return [(sum(t for t, _ in own), sum(t for _, t in own)) for own in batches[1:]]


def step_time(rounds: int, steps: int, epochs: int) -> dict[str, Any]:
    import torch

    from custodes.models.resolve import load_torch

    models = [lora(load_torch("smollm2-135m"), 16) for _ in range(2)]
    ours: list[Clock] = []
    theirs: list[Clock] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            ours += ppo_steps(models[0], steps, epochs, Path(folder) / f"ppo-{number}")
            theirs += grpo_steps(models[1], steps, epochs, Path(folder) / f"grpo-{number}")
    return {"epochs": epochs, "threads": torch.get_num_threads()} | {
        name: {
            "ppo": [round(t[at], 2) for t in ours],
            "grpo": [round(t[at], 2) for t in theirs],
            "ratio": round(
                statistics.median(t[at] for t in ours) / statistics.median(t[at] for t in theirs), 3
            ),
        }
        for at, name in enumerate(("seconds", "cpu_seconds"))
    }


# Over-optimisation


def overoptimisation(seeds: Sequence[int], steps: int, model: Path) -> list[dict[str, Any]]:
    import numpy as np

    from custodes.models.base import Sampling
    from custodes.models.torch import TorchModel

    chats = [user_chat(f"Question {i}?") for i in range(64)]
    training, held_out, fresh = chats[:24], chats[24:44], chats[44:]
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            for stop in (True, False):
                base = TorchModel(model, name="tiny", dtype="float32")
                policy = lora(base, 8)
                result = train(
                    policy,
                    vowels,
                    training,
                    Path(folder) / str(stop),
                    PpoOptions(
                        steps=steps,
                        batch=64,
                        samples=8,
                        epochs=4,
                        max_tokens=6,
                        learning_rate=1e-2,
                        beta=0.0,
                        evaluate_every=4,
                        stop=stop,
                        preflight=False,
                        seed=seed,
                    ),
                    gold=half_vowels,
                    held_out=held_out * 4,
                )
                texts = base.generate(fresh, Sampling(6, 1.0, n=8, seed=99))
                flat = [text for own in texts for text in own]
                rows.append(
                    {
                        "seed": seed,
                        "stop": stop,
                        "steps": result.steps,
                        "kept_step": result.kept_step,
                        "stopped": result.stopped,
                        "gold_fresh": round(float(np.mean(half_vowels(fresh, flat))), 4),
                        "evaluations": [
                            (e.step, round(e.kl, 2), round(e.reward, 3), round(e.gold or 0.0, 3))
                            for e in result.evaluations
                        ],
                    }
                )
                print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def tiny(folder: Path) -> Path:
    """Save the random model of the tests."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    made: Path = import_module("conftest").make_tiny_model(folder / "tiny")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-time", action="store_true")
    parser.add_argument("--overoptimisation", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0, help="steps a round, or of a training")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if options.step_time:
        print(json.dumps(step_time(options.rounds, options.steps or 1, options.epochs)))
    if options.overoptimisation:
        with tempfile.TemporaryDirectory() as folder:
            rows = overoptimisation(options.seeds, options.steps or 60, tiny(Path(folder)))
        for at, seed in enumerate(options.seeds):
            stopped, whole = rows[2 * at], rows[2 * at + 1]
            best = max(gold for _, _, _, gold in whole["evaluations"])
            last = whole["evaluations"][-1][3]
            print(
                json.dumps(
                    {
                        "seed": seed,
                        "best_gold": best,
                        "gold_without_stop": last,
                        "stopped_after": stopped["steps"],
                        "kept_step": stopped["kept_step"],
                        "gold_kept_fresh_prompts": stopped["gold_fresh"],
                        "share_of_best": round(stopped["gold_fresh"] / best, 3),
                    }
                )
            )


if __name__ == "__main__":
    main()
