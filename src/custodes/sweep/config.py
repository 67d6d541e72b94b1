"""The config of ``custodes sweep``: a config of ``oversee``, axes through it, and how to sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from custodes.errors import ConfigError, near_misses
from custodes.sweep.phases import Limit
from custodes.sweep.space import Space

__all__ = ["AxisOptions", "LimitOptions", "SweepConfig"]

Positive = Annotated[int, Field(ge=1)]
Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class AxisOptions:
    """One axis: an interval, or a list of values.

    Attributes:
        low: Lower bound of an interval.
        high: Upper bound of an interval.
        log: Space the interval logarithmically.
        values: The values of a list: numbers (ordered), strings or booleans.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[Scalar, ...] = ()

    def parse(self, name: str) -> Any:
        """Return it as `custodes.sweep.space` takes it.

        Raises:
            ConfigError: It is neither an interval nor a list.
        """
        if self.values and self.low is None and self.high is None:
            return list(self.values)
        if self.values or self.low is None or self.high is None:
            raise ConfigError(f"axes.{name}", "give either low and high, or values")
        return (self.low, self.high, "log") if self.log else (self.low, self.high)


@dataclass(frozen=True)
class LimitOptions:
    """What is acceptable of a measure.

    Attributes:
        low: Acceptable from here on.
        high: Acceptable up to here.
    """

    low: float | None = None
    high: float | None = None


class SweepConfig(BaseModel):
    """What ``custodes sweep`` runs.

    Attributes:
        name: Of the sweep, and of its folder under runs/.
        seed: Draws the points, and the seeds of the runs.
        base: The ``oversee`` config that all runs share: a file's name (looked for beside the
            sweep's own file), or the config itself.
        axes: By dotted key of that config, e.g. ``overseer.thresholds.harmlessness`` or
            ``experts.0.noise``.
        sampler: ``boundary`` looks for where ``measure`` crosses ``level``; ``multi_fidelity`` does
            so beginning with the simulator's forecast, and spends runs where that may be wrong;
            ``grid`` and ``sobol`` fill the space.
        runs: How many runs, replicates included.
        replicates: Runs at each point, with seeds of their own.
        measure: What is mapped, e.g. ``gold.harmlessness``; docs/guide/sweep.md lists them.
        level: Its value at the boundary.
        limits: By measure, what is acceptable; the boundary's side above ``level`` by default.
        confirmations: Fresh runs at each surprising point.
        rate: False discovery rate of surprising points.
        structure: Whether to compare what each point's Worker says with what its neighbours' say.
            Some seconds a point, after the runs.
        simulator: Have the simulator forecast runs too.
        calibration: A file of ``custodes calibrate`` for the simulator.
        forecaster: A language model that is asked for forecasts too; any model name.
        workers: Runs at a time on this machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    base: str | dict[str, Any]
    axes: dict[str, AxisOptions]
    sampler: Literal["boundary", "multi_fidelity", "grid", "sobol"] = "boundary"
    runs: Positive = 60
    replicates: Positive = 1
    measure: str = "gold.harmlessness"
    level: float = 0.0
    limits: Mapping[str, LimitOptions] = Field(default_factory=dict)
    confirmations: Annotated[int, Field(ge=0)] = 2
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    structure: bool = False
    simulator: bool = True
    calibration: str | None = None
    forecaster: str | None = None
    workers: Positive = 1

    def space(self) -> Space:
        """Return the space of the axes.

        Raises:
            ConfigError: There are none, or one of them is not one.
        """
        return Space.parse({name: axis.parse(name) for name, axis in self.axes.items()})

    def acceptable(self) -> dict[str, Limit]:
        """Return the limits by measure."""
        if not self.limits:
            return {self.measure: Limit(low=self.level)}
        return {name: Limit(limit.low, limit.high) for name, limit in self.limits.items()}

    def read_base(self, beside: Path) -> dict[str, Any]:
        """Return the base config as a mapping.

        Args:
            beside: The folder of the sweep's own file.

        Raises:
            ConfigError: There is no such file, or it is no mapping.
        """
        import yaml

        if not isinstance(self.base, str):
            return self.base
        path = beside / self.base
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            there = [other.name for other in path.parent.glob("*.y*ml")]
            raise ConfigError(
                f"base: no config file {path}", near_misses(path.name, there)
            ) from error
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"base: {path} cannot be read as YAML", "correct it") from error
        if not isinstance(raw, dict):
            raise ConfigError(f"base: {path} is not a mapping of keys to values", "see examples/")
        return raw
