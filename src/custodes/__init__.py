"""custodes: a laboratory for language models that train, rate and watch other models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from custodes.version import __version__

if TYPE_CHECKING:
    from custodes.config import load_config
    from custodes.diff.compare import compare
    from custodes.drift.verb import drift
    from custodes.errors import CustodesError
    from custodes.experts.function import expert
    from custodes.experts.heads.head import load_expert
    from custodes.models.formats.export import export
    from custodes.models.resolve import load
    from custodes.oversight.config import OverseeConfig
    from custodes.oversight.run import oversee
    from custodes.report import write_report
    from custodes.runs import read_lineage

__all__ = [
    "CustodesError",
    "OverseeConfig",
    "__version__",
    "compare",
    "drift",
    "expert",
    "export",
    "load",
    "load_config",
    "load_expert",
    "oversee",
    "read_lineage",
    "write_report",
]

# Imported when first used: `custodes --help` must not wait for torch.
_HOME = {
    "CustodesError": "errors",
    "OverseeConfig": "oversight.config",
    "compare": "diff.compare",
    "expert": "experts.function",
    "export": "models.formats.export",
    "load": "models.resolve",
    "load_config": "config",
    "load_expert": "experts.heads.head",
    "oversee": "oversight.run",
    "read_lineage": "runs",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name == "drift":  # the package is the function, whichever is imported first
        return import_module("custodes.drift")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
