"""``sweep``: many runs of ``oversee`` over a space, from a config to a map.

The log has two events for each run: ``run``, written before the run starts, with its point, its
seed and what was forecast of it; and ``outcome`` or ``failure``. Everything else is rebuilt from
these, so that a sweep that was killed goes on: runs without an outcome are started again (their own
folders resume), and the sampler is told what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from custodes.errors import ConfigError, RunError
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.seeds import derive
from custodes.sweep import outcome as runs
from custodes.sweep.config import SweepConfig
from custodes.sweep.executors import LocalExecutor, lost_worker
from custodes.sweep.forecasts import (
    ask_model,
    emulator,
    forecast_surrogate,
    from_simulator,
    surrogate_forecasts,
)
from custodes.sweep.output import build, write_output
from custodes.sweep.samplers import Boundary, Grid, Sampler, Sobol
from custodes.sweep.samplers.base import History
from custodes.sweep.space import Point, Space
from custodes.sweep.structure import structure_of
from custodes.sweep.surprise import Forecast, Surprise
from custodes.sweep.surrogate import Surrogate

__all__ = ["make_sampler", "run_sweep"]

Execute: TypeAlias = Callable[[Mapping[str, Any], str], runs.Outcome]

REFIT = 1.1
"""The forecasts' surrogate is fitted again when the runs have grown by this factor."""
BATCH = 16
"""Grid and Sobol points are asked for, and forecast, so many at a time at most."""


def run_sweep(
    config: SweepConfig,
    folder: Path,
    *,
    beside: Path = Path(),
    executor: Executor | None = None,
    at_once: int | None = None,
    progress: Progress = silent,
    execute: Execute = runs.execute,
) -> dict[str, Any]:
    """Run a sweep in a folder, or go on with the one that is there.

    Args:
        config: What to sweep.
        folder: Where; made if it is not there. Each run has a folder in its ``runs``.
        beside: The folder that the base config's file name starts from.
        executor: Runs the runs; processes on this machine by default.
        at_once: Runs in flight; ``config.workers`` by default.
        progress: Told what is going on.
        execute: Does one run; has to be importable by the executor's processes.

    Returns:
        What is in ``phases.json`` (docs/guide/sweep.md has its keys).

    Raises:
        CustodesError: Whatever a user can mend, in one line; what was done is kept.
    """
    base = config.read_base(beside)
    space = config.space()
    runs.check_axes(base, _corners(space))
    settings = config.model_dump(mode="json") | {"base": base}
    own = executor is None
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        pool = LocalExecutor(config.workers) if executor is None else executor
        driver = _Driver(config, base, space, run, pool, execute, progress)
        finished = False
        try:
            driver.go(at_once or config.workers)
            finished = True
        finally:
            if own:
                pool.shutdown(wait=finished, cancel_futures=True)
            # Also of a sweep that was interrupted: what it has is worth looking at.
            result = build(config, space, run.log.events, driver.surprises())
            write_output(folder, result)
        if config.structure:
            seed = derive(config.seed, "structure")
            found = structure_of(result, folder, rate=config.rate, seed=seed, progress=progress)
            result["structure"] = [row.to_dict() for row in found]
            write_output(folder, result)
    return result


