"""The mean-field simulator of the loop, and how it is fitted to real runs."""

from custodes.sweep.simulator.calibrate import Calibration, RunSeries, calibrate, read_series
from custodes.sweep.simulator.loop import LoopModel, Trajectories, level_moments, simulate

__all__ = [
    "Calibration",
    "LoopModel",
    "RunSeries",
    "Trajectories",
    "calibrate",
    "level_moments",
    "read_series",
    "simulate",
]
