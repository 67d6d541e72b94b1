"""From a config to roles: what cannot be meant is refused in one line before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from custodes.errors import ConfigError
from custodes.oversight.build import build_roles
from custodes.oversight.config import OverseeConfig
from custodes.progress import silent

DOMAINS = ("helpfulness", "harmlessness")
SIMULATED = [{"kind": "simulated", "domain": domain} for domain in DOMAINS]


def config(**changes: Any) -> OverseeConfig:
    raw = {
        "name": "test",
        "worker": {"model": "simulated"},
        "experts": SIMULATED,
        "teacher": {"kind": "simulated"},
        "gold": {"prompts": 4},
    }
    return OverseeConfig(**{**raw, **changes})


@pytest.mark.parametrize("domain", DOMAINS)
def test_either_of_two_experts_of_one_name_can_be_disturbed(tmp_path: Path, domain: str) -> None:
    flip = {"kind": "flipped_expert", "at": 1, "expert": "simulated", "domain": domain}
    roles = build_roles(config(perturbations=[flip]), tmp_path, silent)
    assert {expert.name for expert in roles.experts.values()} == {"simulated"}
    assert list(roles.schedule.at(1).active) == ["flipped_expert@1"]


@pytest.mark.parametrize(
    "expert",
    [
        {"kind": "head", "head": "harmlessness"},
        {"kind": "ensemble", "members": [{"kind": "head", "head": "harmlessness"}]},
    ],
)
def test_a_head_of_another_domain_is_refused(tmp_path: Path, expert: dict[str, Any]) -> None:
    wrong = config(experts=[{**expert, "domain": "helpfulness"}, SIMULATED[1]])
    with pytest.raises(ConfigError, match="harmlessness rates harmlessness, not helpfulness"):
        build_roles(wrong, tmp_path, silent)


def test_a_gold_head_of_another_domain_is_refused(tmp_path: Path) -> None:
    gold = {"prompts": 4, "experts": {"helpfulness": "harmlessness-gold"}}
    with pytest.raises(ConfigError, match="rates harmlessness, not helpfulness"):
        build_roles(config(gold=gold), tmp_path, silent)


def test_noise_on_weights_that_are_elsewhere_is_refused(tmp_path: Path) -> None:
    noise = {"kind": "weight_noise", "at": 1}
    worker = {"model": "endpoint:m@http://127.0.0.1:9/v1"}
    gold = {"prompts": 4, "experts": dict.fromkeys(DOMAINS, "simulated")}
    wrong = config(worker=worker, perturbations=[noise], gold=gold, teacher={"kind": "null"})
    with pytest.raises(ConfigError, match="weight_noise@1: the Worker's weights are not on this"):
        build_roles(wrong, tmp_path, silent)


@pytest.mark.parametrize("option", ["drift_helpful", "drift_harmful", "step_noise"])
def test_options_that_did_nothing_are_gone(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        config(teacher={"kind": "simulated", "dynamics": {option: 0.1}})
