"""What a loop does over time: recovery, collapse, oscillation, hysteresis, early-warning signs."""

from custodes.sweep.dynamics.early_warning import EarlyWarning, early_warning
from custodes.sweep.dynamics.loops import last_worker, walk_runs, walk_simulator
from custodes.sweep.dynamics.measures import (
    Hysteresis,
    Oscillation,
    RecoveryTime,
    collapse,
    hysteresis,
    oscillation,
    recovery_time,
    walk,
)

__all__ = [
    "EarlyWarning",
    "Hysteresis",
    "Oscillation",
    "RecoveryTime",
    "collapse",
    "early_warning",
    "hysteresis",
    "last_worker",
    "oscillation",
    "recovery_time",
    "walk",
    "walk_runs",
    "walk_simulator",
]
