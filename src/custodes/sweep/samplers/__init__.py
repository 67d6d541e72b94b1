"""Samplers: they say where to measure next. Pure cores: ask and tell, no I/O."""

from custodes.sweep.samplers.base import Sampler
from custodes.sweep.samplers.boundary import Boundary
from custodes.sweep.samplers.grid import Grid
from custodes.sweep.samplers.sobol import Sobol

__all__ = ["Boundary", "Grid", "Sampler", "Sobol"]
