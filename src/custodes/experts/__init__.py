"""Experts rate responses in one domain; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from custodes.experts.abstention import require_some
    from custodes.experts.ensemble import EnsembleExpert
    from custodes.experts.function import FunctionExpert
    from custodes.experts.human import HumanExpert
    from custodes.experts.judges.calibration import Calibration
    from custodes.experts.judges.judge import LLMJudge
    from custodes.experts.judges.order_swap import OrderSwap, Preference
    from custodes.experts.judges.template import JudgeTemplate, load_template
    from custodes.experts.null import NullExpert, SimulatedExpert

__all__ = [
    "Calibration",
    "EnsembleExpert",
    "FunctionExpert",
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
    "Calibration": "judges.calibration",
    "EnsembleExpert": "ensemble",
    "FunctionExpert": "function",
    "HumanExpert": "human",
    "JudgeTemplate": "judges.template",
    "LLMJudge": "judges.judge",
    "NullExpert": "null",
    "OrderSwap": "judges.order_swap",
    "Preference": "judges.order_swap",
    "SimulatedExpert": "null",
    "load_template": "judges.template",
    "require_some": "abstention",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
