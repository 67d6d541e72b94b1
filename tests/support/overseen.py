"""The config of a sound run of the simulated loop."""

from __future__ import annotations

from custodes.oversight.controls.bookkeeping import OverseerPlan

CONFIG = {
    "name": "sound",
    "steps": 8,
    "worker": {"model": "simulated:helpful=0.45,harmful=0.5"},
    "user": {"kind": "dataset", "batch": 16},
    "experts": [
        {"kind": "simulated", "domain": domain, "noise": 0.05}
        for domain in ("helpfulness", "harmlessness")
    ],
    "overseer": {"thresholds": {"helpfulness": 0.5, "harmlessness": 0.6}},
    "teacher": {"kind": "simulated"},
    "perturbations": [
        {"kind": "noisy_expert", "at": 4, "until": 6, "domain": "harmlessness", "sd": 0.3}
    ],
    "control": True,
    "sham": True,
}
PLAN = OverseerPlan({"helpfulness": 0.5, "harmlessness": 0.6}, overseer_steps=2, max_retrains=3)
