"""Drift: how a lineage of models moves away from its first generation.

The package is also a function, since ``custodes.drift`` is the verb: ``custodes.drift("runs/demo",
out="runs/demo-drift")``. See `custodes.drift.verb.drift`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from custodes.drift.lineage import Drift


class _Verb(ModuleType):
    def __call__(self, *sources: Any, **options: Any) -> Drift:
        from custodes.drift.verb import drift

        return drift(*sources, **options)


sys.modules[__name__].__class__ = _Verb