def make_sampler(
    config: SweepConfig, space: Space, forecast: Callable[[Point], Forecast | None] | None = None
) -> Sampler:
    """Return the sampler that a config names.

    Args:
        config: Of the sweep.
        space: Its axes.
        forecast: The simulator's forecast of a point, for ``multi_fidelity``.

    Raises:
        ConfigError: The simulator has no forecast of the measure.
    """
    seed = derive(config.seed, "sampler")
    if config.sampler == "boundary":
        return Boundary(space, level=config.level, seed=seed)
    if config.sampler == "multi_fidelity":
        prior = emulator(space, forecast, config.measure, seed)
        return Boundary(space, level=config.level, seed=seed, prior=prior)
    if config.sampler == "sobol":
        return Sobol(space, seed=seed)
    points = max(1, config.runs // config.replicates)
    levels = 2
    while len(Grid(space, levels=levels + 1)) <= points and levels < points:
        levels += 1
    return Grid(space, levels=levels)


class _Driver:
    """Keeps runs in flight, and the log."""

    def __init__(
        self,
        config: SweepConfig,
        base: Mapping[str, Any],
        space: Space,
        run: RunFolder,
        pool: Executor,
        execute: Execute,
        progress: Progress,
    ) -> None:
        self.config, self.base, self.space, self.run = config, base, space, run
        self.pool, self.execute, self.progress = pool, execute, progress
        self._simulated: dict[tuple[Any, ...], Forecast | None] = {}
        self._calibration = _read_calibration(config)
        self.sampler = make_sampler(config, space, self.simulated)
        self.known: dict[int, dict[str, Any]] = {}
        self.done: set[int] = set()
        self.mapped = 0
        self.failed = 0
        self.flying: dict[Future[Any], int] = {}
        self._fitted: tuple[int, Surrogate | None] = (0, None)
        self._surprises: tuple[int, list[Surprise]] | None = None
        self.replay()

    # The log

    def replay(self) -> None:
        """Go through what an earlier process logged."""
        for event in self.run.log.events:
            if event["kind"] == "run":
                self.known[event["run"]] = event
                self.mapped += _maps(event)
        asked = [e["point"] for e in self.known.values() if not e["replicate"] and _maps(e)]
        self.sampler.skip(asked)
        for event in self.run.log.events:
            if event["kind"] == "outcome":
                self.take(event["run"], event["outcome"])
            elif event["kind"] == "failure":
                self.give_up(event["run"])
        extra = [e["point"] for i, e in self.known.items() if i in self.done and e["replicate"]]
        self.sampler.withdraw(extra)

    def register(self, point: Point, replicate: int, purpose: str, told: Sequence[Forecast]) -> int:
        """Log a run and what is forecast of it, before it starts."""
        number = len(self.known)
        # By number, and not by point: a point that comes again is a replicate.
        seed = derive(self.config.seed, "run", number)
        self.known[number] = self.run.log.append(
            "run",
            run=number,
            point=point,
            replicate=replicate,
            purpose=purpose,
            seed=seed,
            forecasts=[asdict(forecast) for forecast in told],
        )
        self.mapped += _maps(self.known[number])
        return number

    def take(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Tell the sampler an outcome; runs that confirm are not part of the map."""
        self.done.add(number)
        event = self.known[number]
        value, sd = runs.pick(outcome, self.config.measure)
        if _maps(event):
            self.sampler.tell([event["point"]], [value], None if not sd else [sd])

    def give_up(self, number: int) -> None:
        """Count a failed run."""
        self.done.add(number)
        self.failed += 1
        if _maps(self.known[number]):
            self.sampler.withdraw([self.known[number]["point"]])

    # Forecasts

    @property
    def history(self) -> History:
        history = getattr(self.sampler, "history", None)
        assert isinstance(history, History)
        return history

    def forecasts(self, points: Sequence[Point]) -> list[list[Forecast]]:
        """Forecast runs at points, by everybody who can."""
        told = len(self.history.points)
        if told >= max(self._fitted[0] + 1, REFIT * self._fitted[0]):
            self._fitted = (told, forecast_surrogate(self.history, self.config.seed))
        found: list[list[Forecast]] = [[] for _ in points]
        if self._fitted[1] is not None:
            for i, one in enumerate(surrogate_forecasts(self._fitted[1], self.history, points)):
                found[i].append(one)
        for i, point in enumerate(points):
            for other in (self.simulated(point), self.asked(point)):
                if other is not None:
                    found[i].append(other)
        return found

    def simulated(self, point: Point) -> Forecast | None:
        """Return the simulator's forecast."""
        if not self.config.simulator:
            return None
        key = self.space.key(point)
        if key not in self._simulated:
            settings = runs.config_at(self.base, point, 0, "forecast")
            seed = derive(self.config.seed, "simulator")
            self._simulated[key] = from_simulator(
                settings, self.config.measure, self._calibration, seed
            )
        return self._simulated[key]

    def asked(self, point: Point) -> Forecast | None:
        """Return a language model's forecast."""
        name = self.config.forecaster
        if name is None:
            return None
        return ask_model(name, self.config.measure, point, self.history, self.config.seed)

    # Running

    def go(self, at_once: int) -> None:
        """Run the map, then fresh runs at what was surprising."""
        for number in [n for n in self.known if n not in self.done]:
            self.submit(number)
        while True:
            self.fill(at_once)
            self.tell_progress()
            if not self.flying:
                break
            self.collect()
        confirmed = {
            (self.space.key(e["point"]), e["replicate"])
            for e in self.known.values()
            if not _maps(e)
        }
        for surprise in self.surprises():
            if surprise.flagged:
                for replicate in range(self.config.confirmations):
                    if (self.space.key(surprise.point), replicate) not in confirmed:
                        told = Forecast("map", surprise.expected, surprise.sd)
                        self.submit(
                            self.register(surprise.point, replicate, "confirmation", [told])
                        )
        while self.flying:
            self.tell_progress()
            self.collect()
        self.tell_progress()
        if not any(self.run.log.of("end")):
            self.run.log.append("end", runs=len(self.known), failed=self.failed)

    def fill(self, at_once: int) -> None:
        """Start as many runs of the map as there is room and budget for."""
        room = min(at_once - len(self.flying), self.config.runs - self.mapped)
        if room <= 0:
            return
        points = self.sampler.ask(max(1, min(room // self.config.replicates, BATCH)))
        for point, told in zip(points, self.forecasts(points), strict=True):
            left = self.config.runs - self.mapped
            for replicate in range(min(self.config.replicates, left)):
                self.submit(self.register(point, replicate, "map", told))

    def submit(self, number: int) -> None:
        """Start a run."""
        event = self.known[number]
        name = f"run-{number:05d}"
        settings = runs.config_at(self.base, event["point"], event["seed"], name)
        folder = (self.run.path / "runs" / f"{number:05d}").resolve()
        future = self.pool.submit(self.execute, settings.model_dump(mode="json"), str(folder))
        self.flying[future] = number

    def collect(self) -> None:
        """Wait for a run, and log what came of it."""
        finished, _ = wait(list(self.flying), return_when=FIRST_COMPLETED)
        for future in finished:
            number = self.flying.pop(future)
            try:
                outcome = future.result()
                runs.pick(outcome, self.config.measure)
            except ConfigError:
                self.run.log.append("outcome", run=number, outcome=outcome)
                raise
            except CancelledError as error:
                raise RunError(
                    "the scheduler went away", "start it and run the same command again"
                ) from error
            except Exception as error:
                why = lost_worker(error) if _killed(error) else error
                self.run.log.append("failure", run=number, reason=runs.reason(why))
                self.give_up(number)
                continue
            event = self.run.log.append("outcome", run=number, outcome=outcome)
            self.take(number, event["outcome"])

    def tell_progress(self) -> None:
        """Say how far it is."""
        done, failed = len(self.done), self.failed
        total = max(self.config.runs, len(self.known))
        running = f"runs; {len(self.flying)} running"
        self.progress(f"{running}, {failed} failed" if failed else running, done, total)

    # Surprise

    def surprises(self) -> list[Surprise]:
        """Hold each point of the map against the others."""
        from custodes.sweep.surprise import surprises

        history = self.history
        if self._surprises is None or self._surprises[0] != len(history.points):
            sd = history.variances**0.5
            found = surprises(
                self.space,
                history.points,
                history.values.tolist(),
                sd.tolist() if len(sd) and np.isfinite(sd).all() else None,
                rate=self.config.rate,
                seed=derive(self.config.seed, "surprise"),
            )
            self._surprises = (len(history.points), found)
        return self._surprises[1]


def _maps(event: Mapping[str, Any]) -> bool:
    return bool(event["purpose"] == "map")


def _killed(error: BaseException) -> bool:
    return type(error).__name__ == "KilledWorker"


def _corners(space: Space) -> list[Point]:
    """Return points that hold every bound and every value of a list at least once."""
    ends = [axis.levels(2) for axis in space.axes]
    longest = max(len(values) for values in ends)
    names = space.names
    return [
        dict(zip(names, (values[i % len(values)] for values in ends), strict=True))
        for i in range(longest)
    ]


def _read_calibration(config: SweepConfig) -> dict[str, float] | None:
    import json

    if config.calibration is None:
        return None
    try:
        parameters = json.loads(Path(config.calibration).read_bytes())["parameters"]
        return {str(name): float(value) for name, value in parameters.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"calibration: {config.calibration} cannot be read", "write it with custodes calibrate"
        ) from error
