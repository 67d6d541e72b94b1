"""Reward sign × KL sign: what each flipped sign does to a model, and what catches it.

    python examples/sign_flips.py OUT [--model NAME] [--steps N] [--rounds N]

trains four adapters by PPO for a harmless reward, long words, and prints what became of each:

              KL sign +1                          KL sign −1
reward +1     normal: longer words                drifts away from the language
reward −1     fluent, and as bad as it can be     drifts away from the language

"Fluency" is the mean log-probability of a token under the model before training: an answer that
leaves the language has a low one. The cell (−1, +1) is the accident of Ziegler et al. 2019 (section
4.4). The preflight, on by default, names each flip before the first step; it does not stop PPO, so
that this example can show what happens.

With ``--rounds`` the normal and the flipped cell are trained over several rounds as in that story:
raters label pairs of the policy's own answers, a reward model is fitted on their labels, and PPO
trains on it. The raters are honest throughout; each round their labels, passed on through the
flipped sign, tell the policy more exactly what to do worse.

Killed, the same command goes on. The steps of one cell take some minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from custodes.conversation import Chat, user_chat
from custodes.models.base import Sampling
from custodes.models.resolve import load_torch
from custodes.progress import console
from custodes.training.lora import LoraModel, LoraOptions
from custodes.training.ppo import PpoOptions, train
from custodes.training.reward import RewardOptions, RewardPair, fit_reward
from custodes.training.rl.result import RlResult
from custodes.training.rl.rewards import Reward

TOPICS = (
    "bread", "the sea", "bicycles", "winter", "music", "gardens", "trains", "sleep", "tea",
    "mountains", "libraries", "cats", "maps", "rain", "chess", "bridges", "apples", "clocks",
    "paper", "birds", "soup", "rivers", "kites", "wool",
)  # fmt: skip
CHATS = [user_chat(f"Tell me something about {topic}.") for topic in TOPICS]
TRAINING, HELD_OUT = CHATS[:16], CHATS[16:]


def word_length(_: Sequence[Chat], answers: Sequence[str]) -> list[float]:
    """Reward long words: the mean length of a word, up to 12 letters, over 12."""
    rewards = []
    for answer in answers:
        words = ["".join(filter(str.isalpha, word)) for word in answer.split()]
        lengths = [min(len(word), 12) for word in words if word]
        rewards.append(float(np.mean(lengths)) / 12 if lengths else 0.0)
    return rewards


def options(steps: int, reward_sign: int, kl_sign: int, seed: int = 0) -> PpoOptions:
    """Return PPO's options for one cell."""
    return PpoOptions(
        steps=steps,
        batch=16,
        samples=2,
        epochs=4,
        max_tokens=24,
        learning_rate=5e-4,
        beta=0.02,
        reward_sign=reward_sign,  # type: ignore[arg-type]
        kl_sign=kl_sign,  # type: ignore[arg-type]
        evaluate_every=max(steps // 3, 1),
        seed=seed,
    )


def policy_of(name: str, adapter: Path | None = None) -> LoraModel:
    """Load the model that is trained."""
    return LoraModel(load_torch(name), adapter, LoraOptions(), 0)


def describe(name: str, result: RlResult) -> str:
    """Say in one line what became of a policy."""
    first, last = result.evaluations[0], result.evaluations[-1]
    said = [(chat, text) for chat, text in zip(HELD_OUT, last.completions, strict=True) if text]
    scores = load_torch(name).logprobs([c for c, _ in said], [t for _, t in said])
    fluency = float(np.mean([row.total / max(len(row.tokens), 1) for row in scores]))
    alarms = next(c for c in result.controls if c.name == "ppo preflight").figures["failed"]
    return (
        f"word length {12 * first.reward:.2f} → {12 * last.reward:.2f} letters, KL {last.kl:.1f} "
        f"nats, fluency {fluency:.2f} nats a token; preflight: {', '.join(alarms) or 'nothing'}\n"
        f"    {last.completions[0][:120]!r}\n"
    )


def cells(name: str, out: Path, steps: int) -> None:
    """Train the 2 × 2."""
    for reward_sign in (1, -1):
        for kl_sign in (1, -1):
            with console() as progress:
                result = train(
                    policy_of(name),
                    word_length,
                    TRAINING,
                    out / f"reward{reward_sign:+d}-kl{kl_sign:+d}",
                    options(steps, reward_sign, kl_sign),
                    held_out=HELD_OUT,
                    progress=progress,
                )
            line = f"reward {reward_sign:+d}, KL {kl_sign:+d}: {describe(name, result)}"
            sys.stdout.write(line)


def labelled(policy: LoraModel, seed: int) -> list[RewardPair]:
    """Sample two answers a prompt from the policy, and let honest raters compare them."""
    pairs = []
    answers = policy.base.generate(TRAINING, Sampling(24, 1.0, n=6, seed=seed))
    for at, (chat, own) in enumerate(zip(TRAINING, answers, strict=True)):
        scores = word_length([chat] * len(own), own)
        for i in range(0, len(own), 2):
            better, worse = (i, i + 1) if scores[i] >= scores[i + 1] else (i + 1, i)
            if own[better] != own[worse]:
                texts = own[better], own[worse]
                shown = better == i
                pairs.append(RewardPair(f"{at}-{i}", tuple(chat), *texts, shown_first=shown))
    return pairs


def rounds(name: str, out: Path, steps: int, count: int) -> None:
    """Train raters → reward model → RL, several times over, with either sign of the reward."""
    settings = RewardOptions(shuffled_twin="frozen", epochs=2)
    for sign in (1, -1):
        adapter: Path | None = None
        for number in range(count):
            folder = out / f"rounds{sign:+d}" / str(number)
            policy = policy_of(name, adapter)
            with console() as progress:
                fit = fit_reward(
                    labelled(policy, number), name, folder / "reward", settings, progress=progress
                )
                reward: Reward = fit.model
                result = train(
                    policy,
                    reward,
                    TRAINING,
                    folder / "ppo",
                    options(steps, sign, 1, number),
                    held_out=HELD_OUT,
                    progress=progress,
                )
            adapter = result.adapter
            letters = 12 * float(np.mean(word_length(HELD_OUT, result.evaluations[-1].completions)))
            sys.stdout.write(
                f"reward {sign:+d}, round {number + 1}: reward model right on "
                f"{fit.accuracy.mean:.0%} of held-out pairs; word length {letters:.2f} letters\n"
            )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=0)
    given = parser.parse_args()
    if given.rounds:
        rounds(given.model, given.out, given.steps, given.rounds)
    else:
        cells(given.model, given.out, given.steps)


if __name__ == "__main__":
    main()
