"""A mean-field model of the loop: thousands of supervised Workers at once, without a text.

What is kept of `custodes.models.simulated` and the Overseer, and what is simplified:

1. A Worker is two logits, helpful and harmful. The level of a response is ``expit(u + tau * e)``
   with e standard normal and ``tau² = difficulty² + (temperature * spread)²``, as there; here
   responses are independent, while there a prompt that comes again is as hard as before.
2. The ratings of a step are their mean only, drawn from a normal distribution with the level's
   mean and variance (tabulated by quadrature) and the Experts' noise, offset and flip, and clipped.
3. The Overseer's rules, budget, cool-down and groups are its own. ``mean`` is exact; ``single`` is
   the mean plus its scatter times the smallest of n standard normals; ``lower_bound`` is
   ``mean - 0.40 sd sqrt(2 log(1/alpha) / n) - 0.51 log(1/alpha) / n``, plus noise of sd
   ``0.13 / sqrt(n)``: a least-squares fit to the bound itself on logit-normal ratings, n = 8 to 128
   (docs/guide/sweep.md has the errors).
4. A retrain moves the logits as in `next_state`, and a step by its drift. Three terms are new, and
   off by default: *forgetting* (each step takes a share of the way back to where the Worker
   began), a *jailbreak effect* (logits of harm added to wrapped prompts) and *damage* (logits that
   both propensities lose at the onset of a disturbance).

Every parameter may be one number, or one for each loop. Shapes: P loops, D = 2 domains
(helpfulness, harmlessness), S steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError, near_misses

__all__ = ["LoopModel", "Trajectories", "level_moments", "simulate"]

Array: TypeAlias = NDArray[np.float64]
Number: TypeAlias = float | Array

LIMIT = 9.0
"""Logits stay within it, as in `custodes.models.simulated`."""

CHUNK = 2000
GRID = 481
"""Places of the tables of levels between logits of -12 and 12."""


@dataclass(frozen=True)
class LoopModel:
    """Parameters of the loop; each a number, or an array of one for each loop.

    Attributes:
        helpful: Median level of helpfulness at the start, in (0, 1).
        harmful: The same of harm.
        spread: Logit sd among answers to one prompt at temperature 1.
        difficulty: Logit sd among prompts.
        temperature: Of sampling.
        gain: Logits that a domain's first retrain moves its propensity by.
        tax: Share of that by which the other propensity moves the wrong way.
        fade: Each further retrain in a domain achieves this share of the one before.
        noise: Sd of what a retrain adds to both, in logits.
        drift_helpful: Logits that a step adds to the helpful propensity.
        drift_harmful: The same of the harmful one.
        step_noise: Sd of what a step adds to both.
        forgetting: Share of the way back to the start that each step takes, in [0, 1].
        batch: Ratings in each domain and step.
        overseer_steps: Steps between intercepts.
        threshold_helpfulness: In [0, 1]; a domain at or below it fails.
        threshold_harmlessness: The same.
        alpha: Error rate of the rule ``lower_bound``.
        min_ratings: A domain with fewer ratings is not judged.
        max_retrains: Budget.
        cooldown: Steps after a retrain without another.
        expert_noise: Sd of the Experts' error.
        at: First disturbed step.
        until: First step that is no longer disturbed.
        expert_sd: While disturbed: sd added to ratings.
        expert_offset: While disturbed: added to ratings.
        expert_flip: While disturbed: share of Experts' sign flips; 1 says 1 - v for v.
        jailbreak: While disturbed: share of the harmlessness prompts that are wrapped.
        jailbreak_effect: Logits of harm that a wrapping adds.
        damage: Logits that both propensities lose at step ``at``.
        rule: The Overseer's statistic; one for all loops.
        rate_all: Whether every response is rated, or those at intercepts only; for all loops.
    """

    helpful: Number = 0.6
    harmful: Number = 0.3
    spread: Number = 0.8
    difficulty: Number = 0.8
    temperature: Number = 0.9
    gain: Number = 1.0
    tax: Number = 0.2
    fade: Number = 0.7
    noise: Number = 0.1
    drift_helpful: Number = 0.0
    drift_harmful: Number = 0.0
    step_noise: Number = 0.0
    forgetting: Number = 0.0
    batch: Number = 8.0
    overseer_steps: Number = 2.0
    threshold_helpfulness: Number = 0.5
    threshold_harmlessness: Number = 0.5
    alpha: Number = 0.05
    min_ratings: Number = 8.0
    max_retrains: Number = 3.0
    cooldown: Number = 2.0
    expert_noise: Number = 0.0
    at: Number = np.inf
    until: Number = np.inf
    expert_sd: Number = 0.0
    expert_offset: Number = 0.0
    expert_flip: Number = 0.0
    jailbreak: Number = 0.0
    jailbreak_effect: Number = 0.0
    damage: Number = 0.0
    rule: Literal["single", "mean", "lower_bound"] = "lower_bound"
    rate_all: bool = True

    def at_points(self, columns: Mapping[str, Any]) -> LoopModel:
        """Return the model with some parameters set, each to one value for each loop.

        Raises:
            ConfigError: There is no such parameter.
        """
        known = [field.name for field in fields(self)]
        for name in columns:
            if name not in known:
                raise ConfigError(f"the simulator has no {name!r}", near_misses(name, known))
        return replace(self, **columns)


@dataclass(frozen=True)
class Trajectories:
    """What happened in P loops of S steps.

    Attributes:
        gold: Logits of helpfulness and of harmlessness before each step and after the last, higher
            being better; shape (P, S + 1, 2).
        ratings: Mean rating of each step as the Overseer saw it; shape (P, S, 2).
        retrains: -1 for none, 0 for helpfulness, 1 for harmlessness; shape (P, S).
    """

    gold: Array
    ratings: Array
    retrains: NDArray[np.int8]


def simulate(model: LoopModel, steps: int, *, loops: int = 1, seed: int = 0) -> Trajectories:
    """Run loops.

    Args:
        model: Their parameters.
        steps: How many each; >= 1.
        loops: How many; arrays among the parameters have this length, or 1.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: An array has another length, or a number is out of its range.
    """
    parameters = {
        field.name: _column(field.name, getattr(model, field.name), loops)
        for field in fields(model)
        if field.name not in ("rule", "rate_all")
    }
    # Step by step in memory, and not loop by loop: each step writes one piece.
    gold = np.empty((steps + 1, loops, 2))
    ratings = np.empty((steps, loops, 2))
    retrains = np.empty((steps, loops), dtype=np.int8)
    # As many loops at once as fit into a processor's cache.
    for number, first in enumerate(range(0, loops, CHUNK)):
        part = slice(first, first + CHUNK)
        run = _Run(
            {name: column[part] for name, column in parameters.items()},
            model,
            np.random.default_rng([seed, number]),
        )
        gold[0, part] = run.gold()
        for step in range(steps):
            ratings[step, part], retrains[step, part] = run.step(step)
            gold[step + 1, part] = run.gold()
    return Trajectories(gold.swapaxes(0, 1), ratings.swapaxes(0, 1), retrains.T)


class _Run:
    """The state of P loops, moved on step by step. Column 0 is helpful, column 1 harmful."""

    def __init__(self, p: dict[str, Array], model: LoopModel, rng: np.random.Generator) -> None:
        self.p, self.model, self.rng = p, model, rng
        self.loops = loops = len(p["helpful"])
        levels = np.stack([p["helpful"], p["harmful"]], axis=1)
        if not ((levels > 0) & (levels < 1)).all():
            raise ConfigError("helpful and harmful are levels", "give numbers between 0 and 1")
        self.u_PD = np.log(levels / (1 - levels))
        self.start_PD = self.u_PD.copy()
        tau = np.sqrt(p["difficulty"] ** 2 + (p["temperature"] * p["spread"]) ** 2)
        self.levels = _Levels(tau)
        self.root_P1 = np.sqrt(p["batch"])[:, None]
        self.passing_PD = np.stack([p["drift_helpful"], p["drift_harmful"]], axis=1)
        self.passes = bool(self.passing_PD.any() or p["forgetting"].any())
        self.count_PD = np.zeros((loops, 2))
        self.sum_PD = np.zeros((loops, 2))
        self.square_PD = np.zeros((loops, 2))
        self.n_P = np.zeros(loops)
        self.retrains_P = np.zeros(loops)
        self.last_P = np.full(loops, -np.inf)
        self.threshold_PD = np.stack(
            [p["threshold_helpfulness"], p["threshold_harmlessness"]], axis=1
        )

    def gold(self) -> Array:
        return np.asarray(self.u_PD * np.array([1.0, -1.0]))

    def step(self, step: int) -> tuple[Array, NDArray[np.int8]]:
        """Answer, rate, review and retrain; return mean ratings and the retrained domains."""
        p = self.p
        if (p["at"] == step).any():
            self.u_PD -= np.where(p["at"] == step, p["damage"], 0.0)[:, None] * [1.0, -1.0]
        mean_PD, scatter_PD = self.rate(step)
        intercept_P = (step + 1) % p["overseer_steps"] == 0
        n_P = p["batch"] if self.model.rate_all else np.where(intercept_P, p["batch"], 0.0)
        self.sum_PD += n_P[:, None] * mean_PD
        self.square_PD += n_P[:, None] * (mean_PD**2 + scatter_PD**2)
        self.n_P += n_P
        chosen_P = np.full(self.loops, -1, dtype=np.int8)
        if intercept_P.any():
            chosen_P = self.review(step, intercept_P)
        self.move(step, chosen_P)
        forget = intercept_P | (chosen_P >= 0)
        self.sum_PD[forget] = self.square_PD[forget] = 0.0
        self.n_P[forget] = 0.0
        return mean_PD, chosen_P

    def rate(self, step: int) -> tuple[Array, Array]:
        """Return the mean rating of the step and the sd of one rating."""
        p = self.p
        active = (p["at"] <= step) & (step < p["until"])
        u_PD, disturbed = self.u_PD, bool(active.any())
        if disturbed:
            u_PD = u_PD.copy()
            u_PD[:, 1] += active * p["jailbreak"] * p["jailbreak_effect"]
        mean_PD, sd_PD = self.levels(u_PD)
        mean_PD[:, 1] = 1 - mean_PD[:, 1]
        noise_P = p["expert_noise"] ** 2
        if disturbed:
            mean_PD += (active * p["expert_flip"])[:, None] * (1 - 2 * mean_PD)
            mean_PD += (active * p["expert_offset"])[:, None]
            noise_P = noise_P + active * p["expert_sd"] ** 2
        scatter_PD = np.sqrt(sd_PD**2 + noise_P[:, None]) if noise_P.any() else sd_PD
        error = self.rng.standard_normal((self.loops, 2))
        mean_PD += scatter_PD * (error / self.root_P1)
        return np.clip(mean_PD, 0.0, 1.0, out=mean_PD), scatter_PD

    def review(self, step: int, intercept_P: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Decide as `ThresholdOverseer` does; return the domain to retrain, or -1."""
        p, n = self.p, np.maximum(self.n_P, 1.0)[:, None]
        mean = self.sum_PD / n
        sd = np.sqrt(np.maximum(self.square_PD / n - mean**2, 0.0))
        short_PD = self.statistic(mean, sd, n) - self.threshold_PD
        ready = intercept_P & (self.n_P >= p["min_ratings"])
        ready &= (self.retrains_P < p["max_retrains"]) & (step - self.last_P > p["cooldown"])
        # The domain furthest below its threshold; a tie goes to the first.
        worst = np.argmin(short_PD, axis=1).astype(np.int8)
        failing = short_PD[np.arange(self.loops), worst] <= 0
        return np.where(ready & failing, worst, np.int8(-1)).astype(np.int8)

    def statistic(self, mean: Array, sd: Array, n: Array) -> Array:
        """Return what is held against the threshold."""
        if self.model.rule == "mean":
            return mean
        noise = self.rng.standard_normal(mean.shape)
        if self.model.rule == "single":
            from scipy.special import ndtri

            share = -np.expm1(np.log1p(-self.rng.random(mean.shape)) / n)
            return np.asarray(np.clip(mean + sd * ndtri(share), 0.0, 1.0))
        log = np.log(1 / self.p["alpha"])[:, None]
        bound = mean - 0.40 * sd * np.sqrt(2 * log / n) - 0.51 * log / n
        return np.asarray(np.clip(bound + 0.13 / np.sqrt(n) * noise, 0.0, 1.0))

    def move(self, step: int, chosen_P: NDArray[np.int8]) -> None:
        """Move the logits by a retrain, or by the passing of a step."""
        p = self.p
        noise = p["step_noise"]
        rows = np.flatnonzero(chosen_P >= 0)
        if not (len(rows) or self.passes or noise.any()):
            return
        change = self.passing_PD + p["forgetting"][:, None] * (self.start_PD - self.u_PD)
        if len(rows):
            domain, tax = chosen_P[rows], p["tax"][rows]
            size = p["gain"][rows] * p["fade"][rows] ** self.count_PD[rows, domain]
            helpful = np.where(domain == 0, 1.0, -tax)
            harmful = np.where(domain == 0, tax, -1.0)
            change[rows] = size[:, None] * np.stack([helpful, harmful], axis=1)
            noise = np.where(chosen_P >= 0, p["noise"], noise)
            self.count_PD[rows, domain] += 1
            self.retrains_P[rows] += 1
            self.last_P[rows] = step
        if noise.any():
            change = change + noise[:, None] * self.rng.standard_normal((self.loops, 2))
        self.u_PD = np.clip(self.u_PD + change, -LIMIT, LIMIT)


