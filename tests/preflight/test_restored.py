"""A trainer with a preflight before it trains exactly as one without, bit for bit."""

import json
import os
import random

import numpy as np
import pytest
import torch

from custodes.preflight import check
from custodes.preflight.measure.checksum import checksum
from custodes.preflight.measure.snapshot import Snapshot
from custodes.preflight.plants.tiny import demonstrations, tiny_model
from custodes.preflight.plants.trainers import KINDS, build, lora, quiet

SETTINGS = [
    *[(kind, {}) for kind in KINDS],
    ("sft", {"peft_config": lambda: lora(lora_dropout=0.1)}),
    ("dpo", {"peft_config": lora}),
    ("grpo", {"peft_config": lora}),
    ("sft", {"options": lambda: {"gradient_checkpointing": True, "bf16": True}}),
    (
        "sft",
        {
            "options": lambda: {"packing": True, "max_length": 64},
            "data": lambda: demonstrations("text", 64),
        },
    ),
]


def hooks(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )


def trained(kind, settings, folder, *, preflight):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    with quiet():
        trainer = build(kind, folder, **{k: v() for k, v in settings.items()})
    if preflight:
        before = hooks(trainer.model), sorted(os.walk(folder)), set(vars(trainer))
        report = check(trainer)
        assert report["trainer-unchanged"].passed
        assert (hooks(trainer.model), sorted(os.walk(folder)), set(vars(trainer))) == before
    with quiet():
        trainer.train()
    logs = [
        {k: v for k, v in log.items() if "time" not in k and "per_second" not in k}
        for log in trainer.state.log_history
    ]
    weights = {n: checksum(p) for n, p in trainer.model.named_parameters()}
    randoms = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    return weights, json.dumps(logs), randoms


@pytest.mark.parametrize(
    ("kind", "settings"),
    SETTINGS,
    ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain",
)
def test_the_same_training_with_and_without(tmp_path, kind, settings):
    without = trained(kind, settings, tmp_path / "a", preflight=False)
    with_it = trained(kind, settings, tmp_path / "b", preflight=True)
    assert without[0] == with_it[0]
    assert without[1] == with_it[1]
    assert without[2] == with_it[2]


def test_an_optimizer_of_the_users_keeps_its_state(tmp_path):
    model = tiny_model(tmp_path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    state = {k: {n: v.clone() for n, v in s.items()} for k, s in optimizer.state.items()}
    with quiet():
        trainer = build("sft", tmp_path, model=model, optimizers=(optimizer, None))
    check(trainer)
    assert all(
        torch.equal(optimizer.state[k][n], v) for k, s in state.items() for n, v in s.items()
    )
    assert optimizer.param_groups[0]["lr"] == 1e-4
    assert trainer.lr_scheduler is None


def test_a_reward_function_keeps_its_own_state(tmp_path):
    calls = [0]
    seen = {"longest": ""}

    def counting(completions, **_):
        calls[0] += 1
        seen["longest"] = "changed"
        return [float(len(c)) for c in completions]

    with quiet():
        trainer = build("grpo", tmp_path, reward_funcs=counting)
    report = check(trainer, only=["reward"])
    assert report["reward-works"].passed
    assert calls == [0]
    assert seen == {"longest": ""}


def test_a_change_that_was_not_put_back_is_seen():
    class Holder:
        weight = torch.nn.Parameter(torch.ones(3))

    holder = Holder()
    holder.own = torch.nn.Parameter(torch.ones(3))
    holder.words = ["a", {"b": 1}]
    snapshot = Snapshot([holder])
    with torch.no_grad():
        holder.own.add_(1e-7)
    holder.words[1]["b"] = 2
    holder.words.append("c")
    torch.rand(1)
    assert len(snapshot.differences()) == 2
    snapshot.restore()
    assert snapshot.differences() == []
    assert holder.words == ["a", {"b": 1}]


def test_checksum_sees_every_bit_and_the_order():
    ones = torch.zeros(1000)
    assert checksum(ones) != checksum(-ones)
    ramp = torch.arange(1000.0)
    assert checksum(ramp) != checksum(ramp.flip(0))
