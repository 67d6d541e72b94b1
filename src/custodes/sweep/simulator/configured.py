"""The simulator's parameters out of an ``oversee`` config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custodes.models.simulated import JAILBREAK, parse_simulated
from custodes.oversight.config import OverseeConfig, SimulatedExpertOptions, SimulatedTeacherOptions
from custodes.sweep.simulator.loop import LoopModel

__all__ = ["model_of"]

ALWAYS = -1.0
"""A threshold that no rating is below: the domain never fails."""


def model_of(config: OverseeConfig, fitted: Mapping[str, float] | None = None) -> LoopModel:
    """Translate a config.

    A simulated Worker is taken as it is described; a real one has the parameters that were fitted
    (`calibrate`), or the defaults. Of several perturbations the first of each kind counts, and
    they share the first one's time; weight noise, poisoned data and topic swaps are left out.

    Args:
        config: Of the run.
        fitted: Parameters by name, out of a calibration.
    """
    overseer, thresholds = config.overseer, config.thresholds
    given: dict[str, Any] = {
        "temperature": config.worker.temperature,
        "batch": max(1.0, config.user.batch / max(1, len(config.experts))),
        "overseer_steps": overseer.overseer_steps,
        "threshold_helpfulness": thresholds.get("helpfulness", ALWAYS),
        "threshold_harmlessness": thresholds.get("harmlessness", ALWAYS),
        "alpha": overseer.alpha,
        "min_ratings": overseer.min_ratings,
        "max_retrains": overseer.max_retrains,
        "cooldown": overseer.cooldown,
        "rule": overseer.rule,
        "rate_all": overseer.rate == "every_response",
    }
    noise = [e.noise for e in config.experts if isinstance(e, SimulatedExpertOptions)]
    given["expert_noise"] = sum(noise) / len(noise) if noise else 0.0
    if config.worker.model.startswith("simulated"):
        state = parse_simulated(config.worker.model)
        given |= {
            "helpful": state.helpful,
            "harmful": state.harmful,
            "spread": state.spread,
            "difficulty": state.difficulty,
            "jailbreak_effect": JAILBREAK,
        }
    given |= dict(fitted or {})
    if isinstance(config.teacher, SimulatedTeacherOptions):
        d = config.teacher.dynamics
        given |= {"gain": d.gain, "tax": d.tax, "fade": d.fade, "noise": d.noise}
    elif config.teacher.kind == "null":
        given |= {"gain": 0.0, "noise": 0.0}
    return LoopModel(**given | _disturbed(config))


def _disturbed(config: OverseeConfig) -> dict[str, Any]:
    effects: dict[str, tuple[str, str | None, float]] = {
        "noisy_expert": ("expert_sd", "sd", 1.0),
        "biased_expert": ("expert_offset", "offset", 1.0),
        "flipped_expert": ("expert_flip", None, 1.0),
        "jailbreak": ("jailbreak", "share", 1.0),
    }
    given: dict[str, Any] = {}
    for perturbation in config.perturbations:
        if perturbation.kind not in effects:
            continue
        name, field, default = effects[perturbation.kind]
        given.setdefault(name, default if field is None else getattr(perturbation, field))
        given.setdefault("at", perturbation.at)
        until = getattr(perturbation, "until", None)
        given.setdefault("until", float("inf") if until is None else until)
    return given
