"""The reward model: it learns what pairs say, beside twins that cannot, and its controls go red."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custodes.conversation import PreferencePair, user_chat
from custodes.errors import DataError, ModelError, RunError
from custodes.training.lora import LoraOptions
from custodes.training.reward import RewardOptions, RewardPair, fit_reward, load_reward
from custodes.training.reward import fit as fit_module
from custodes.training.reward.checks import invariance_control, reload_control
from custodes.training.reward.fit import pair_loss
from custodes.training.reward.measure import calibrate, held_out_accuracy, temperature
from custodes.training.reward.model import start_reward
from custodes.training.reward.pairs import labels_control, reward_pairs, split_by_prompt

QUICK = RewardOptions(batch=8, learning_rate=5e-3, shuffled_twin="frozen", lora=LoraOptions(4, 8.0))
WORDS = ["flour", "water", "sea", "bread", "fox", "dog"]


def planted(n: int, seed: int = 0) -> list[RewardPair]:
    """Polite answers are preferred; lengths and positions say nothing."""
    rng = random.Random(seed)

    def words() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 5)))

    return [
        RewardPair(
            f"pair-{i}",
            tuple(user_chat(f"Question {i // 2}?")),
            words() + " thank you",
            words() + " sorry no",
            shown_first=i % 2 == 0,
        )
        for i in range(n)
    ]


def status(controls: Any) -> dict[str, bool | None]:
    return {control.name: control.passed for control in controls}


@pytest.fixture(scope="module")
def fitted(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("reward")
    settings = replace(QUICK, shuffled_twin="trained")
    return fit_reward(planted(60), str(tiny_model_dir), folder, settings)


def test_it_learns_what_its_twins_cannot(fitted: Any) -> None:
    assert fitted.accuracy.mean > 0.9
    assert fitted.twins["length"].mean < 0.8
    assert fitted.twins["shuffled"].mean < 0.8
    assert set(status(fitted.controls).values()) == {True}
    assert fitted.pairs == {"trained": 48, "held_out": 12, "dropped": 0}
    json.dumps(fitted.metrics(), allow_nan=False)


def test_scores_are_between_0_and_1_around_the_average(fitted: Any) -> None:
    pairs = planted(60)
    prompts = [pair.prompt for pair in pairs]
    good = fitted.model.score(prompts, [pair.chosen for pair in pairs])
    bad = fitted.model.score(prompts, [pair.rejected for pair in pairs])
    assert 0 <= bad.mean() < 0.5 < good.mean() <= 1
    assert fitted.model(prompts[:3], ["", "a", "b" * 3000]) != []
    assert fitted.model([], []) == []


def test_it_reloads_to_the_same_bits_and_is_not_fitted_again(
    fitted: Any, tiny_model_dir: Path
) -> None:
    pairs = planted(60)
    prompts, answers = [p.prompt for p in pairs[:9]], [p.chosen for p in pairs[:9]]
    again = load_reward(fitted.folder)
    assert np.array_equal(again.score(prompts, answers), fitted.model.score(prompts, answers))
    settings = replace(QUICK, shuffled_twin="trained")
    told: list[str] = []
    finished = fit_reward(
        pairs,
        str(tiny_model_dir),
        fitted.folder,
        settings,
        progress=lambda task, *_: told.append(task),
    )
    assert not told
    assert finished.metrics() == fitted.metrics()
    with pytest.raises(RunError, match="of other pairs or settings"):
        fit_reward(pairs[:50], str(tiny_model_dir), fitted.folder, settings)
    with pytest.raises(ModelError, match="there is no reward model"):
        load_reward(fitted.folder / "adapter")


def test_shuffled_labels_teach_nothing_and_are_caught(tiny_model_dir: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    pairs = [
        replace(p, chosen=p.rejected, rejected=p.chosen) if rng.random() < 0.5 else p
        for p in planted(60)
    ]
    result = fit_reward(pairs, str(tiny_model_dir), tmp_path, QUICK)
    assert result.accuracy.low < 0.7
    found = status(result.controls)
    assert not (
        found["reward model beats its length twin"]
        and found["reward model beats its shuffled twin"]
    )


def test_fewer_layers_and_a_parent_adapter(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    short = replace(QUICK, layers=1, shuffled_twin="off")
    result = fit_reward(planted(24), str(tiny_model_dir), tmp_path / "short", short)
    found = {c.name: c for c in result.controls}
    assert found["reward model beats its shuffled twin"].passed is None
    assert load_reward(tmp_path / "short").lora.model.config.num_hidden_layers == 1
    result = fit_reward(planted(24), str(tiny_adapter_dir), tmp_path / "adapter", QUICK)
    assert result.model.base == str(tiny_model_dir)
    pairs = planted(4)
    args = [p.prompt for p in pairs], [p.chosen for p in pairs]
    assert np.array_equal(load_reward(tmp_path / "adapter").score(*args), result.model.score(*args))
    with pytest.raises(ModelError, match="has 2 layers, not 9"):
        start_reward(str(tiny_model_dir), layers=9, max_length=64, lora=LoraOptions(), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": "same", "rejected": "same"}, r"pair 2 \(pair-2\) has the same answer twice"),
        ({"probability": 1.2}, r"pair 2 \(pair-2\) has probability 1.2"),
        ({"probability": math.nan}, "has probability nan"),
        ({"margin": -1.0}, "has margin -1.0"),
    ],
)
def test_malformed_pairs_are_named(change: dict[str, Any], message: str) -> None:
    pairs: list[PreferencePair] = list(planted(4))
    pairs[2] = replace(pairs[2], **change)
    with pytest.raises(DataError, match=message):
        reward_pairs(pairs)


def test_too_few_pairs_are_named() -> None:
    with pytest.raises(DataError, match="there are no preference pairs"):
        reward_pairs([])
    with pytest.raises(DataError, match="3 prompts: accuracy by prompt needs 4"):
        split_by_prompt(planted(6), 0.2, 0)


def test_plain_pairs_are_as_sure_as_their_annotators() -> None:
    plain = PreferencePair("a", tuple(user_chat("Q")), "x", "y")
    pairs = reward_pairs([plain, replace(plain, agreement=0.75)])
    assert [pair.probability for pair in pairs] == [1.0, 0.75]
    assert (pairs[0].margin, pairs[0].shown_first) == (0.0, None)


def test_no_prompt_is_on_both_sides() -> None:
    pairs = planted(60)
    train, held = split_by_prompt(pairs, 0.2, 0)
    sides = [{pairs[i].prompt[-1]["content"] for i in side} for side in (train, held)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 6
    assert sorted(train + held) == list(range(60))


def test_the_loss_by_hand() -> None:
    def loss(d: float, p: float, m: float) -> float:
        return float(pair_loss(*(torch.tensor([float(x)]) for x in (d, p, m))))

    assert loss(0, 1, 0) == pytest.approx(math.log(2))
    assert loss(0, 0.5, 0) == pytest.approx(math.log(2))
    assert loss(2, 1, 0) == pytest.approx(math.log(1 + math.exp(-2)))
    # A margin asks for more of the difference; the label 0 turns the pair round.
    assert loss(2, 1, 1) == pytest.approx(math.log(1 + math.exp(-1)))
    assert loss(2, 0, 0) == pytest.approx(math.log(1 + math.exp(2)))
    assert loss(1, 0.8, 0) == pytest.approx(
        0.8 * math.log(1 + math.exp(-1)) + 0.2 * math.log(1 + math.e)
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p, i: replace(p, shown_first=True), "one position"),
        (lambda p, i: replace(p, chosen=p.rejected + " and more"), "one length"),
        (lambda p, i: replace(p, chosen="I cannot help."), "one text"),
        (lambda p, i: replace(p, probability=0.5), "no opinion"),
        (lambda p, i: p, ""),
    ],
)
def test_labels_all_one_way_are_caught(damage: Any, reason: str) -> None:
    control = labels_control([damage(pair, i) for i, pair in enumerate(planted(40))])
    assert control.passed is (not reason)
    assert reason in control.explanation


def test_a_score_read_at_padding_is_caught(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from custodes.training.reward import model as module

    pairs = planted(10)
    args = [p.prompt for p in pairs], [p.chosen for p in pairs]
    assert invariance_control(fitted.model, *args).passed
    right = module.pack

    def at_the_end(sequences: Any, device: Any) -> Any:
        packed = right(sequences, device)
        columns = torch.full_like(packed.columns, packed.ids.shape[1] - 1)
        return replace(packed, columns=columns)

    monkeypatch.setattr(module, "pack", at_the_end)
    assert invariance_control(fitted.model, *args).passed is False


def test_rounding_of_another_attention_is_no_alarm(tiny_model_dir: Path) -> None:
    """Scores of an untrained model hardly spread: beside them bf16 of another kernel is much."""
    model = start_reward(
        str(tiny_model_dir), layers=0, max_length=64, lora=LoraOptions(rank=4), seed=0
    )
    pairs = planted(10)
    control = invariance_control(model, [p.prompt for p in pairs], [p.chosen for p in pairs])
    assert max(control.figures.values()) < 1e-3


def test_another_adapter_on_disk_is_caught(fitted: Any) -> None:
    weight = fitted.model.lora.matrices()[0][2]
    old = weight.data.clone()
    try:
        weight.data[0, 0] += 1e-6
        assert reload_control(fitted.model, fitted.folder).passed is False
    finally:
        weight.data.copy_(old)
    assert reload_control(fitted.model, fitted.folder).passed


def test_a_model_that_does_not_move_is_caught(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_: None)
    result = fit_reward(planted(24), str(tiny_model_dir), tmp_path, QUICK)
    assert status(result.controls)["reward weights moved"] is False


def test_pairs_that_cutting_makes_equal_are_left_out_and_counted(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    pairs = [
        replace(p, chosen="bread " * 40 + "a", rejected="bread " * 40 + "b") if i % 3 == 0 else p
        for i, p in enumerate(planted(24))
    ]
    settings = replace(QUICK, max_length=40)
    result = fit_reward(pairs, str(tiny_model_dir), tmp_path, settings)
    assert result.pairs["dropped"] > 0
    assert status(result.controls)["reward answers differ after cutting"] is False


def test_accuracy_is_by_prompt_and_ties_are_half() -> None:
    accuracy = held_out_accuracy(
        np.array([1.0, 1.0, -1.0, 0.0, 5.0]),
        np.array([1.0, 0.9, 1.0, 1.0, 0.5]),
        ["a", "a", "a", "b", "c"],
    )
    assert accuracy.by_prompt == {"a": pytest.approx(2 / 3), "b": 0.5}
    assert accuracy.interval.mean == pytest.approx((2 / 3 + 0.5) / 2)


def test_calibration_finds_the_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000) * 2
    labels = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(float)
    prompts = [str(i // 2) for i in range(4000)]
    assert temperature(logits, labels) == pytest.approx(1, rel=0.12)
    assert temperature(logits * 3, labels) == pytest.approx(3, rel=0.12)
    right, over = (calibrate(logits * k, labels, prompts, 0) for k in (1, 3))
    assert right["ece"] < 0.03
    assert over["ece"] > 0.1
    assert over["ece_scaled"] < 0.03


def test_margins_and_soft_labels_reach_the_loss(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    right = fit_module.pair_loss

    def watched(d: Any, p: Any, m: Any) -> Any:
        seen.extend(zip(p.tolist(), m.tolist(), strict=True))
        return right(d, p, m)

    monkeypatch.setattr(fit_module, "pair_loss", watched)
    pairs = [replace(p, probability=0.75, margin=float(i)) for i, p in enumerate(planted(24))]
    fit_reward(pairs, str(tiny_model_dir), tmp_path, QUICK)
    assert {p for p, _ in seen} == {0.75}
    train, _ = split_by_prompt(pairs, QUICK.held_out, QUICK.seed)
    assert sorted(m for _, m in seen) == sorted(pairs[i].margin for i in train)
