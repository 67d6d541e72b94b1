"""Fitting heads: what is there is found, what is not there fails its controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import PreferencePair
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, DataError
from custodes.experts.heads import fitted as fitted_module
from custodes.experts.heads.fit import fit_head, read_pair_features
from custodes.experts.heads.fitted import fit_features, part_of, prompt_key
from custodes.experts.heads.ridge import (
    best_ridge,
    fold_numbers,
    held_out_margins,
    nested_margins,
    ridge_weights,
)
from support.preferences import READINGS, CountingModel, make_pairs, write_pairs


def test_a_planted_preference_is_found_and_passes_its_controls() -> None:
    pairs = make_pairs(200)
    features = read_pair_features(CountingModel(), pairs, READINGS)

    fit = fit_features(features, pairs, len(READINGS))

    assert fit.held_out.accuracy.value > 0.85
    assert fit.held_out.accuracy.prompts == 100
    assert fit.failures == ()
    assert fit.held_out.brier < 0.2
    # The bias puts the average answer at 0.
    assert (features @ fit.weights + fit.bias).mean() == pytest.approx(0, abs=1e-3)


def test_labels_that_mean_nothing_fail() -> None:
    pairs = make_pairs(200, noise=0.5)
    features = read_pair_features(CountingModel(), pairs, READINGS)

    fit = fit_features(features, pairs, len(READINGS), seed=3)

    assert "held-out accuracy" in fit.failures


def test_twins_that_are_measured_on_what_they_were_fitted_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_sample(gram, importance, fold, ridges, label=None):  # type: ignore[no-untyped-def]
        label = np.ones((1, len(fold))) if label is None else label
        duals = np.linalg.solve(gram + ridges[0] * len(gram) * np.eye(len(gram)), label.T)
        return np.repeat((gram @ duals).T[None], len(ridges), axis=0)

    pairs = make_pairs(60)
    features = read_pair_features(CountingModel(), pairs, READINGS)
    monkeypatch.setattr(fitted_module, "held_out_margins", in_sample)

    assert "shuffled labels" in fit_features(features, pairs, len(READINGS)).failures


def test_pairs_of_one_prompt_do_not_vouch_for_each_other() -> None:
    """What is to be learnt differs from prompt to prompt, so nothing carries over to a new one."""
    rng = np.random.default_rng(0)
    pairs, features = [], []
    for prompt in range(60):
        good, bad = rng.normal(size=(2, 200))
        for i in range(4):
            chat = ({"role": "user", "content": f"question number {prompt}"},)
            pairs.append(PreferencePair(f"{prompt}-{i}", chat, "a" * (i + 1), "b"))  # type: ignore[arg-type]
            features.append(np.stack([good, bad]) + 0.1 * rng.normal(size=(2, 200)))
    array = np.array(features, np.float32)

    accuracy = fit_features(array, pairs, 1).held_out.accuracy
    difference = array[:, 0] - array[:, 1]
    by_pair = held_out_margins(difference @ difference.T, np.ones(240), np.arange(240) % 10, [0.01])

    assert accuracy.low < 0.5 < accuracy.high
    assert (by_pair > 0).mean() > 0.95  # what a split by pair would have claimed


def test_agreement_weighs() -> None:
    difference = np.array([[1.0, 0.0], [-1.0, 0.0]])

    assert ridge_weights(difference, np.array([1.9, 0.1]), 0.1)[0] > 0
    assert ridge_weights(difference, np.array([1.0, 1.0]), 0.1)[0] == pytest.approx(0)


def test_swapping_all_answers_flips_the_head_and_nothing_else() -> None:
    pairs = make_pairs(80)
    features = read_pair_features(CountingModel(), pairs, READINGS)
    swapped = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in pairs]

    fit, other = fit_features(features, pairs, 2), fit_features(features[:, ::-1], swapped, 2)

    np.testing.assert_allclose(fit.weights, -other.weights, atol=1e-8)
    assert fit.held_out.accuracy == other.held_out.accuracy


def test_folds_never_split_a_prompt() -> None:
    groups = [f"g{i % 37}" for i in range(400)]
    folds = fold_numbers(groups, 10, seed=5)

    assert set(folds.tolist()) == set(range(10))
    assert len({(g, f) for g, f in zip(groups, folds.tolist(), strict=True)}) == 37


def test_held_out_margins_are_those_of_fits_without_the_fold() -> None:
    rng = np.random.default_rng(1)
    difference, importance = rng.normal(size=(40, 12)), rng.uniform(0.5, 1.5, 40)
    folds = np.arange(40) % 4

    margins = held_out_margins(difference @ difference.T, importance, folds, [0.1, 1.0])

    for r, ridge in enumerate((0.1, 1.0)):
        for fold in range(4):
            seen, unseen = folds != fold, folds == fold
            weights = ridge_weights(difference[seen], importance[seen], ridge)
            np.testing.assert_allclose(margins[r, 0, unseen], difference[unseen] @ weights)


def test_nested_margins_choose_the_ridge_without_the_fold() -> None:
    """A fold whose own labels are wrong must not talk the others into their ridge."""
    pairs = make_pairs(120)
    features = read_pair_features(CountingModel(), pairs, READINGS)
    difference = (features[:, 0] - features[:, 1]).astype(float)
    groups = [prompt_key(pair) for pair in pairs]
    folds = fold_numbers(groups, 10, seed=0)
    held = folds == 3
    flipped = np.where(held[:, None], -difference, difference)

    plain = nested_margins(difference @ difference.T, np.ones(120), groups, folds=10, seed=0)
    other = nested_margins(flipped @ flipped.T, np.ones(120), groups, folds=10, seed=0)

    np.testing.assert_allclose(plain[held], -other[held])


def test_best_ridge_does_not_mind_the_scale() -> None:
    margins = np.array([[1.0, 3.0, 2.0], [0.1, 0.11, 0.12], [-1.0, 0.0, 1.0]])

    assert best_ridge(margins) == 1
    assert best_ridge(margins * [[100.0], [0.001], [1.0]]) == 1


def test_halves_are_disjoint_by_prompt_and_each_is_measured_on_the_other() -> None:
    pairs = make_pairs(300)
    features = read_pair_features(CountingModel(), pairs, READINGS)
    halves = {prompt_key(pair): part_of(pair) for pair in pairs}

    fit = fit_features(features, pairs, 2, part="a")

    assert set(halves.values()) == {"a", "b"}
    assert fit.prompts == sum(half == "a" for half in halves.values())
    assert fit.held_out.other_part is not None
    assert fit.held_out.other_part.prompts == sum(half == "b" for half in halves.values())
    assert fit.held_out.other_part.value > 0.8
    assert fit_features(features, pairs, 2).held_out.other_part is None


def test_the_part_of_a_prompt_does_not_depend_on_its_answers() -> None:
    pair = make_pairs(1)[0]

    assert part_of(pair) == part_of(replace(pair, chosen="other", rejected="others", id="x"))


def test_a_head_on_disk_is_small_and_the_same_every_time(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(100))
    reports = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        out = tmp_path / folder / "liking.safetensors"
        reports.append(
            fit_head(
                data, "helpfulness", out, licence="MIT", readings=READINGS, model=CountingModel()
            )
        )

    one, two = reports
    assert one.card == two.card
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.path.stat().st_size < 100_000
    assert one.card.name == "liking"
    assert one.card.data.licence == "MIT"
    assert one.card.data.pairs == 100
    assert not one.failed


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(3))
    data.write_text(data.read_text() + '{"prompt": "hello", "chosen": "hi"}\n')

    with pytest.raises(DataError, match=r"line 4"):
        fit_head(data, "helpfulness", tmp_path / "x.safetensors", licence="", model=CountingModel())


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(12))

    with pytest.raises(DataError, match=r"pairs of 6 prompts.*give 20 or more"):
        fit_head(data, "helpfulness", tmp_path / "x.safetensors", licence="", model=CountingModel())


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"

    with pytest.raises(ConfigError, match="did you mean helpfulness"):
        fit_head(data, "helpfullness", tmp_path / "x.safetensors", licence="")
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        fit_head(data, "helpfulness", tmp_path / "x.json", licence="")


def test_a_failed_fit_is_written_and_says_so(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(120, noise=0.5, seed=2))

    report = fit_head(
        data,
        "helpfulness",
        tmp_path / "x.safetensors",
        licence="",
        readings=READINGS,
        model=CountingModel(),
    )

    assert report.failed
    assert [c["passed"] for c in report.card.controls if c["name"] == "held-out accuracy"] == [
        False
    ]


def test_shipped_data_reads(tmp_path: Path) -> None:
    for domain in ("helpfulness", "harmlessness"):
        folder = Path(fitted_module.__file__).parents[2] / "data" / "experts"
        assert len(read_pairs(folder / f"sanity_{domain}.jsonl")) >= 25
