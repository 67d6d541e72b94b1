"""Fitting the simulator to real runs, and saying how well it predicts runs it has not seen.

Given which retrains happened, the simulator's logits are a deterministic path plus noise, and the
mean rating of a step is a known function of them. So its parameters are a weighted non-linear
least-squares fit of the clean mean ratings of all steps of all runs: where the Worker starts, what
a retrain moves (gain, tax, fade), what a step moves (drifts) and what a jailbreak does. A weak
prior holds what the runs do not show at the simulator's default.

The control is the held-out error: each run is predicted from a fit to all others, and so it is by
two rivals that know no dynamics, "every step is the mean of the other runs" and "nothing ever
changes". A simulator that does not beat them has nothing to forecast with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.errors import DataError
from custodes.sweep.simulator.loop import LoopModel, level_moments

__all__ = ["Calibration", "RunSeries", "calibrate", "read_series"]

Array: TypeAlias = NDArray[np.float64]

DOMAINS = ("helpfulness", "harmlessness")
NAMES = (
    "helpful",
    "harmful",
    "gain",
    "tax",
    "fade",
    "drift_helpful",
    "drift_harmful",
    "jailbreak_effect",
)
TAU = 1.1
"""Logit sd of responses: mean ratings do not show it, so it is not fitted."""


@dataclass(frozen=True)
class RunSeries:
    """One run as the simulator sees it.

    Attributes:
        ratings: Mean clean rating by step and domain (helpfulness, harmlessness); NaN where
            nothing was rated. Shape (S, 2), in [0, 1].
        counts: How many ratings each is the mean of; shape (S, 2).
        retrains: -1 for none, 0 for helpfulness, 1 for harmlessness, after each step; shape (S,).
        wrapped: Share of the harmlessness prompts that a jailbreak wrapped; shape (S,).
        name: Of the run.
    """

    ratings: Array
    counts: Array
    retrains: NDArray[np.int64]
    wrapped: Array
    name: str = ""


@dataclass(frozen=True)
class Calibration:
    """A fitted simulator.

    Attributes:
        model: The simulator with what was fitted.
        parameters: What was fitted, by name.
        errors: Standard errors of it, by name (from the curvature of the fit).
        scatter: Sd of a step's mean rating around the fitted path, beyond the sampling of
            responses.
        held_out: Root mean square error on runs that were not fitted: ``simulator``, ``mean`` and
            ``nothing changes``. Empty with fewer than three runs.
        control: Whether the simulator beats both rivals on unseen runs.
    """

    model: LoopModel
    parameters: dict[str, float]
    errors: dict[str, float]
    scatter: float
    held_out: dict[str, float]
    control: Control

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "parameters": self.parameters,
            "errors": self.errors,
            "scatter": self.scatter,
            "held_out": self.held_out,
            "control": self.control.to_dict(),
        }


def read_series(folder: Path) -> RunSeries:
    """Read a run's folder.

    Raises:
        DataError: It holds no run with rated steps.
    """
    try:
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{folder} holds no run", "name a folder of custodes oversee") from error
    events = [event for event in map(_parsed, lines) if event is not None]
    steps = [event for event in events if event["kind"] == "step"]
    if not any(event["ratings"] for event in steps):
        raise DataError(f"{folder} has no rated step", "let the run go on before calibrating")
    retrained = {event["step"]: event["retrain"] for event in events if event["kind"] == "verdict"}
    s = len(steps)
    ratings, counts, wrapped = np.full((s, 2), np.nan), np.zeros((s, 2)), np.zeros(s)
    for i, event in enumerate(steps):
        for d, domain in enumerate(DOMAINS):
            clean = [v for v in event["ratings"].get(domain, {}).get("clean", ()) if v is not None]
            if clean:
                ratings[i, d], counts[i, d] = float(np.mean(clean)), len(clean)
        asked = [query for query in event["queries"] if query["domain"] == "harmlessness"]
        if asked:
            wrapped[i] = float(np.mean([bool(query.get("perturbed")) for query in asked]))
    retrains = [retrained.get(event["step"]) for event in steps]
    return RunSeries(
        ratings,
        counts,
        np.array([-1 if domain is None else DOMAINS.index(domain) for domain in retrains]),
        wrapped,
        folder.name,
    )


def calibrate(runs: Sequence[RunSeries], model: LoopModel | None = None) -> Calibration:
    """Fit the simulator to runs.

    Args:
        runs: At least one; three or more for the held-out error.
        model: What is not fitted.

    Raises:
        DataError: No run has a rated step.
    """
    if not runs or not any(np.isfinite(run.ratings).any() for run in runs):
        raise DataError("no run with rated steps", "name folders of custodes oversee")
    vector, errors, scatter = _fit(runs)
    parameters = dict(zip(NAMES, _natural(vector), strict=True))
    held_out = _held_out(runs) if len(runs) > 2 else {}
    return Calibration(
        replace(model or LoopModel(), **cast(Any, parameters)),
        parameters,
        dict(zip(NAMES, errors.tolist(), strict=True)),
        scatter,
        held_out,
        _control(held_out, len(runs)),
    )


def predicted(vector: Array, run: RunSeries) -> Array:
    """Return the mean ratings that a parameter vector expects of a run; shape (S, 2)."""
    helpful, harmful, gain, tax, fade, drift_helpful, drift_harmful, effect = _natural(vector)
    u = np.array([np.log(helpful / (1 - helpful)), np.log(harmful / (1 - harmful))])
    path, count = np.empty((len(run.retrains), 2)), [0, 0]
    for step, domain in enumerate(run.retrains):
        path[step] = u
        if domain < 0:
            u = u + np.array([drift_helpful, drift_harmful])
            continue
        size = gain * fade ** count[domain]
        u = u + size * np.array([1.0, tax] if domain == 0 else [-tax, -1.0])
        count[domain] += 1
    path[:, 1] += effect * run.wrapped
    mean, _ = level_moments(path, TAU)
    mean[:, 1] = 1 - mean[:, 1]
    return mean


# The vector is unbounded: logits of shares, the rest as it is. Prior means and sds of each.
_MEAN = np.array([0.0, 0.0, 0.5, -1.4, 0.8, 0.0, 0.0, 0.0])
_SD = np.array([2.0, 2.0, 1.0, 1.5, 1.5, 0.1, 0.1, 1.0])


def _natural(vector: Array) -> list[float]:
    shares = 1 / (1 + np.exp(-vector))
    is_share = (0, 1, 3, 4)
    return [float(shares[i] if i in is_share else vector[i]) for i in range(len(NAMES))]


def _fit(runs: Sequence[RunSeries]) -> tuple[Array, Array, float]:
    """Return the vector, standard errors on the natural scale, and the scatter."""
    from scipy.optimize import least_squares

    seen = [np.isfinite(run.ratings) for run in runs]
    counts = np.concatenate([run.counts[s] for run, s in zip(runs, seen, strict=True)])
    target = np.concatenate([run.ratings[s] for run, s in zip(runs, seen, strict=True)])
    scatter = 0.0
    best: Any = None
    # Twice: first as if only sampling scattered, then with the scatter that was seen.
    for _ in range(2):
        weight = 1 / np.sqrt(0.25**2 / counts + scatter**2)

        def residuals(vector: Array, weight: Array = weight) -> Array:
            model = [predicted(vector, run)[s] for run, s in zip(runs, seen, strict=True)]
            return np.concatenate(
                [(np.concatenate(model) - target) * weight, (vector - _MEAN) / _SD]
            )

        best = least_squares(residuals, _MEAN if best is None else best.x, method="lm")
        miss = best.fun[: len(target)] / weight
        scatter = float(np.sqrt(max(0.0, np.mean(miss**2 - 0.25**2 / counts))))
    assert best is not None
    sd = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac)))
    ends = [np.array(_natural(best.x + sign * sd)) for sign in (-1, 1)]
    return best.x, np.abs(ends[1] - ends[0]) / 2, scatter


def _held_out(runs: Sequence[RunSeries]) -> dict[str, float]:
    """Predict each run from the others; root mean square errors over all steps."""
    squares: dict[str, list[Array]] = {"simulator": [], "mean": [], "nothing changes": []}
    for i, run in enumerate(runs):
        others = [other for j, other in enumerate(runs) if j != i]
        vector, _, _ = _fit(others)
        stacked = np.concatenate([other.ratings for other in others])
        first = np.stack([_first_rated(other) for other in others])
        rivals = {
            "simulator": predicted(vector, run),
            "mean": _means(stacked)[None],
            "nothing changes": _means(first)[None],
        }
        seen = np.isfinite(run.ratings)
        for name, expected in rivals.items():
            squares[name].append(((expected - run.ratings)[seen]) ** 2)
    return {name: float(np.sqrt(np.concatenate(each).mean())) for name, each in squares.items()}


def _means(ratings: Array) -> Array:
    """Return the mean of each domain's ratings; NaN where a domain has none. Shape (2,)."""
    rated = [column[np.isfinite(column)] for column in ratings.T]
    return np.array([column.mean() if len(column) else np.nan for column in rated])


def _first_rated(run: RunSeries) -> Array:
    return np.array(
        [next((v for v in run.ratings[:, d] if np.isfinite(v)), np.nan) for d in range(2)]
    )


def _control(held_out: dict[str, float], runs: int) -> Control:
    name = "the simulator predicts unseen runs"
    if not held_out:
        return Control.not_tested(name, f"{runs} runs: at least 3 are needed to leave one out")
    listed = ", ".join(f"{rival} {error:.3f}" for rival, error in held_out.items())
    return Control(
        name,
        held_out["simulator"] < min(held_out["mean"], held_out["nothing changes"]),
        f"root mean square error of a step's mean rating: {listed} (the simulator's must be least)",
        dict(held_out),
    )


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
