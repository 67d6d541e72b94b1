"""Experts rate responses in one domain; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from custodes.experts.abstention import require_some
    from custodes.experts.calibration import Calibration
    from custodes.experts.ensemble import EnsembleExpert
    from custodes.experts.human import HumanExpert
    from custodes.experts.judge import LLMJudge
    from custodes.experts.null import NullExpert, SimulatedExpert
    from custodes.experts.order_swap import OrderSwap, Preference
    from custodes.experts.template import JudgeTemplate, load_template

__all__ = [
    "Calibration",
    "EnsembleExpert",
    "HumanExpert",
    "JudgeTemplate",
    "LLMJudge",
    "NullExpert",
    "OrderSwap",
    "Preference",
    "SimulatedExpert",
    "load_template",
    "require_some",
]

_HOME = {
    "Calibration": "calibration",
    "EnsembleExpert": "ensemble",
    "HumanExpert": "human",
    "JudgeTemplate": "template",
    "LLMJudge": "judge",
    "NullExpert": "null",
    "OrderSwap": "order_swap",
    "Preference": "order_swap",
    "SimulatedExpert": "null",
    "load_template": "template",
    "require_some": "abstention",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
