"""Who forecasts a run before it starts: the surrogate, the simulator, a language model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError
from custodes.oversight.config import OverseeConfig
from custodes.seeds import derive
from custodes.sweep.phases import pooled_sd
from custodes.sweep.samplers.base import History
from custodes.sweep.samplers.sobol import sobol_units
from custodes.sweep.simulator.configured import model_of
from custodes.sweep.simulator.loop import simulate
from custodes.sweep.space import Point, Space
from custodes.sweep.surprise import FEWEST, Forecast
from custodes.sweep.surrogate import Surrogate, fit_surrogate

__all__ = ["ask_model", "emulator", "from_simulator", "parse_forecast", "surrogate_forecasts"]

Array: TypeAlias = NDArray[np.float64]

MOST = 300
"""The surrogate of a forecast is fitted to at most so many runs, drawn at random."""
LOOPS = 64
"""Loops that the simulator runs for one forecast."""
EMULATED = 192
"""Points whose forecasts stand for the simulator's everywhere."""
SHOWN = 30
"""Earlier runs that a language model is shown."""


def forecast_surrogate(history: History, seed: int) -> Surrogate | None:
    """Fit a surrogate to the runs so far; None where they are fewer than 8."""
    n = len(history.points)
    if n < FEWEST:
        return None
    rows = np.arange(n)
    if n > MOST:
        rows = np.random.default_rng(derive(seed, "forecast", n)).choice(n, MOST, replace=False)
    points = [history.points[i] for i in rows]
    return fit_surrogate(
        history.space, history.space.encode(points), history.values[rows], history.variances[rows]
    )


def surrogate_forecasts(
    surrogate: Surrogate, history: History, points: Sequence[Mapping[str, Any]]
) -> list[Forecast]:
    """Forecast runs at points: the landscape's uncertainty, and the noise of a run."""
    predicted = surrogate.predict(points)
    known = history.variances[np.isfinite(history.variances)]
    noise = surrogate.noise_sd**2 + (float(np.median(known)) if len(known) else 0.0)
    return [
        Forecast("surrogate", float(mean), math.sqrt(sd**2 + noise))
        for mean, sd in zip(predicted.mean, predicted.sd, strict=True)
    ]


def from_simulator(
    config: OverseeConfig, measure: str, fitted: Mapping[str, float] | None, seed: int
) -> Forecast | None:
    """Forecast a run by the simulator; None of a measure that it has not.

    It has ``gold.DOMAIN`` of a simulated Worker, ``rating.DOMAIN`` and ``retrains``.
    """
    kind, _, domain = measure.partition(".")
    column = {"helpfulness": 0, "harmlessness": 1}.get(domain)
    simulated = config.worker.model.startswith("simulated")
    if not (simulated or fitted):
        # A real Worker that nothing was fitted to: the defaults are nobody's forecast.
        return None
    runs = simulate(model_of(config, fitted), config.steps, loops=LOOPS, seed=seed)
    noise = 0.0
    if kind == "gold" and column is not None and simulated:
        values = runs.gold[:, -1, column]
        noise = 1.0 / math.sqrt(config.gold.prompts)
    elif kind == "rating" and column is not None:
        values = runs.ratings[:, config.steps // 2 :, column].mean(axis=1)
    elif measure == "retrains":
        values = (runs.retrains >= 0).sum(axis=1).astype(float)
    else:
        return None
    spread = pooled_sd([values.tolist()]).sd
    return Forecast("simulator", float(values.mean()), max(1e-3, math.hypot(spread, noise)))


def emulator(
    space: Space,
    forecast: Callable[[Point], Forecast | None] | None,
    measure: str,
    seed: int,
) -> Callable[[Sequence[Point]], Array]:
    """Return the simulator's expectation anywhere in a space, read from some of its forecasts.

    Args:
        space: Where.
        forecast: The simulator's forecast of one point, if there is a simulator.
        measure: What is forecast, for the message.
        seed: Draws the points that are simulated.

    Raises:
        ConfigError: The simulator has no forecast of this measure.
    """
    points = space.from_unit(sobol_units(len(space.axes), EMULATED, derive(seed, "emulator")))
    points = list({space.key(point): point for point in points}.values())
    told = [None if forecast is None else forecast(point) for point in points]
    if any(one is None for one in told):
        raise ConfigError(
            f"multi_fidelity: the simulator has no forecast of {measure}",
            "give a calibration and map rating.DOMAIN or retrains, or take the sampler boundary",
        )
    means = np.array([one.mean for one in told if one is not None])
    surrogate = fit_surrogate(space, space.encode(points), means)
    return lambda asked: surrogate.predict(asked).mean


def ask_model(
    name: str, measure: str, point: Mapping[str, Any], history: History, seed: int
) -> Forecast | None:
    """Ask a language model for a forecast; None where its reply has none.

    Args:
        name: Any model name.
        measure: What is forecast.
        point: Where.
        history: The runs so far, of which it is shown the last 30.
        seed: Of its sampling.
    """
    from custodes.models import Sampling
    from custodes.models.resolve import load

    recent = list(zip(history.points, history.values, strict=True))[-SHOWN:]
    shown = "\n".join(f"{_written(known)}: {value:.3f}" for known, value in recent)
    question = (
        "A language model is supervised: experts rate its answers, and it is retrained when "
        f"ratings are low. Runs so far, with settings and the outcome '{measure}':\n{shown or '-'}"
        f"\n\nForecast the outcome for: {_written(point)}\n"
        "Reply with one line: mean=NUMBER sd=NUMBER"
    )
    sampling = Sampling(max_tokens=32, temperature=0.0, seed=seed)
    reply = load(name).generate([[{"role": "user", "content": question}]], sampling)
    return parse_forecast(reply[0][0])


_REPLY = re.compile(
    r"\s*mean\s*=\s*(-?[0-9.]+(?:e-?[0-9]+)?)[\s,;]+sd\s*=\s*([0-9.]+(?:e-?[0-9]+)?)\s*"
)


def parse_forecast(reply: str) -> Forecast | None:
    """Read ``mean=NUMBER sd=NUMBER`` as the first line of a reply, and nothing else."""
    lines = reply.strip().splitlines()
    match = _REPLY.fullmatch(lines[0]) if lines else None
    if match is None:
        return None
    try:
        mean, sd = float(match[1]), float(match[2])
    except ValueError:
        return None
    return Forecast("llm", mean, sd) if math.isfinite(mean) and 0 < sd < math.inf else None


def _written(point: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in point.items()
    )