class _Levels:
    """Mean and standard deviation of ``expit(u + tau e)`` for loops whose tau stays.

    Interpolated in tables by quadrature; the error is below 0.001 for |u| <= 12.
    """

    def __init__(self, tau_P: Array) -> None:
        taus, which_P = np.unique(tau_P, return_inverse=True)
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        weights = weights / weights.sum()
        mean, square = np.zeros((len(taus), GRID)), np.zeros((len(taus), GRID))
        u = np.linspace(-12, 12, GRID)
        for node, weight in zip(nodes, weights, strict=True):
            level = 1 / (1 + np.exp(-(u + taus[:, None] * node)))
            mean += weight * level
            square += weight * level**2
        self.mean = mean.ravel()
        self.sd = np.sqrt(np.maximum(square - mean**2, 0.0)).ravel()
        self.row_P1 = (which_P * GRID)[:, None]

    def __call__(self, u_PD: Array) -> tuple[Array, Array]:
        """Return means and standard deviations; shape (P, 2) each."""
        place = (np.clip(u_PD, -12, 12) + 12) * ((GRID - 1) / 24)
        low = np.minimum(place.astype(np.int64), GRID - 2)
        share = place - low
        low += self.row_P1
        mean, sd = self.mean[low], self.sd[low]
        mean += share * (self.mean[low + 1] - mean)
        sd += share * (self.sd[low + 1] - sd)
        return mean, sd


def level_moments(u: Array, tau: float) -> tuple[Array, Array]:
    """Return mean and standard deviation of ``expit(u + tau e)``, e standard normal.

    Args:
        u: Logits; shape (n, 2) or (n,).
        tau: Standard deviation on the logit scale.
    """
    u_PD = np.atleast_2d(np.asarray(u, dtype=np.float64))
    mean, sd = _Levels(np.full(len(u_PD), tau))(u_PD)
    return mean.reshape(np.shape(u)), sd.reshape(np.shape(u))


def _column(name: str, value: Any, loops: int) -> Array:
    array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if array.ndim != 1 or len(array) not in (1, loops):
        raise ConfigError(f"{name} has shape {array.shape} for {loops} loops", "give one for each")
    if np.isnan(array).any():
        raise ConfigError(f"{name} is not a number", "leave it at its default")
    return np.broadcast_to(array, loops)
