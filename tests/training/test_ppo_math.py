"""PPO's mathematics against a second implementation in plain loops, and against worked values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from custodes.training.ppo import (
    AdaptiveKLController,
    FixedKLController,
    gae,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

AGREE = {"rtol": 1e-5, "atol": 1e-5}


def ragged(seed: int, n: int = 7, longest: int = 9) -> tuple[np.ndarray, list[int]]:
    """A mask of rows with different lengths."""
    lengths = [int(k) for k in np.random.default_rng(seed).integers(1, longest + 1, n)]
    lengths[0] = longest
    return np.array([[t < k for t in range(longest)] for k in lengths]), lengths


def drawn(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) * scale


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


# A second implementation, a token at a time.


def slow_rewards(
    scores: Any, new: Any, ref: Any, lengths: list[int], beta: float, rs: int, ks: int
) -> np.ndarray:
    out = np.zeros(new.shape)
    for i, length in enumerate(lengths):
        for t in range(length):
            out[i, t] = ks * (-beta * (new[i, t] - ref[i, t]))
        out[i, length - 1] += rs * scores[i]
    return out


def slow_gae(r: Any, v: Any, lengths: list[int], gamma: float, lam: float) -> np.ndarray:
    """The definition: the sum of (γλ)^l δ_(t+l) over what is left of the completion."""
    out = np.zeros(r.shape)
    for i, length in enumerate(lengths):
        delta = [
            r[i, t] + (gamma * v[i, t + 1] if t + 1 < length else 0.0) - v[i, t]
            for t in range(length)
        ]
        for t in range(length):
            out[i, t] = sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length))
    return out


def slow_whiten(x: Any, lengths: list[int], shift: bool) -> np.ndarray:
    flat = [x[i, t] for i, length in enumerate(lengths) for t in range(length)]
    mean = sum(flat) / len(flat)
    sd = math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat) + 1e-8)
    out = np.zeros(x.shape)
    for i, length in enumerate(lengths):
        for t in range(length):
            out[i, t] = (x[i, t] - mean) / sd + (0 if shift else mean)
    return out


def slow_policy_loss(new: Any, old: Any, adv: Any, lengths: list[int], clip: float) -> float:
    terms = []
    for i, length in enumerate(lengths):
        for t in range(length):
            ratio = math.exp(new[i, t] - old[i, t])
            bounded = min(max(ratio, 1 - clip), 1 + clip) if clip else ratio
            terms.append(-min(ratio * adv[i, t], bounded * adv[i, t]))
    return sum(terms) / len(terms)


def slow_value_loss(new: Any, old: Any, ret: Any, lengths: list[int], clip: float) -> float:
    terms = []
    for i, length in enumerate(lengths):
        for t in range(length):
            near = min(max(new[i, t], old[i, t] - clip), old[i, t] + clip) if clip else new[i, t]
            terms.append(max((new[i, t] - ret[i, t]) ** 2, (near - ret[i, t]) ** 2) / 2)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("reward_sign", "kl_sign"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_token_rewards_agree(seed: int, reward_sign: int, kl_sign: int) -> None:
    mask, lengths = ragged(seed)
    new, ref, scores = (
        drawn(seed + k, s) for k, s in ((1, mask.shape), (2, mask.shape), (3, (7,)))
    )
    ours = token_rewards(
        tensor(scores),
        tensor(new),
        tensor(ref),
        torch.tensor(mask),
        beta=0.15,
        reward_sign=reward_sign,
        kl_sign=kl_sign,
    )
    other = slow_rewards(scores, new, ref, lengths, 0.15, reward_sign, kl_sign)
    np.testing.assert_allclose(ours, other, **AGREE)


def test_the_sign_of_the_reward() -> None:
    """A better completion earns more; with reward sign −1 it earns less."""
    one = torch.ones(1, 1, dtype=torch.bool)
    zero = torch.zeros(1, 1)
    for sign in (1, -1):
        better, worse = (
            token_rewards(torch.tensor([s]), zero, zero, one, beta=0.1, reward_sign=sign)
            for s in (2.0, 1.0)
        )
        assert float(better - worse) == sign


def test_the_sign_of_the_kl() -> None:
    """Tokens likelier than under the reference cost β a nat; with KL sign −1 they earn it."""
    one = torch.ones(1, 1, dtype=torch.bool)
    for sign in (1, -1):
        reward = token_rewards(
            torch.zeros(1), torch.ones(1, 1), torch.zeros(1, 1), one, beta=0.5, kl_sign=sign
        )
        assert float(reward) == -0.5 * sign


@pytest.mark.parametrize("seed", range(6))
def test_gae_agrees(seed: int) -> None:
    mask, lengths = ragged(seed)
    rewards, values = drawn(seed, mask.shape) * mask, drawn(seed + 9, mask.shape)
    gamma, lam = [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0)][seed % 3]
    advantages, returns = gae(tensor(rewards), tensor(values), torch.tensor(mask), gamma, lam)
    other = slow_gae(rewards, values, lengths, gamma, lam)
    np.testing.assert_allclose(advantages, other, **AGREE)
    np.testing.assert_allclose(returns, (other + values) * mask, **AGREE)


def test_gae_by_hand() -> None:
    """δ = (−0.1, −0.1, 0.7); A₃ = 0.7, A₂ = −0.1 + 0.95 · 0.7, A₁ = −0.1 + 0.95 · A₂."""
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = gae(
        tensor([[0, 0, 1, 5]]), tensor([[0.5, 0.4, 0.3, 9]]), mask, gamma=1.0, lam=0.95
    )
    np.testing.assert_allclose(advantages, [[0.43675, 0.565, 0.7, 0]], **AGREE)
    np.testing.assert_allclose(returns, [[0.93675, 0.965, 1.0, 0]], **AGREE)


@pytest.mark.parametrize("shift", [True, False])
def test_whitening_agrees(shift: bool) -> None:
    mask, lengths = ragged(5)
    values = drawn(5, mask.shape, 3.0) + 2
    ours = whiten(tensor(values), torch.tensor(mask), shift_mean=shift)
    np.testing.assert_allclose(ours, slow_whiten(values, lengths, shift), **AGREE)
    some = ours[torch.tensor(mask)]
    assert float(some.var(correction=0)) == pytest.approx(1, abs=1e-5)
    assert float(some.mean()) == pytest.approx(0 if shift else values[mask].mean(), abs=1e-5)


@pytest.mark.parametrize("clip", [0.2, 0.05, 0.0])
def test_losses_agree(clip: float) -> None:
    mask, lengths = ragged(7)
    new, old, wanted = (drawn(k, mask.shape, 0.4) for k in (1, 2, 3))
    where = torch.tensor(mask)
    for ours, other in ((policy_loss, slow_policy_loss), (value_loss, slow_value_loss)):
        loss, _ = ours(tensor(new), tensor(old), tensor(wanted), where, clip)
        assert float(loss) == pytest.approx(other(new, old, wanted, lengths, clip), abs=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.5, 1.0, -1.2, 1.0),  # No credit for more than 1 + ε …
        (0.5, 1.0, -0.5, 0.0),  # … but what falls behind is felt in full,
        (1.5, -1.0, 1.5, 0.0),
        (0.5, -1.0, 0.8, 1.0),
    ],
)
def test_policy_clipping_by_hand(
    ratio: float, advantage: float, loss: float, clipped: float
) -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    new = tensor([[math.log(ratio)]]).requires_grad_()
    value, diagnostics = policy_loss(new, tensor([[0.0]]), tensor([[advantage]]), one, 0.2)
    value.backward()
    assert float(value.detach()) == pytest.approx(loss, abs=1e-9)
    assert diagnostics["policy/clipfrac"] == clipped
    # What is clipped has no gradient.
    assert (float(new.grad) == 0.0) == bool(clipped)
    assert diagnostics["policy/approxkl"] == pytest.approx(math.log(ratio) ** 2 / 2)


@pytest.mark.parametrize(("wanted", "loss", "clipped"), [(0.0, 0.5, 0.0), (2.0, 0.845, 1.0)])
def test_value_clipping_by_hand(wanted: float, loss: float, clipped: float) -> None:
    """From 0.5 to 1.0 with ε = 0.2: clipped at 0.7."""
    one = torch.ones(1, 1, dtype=torch.bool)
    value, diagnostics = value_loss(tensor([[1.0]]), tensor([[0.5]]), tensor([[wanted]]), one, 0.2)
    assert float(value) == pytest.approx(loss, abs=1e-9)
    assert diagnostics["val/clipfrac"] == clipped
    assert diagnostics["val/error"] == pytest.approx((1 - wanted) ** 2)


@pytest.mark.parametrize(
    ("kl", "beta"), [(12.0, 0.150192), (3.0, 0.149808), (6.3, 0.150048), (6.0, 0.15)]
)
def test_the_adaptive_controller_by_hand(kl: float, beta: float) -> None:
    """Ziegler et al.: β ← β (1 + clip(KL / 6 − 1, ±0.2) · 64 / 10,000)."""
    controller = AdaptiveKLController(0.15, 6.0, 10_000)
    controller.update(kl, 64)
    assert controller.value == pytest.approx(beta, abs=1e-9)


def test_the_controller_finds_its_target() -> None:
    """With a divergence that falls as β rises, it settles where the divergence is the target."""
    controller = AdaptiveKLController(0.02, 6.0, 1_000)
    for _ in range(4_000):
        controller.update(0.6 / controller.value, 32)
    assert 0.6 / controller.value == pytest.approx(6.0, rel=0.01)
    fixed = FixedKLController(0.1)
    fixed.update(100.0, 64)
    assert fixed.value == 0.1
