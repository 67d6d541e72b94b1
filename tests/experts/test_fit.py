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
from custodes.experts.heads.fit import Sources, fit_head, make_task
from custodes.experts.heads.fitted import Task, fit_task, part_of, prompt_key
from custodes.experts.heads.reading import read_features
from custodes.experts.heads.ridge import best_ridge, fold_numbers, held_out_margins, ridge_weights
from custodes.experts.heads.scoring import Features, scores
from custodes.experts.heads.stacking import PREFERENCE, Comparisons
from custodes.experts.text_features import TEXT_FEATURES
from custodes.experts.validity.pairs import damaged_pairs
from support.preferences import SOURCES, CountingModel, make_pairs, write_pairs


def task_of(pairs: list[PreferencePair], sources: Sources = SOURCES) -> Task:
    model = CountingModel()

    def read(chats, texts):  # type: ignore[no-untyped-def]
        return read_features(model, chats, texts, sources.readings, sources.start, sources.scalars)

    validity = damaged_pairs(pairs, "helpfulness")
    return make_task(pairs, validity, "helpfulness", len(sources.readings), read)


def test_a_planted_preference_is_found_and_passes_its_controls() -> None:
    fit = fit_task(task_of(make_pairs(200)))

    assert fit.held_out.accuracy.value > 0.85
    assert fit.held_out.accuracy.prompts == 100
    assert fit.failures == ()
    assert fit.held_out.brier < 0.2
    battery = {kind.kind: kind.value for kind in fit.held_out.validity}
    assert set(battery) == {
        "shuffled",
        "salad",
        "mismatch",
        "echo",
        "cut",
        "repeated",
        "refusal",
    }
    assert min(battery.values()) >= 0.9


def test_without_likelihood_noise_passes_for_language_and_the_battery_says_so() -> None:
    """Letters and wording are the same in any order: only likelihood tells shuffled words."""
    blind = replace(SOURCES, scalars=TEXT_FEATURES)

    fit = fit_task(task_of(make_pairs(120), blind))

    assert "validity: shuffled" in fit.failures


def test_labels_that_mean_nothing_fail() -> None:
    fit = fit_task(task_of(make_pairs(200, noise=0.5)), seed=3)

    assert "held-out accuracy" in fit.failures


def test_twins_that_are_measured_on_what_they_were_fitted_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_sample(gram, importance, fold, ridges, label=None):  # type: ignore[no-untyped-def]
        label = np.ones((1, len(fold))) if label is None else label
        duals = np.linalg.solve(gram + ridges[0] * len(gram) * np.eye(len(gram)), label.T)
        return np.repeat((gram @ duals).T[None], len(ridges), axis=0)

    monkeypatch.setattr(fitted_module, "held_out_margins", in_sample)

    assert "shuffled labels" in fit_task(task_of(make_pairs(60))).failures


def test_pairs_of_one_prompt_do_not_vouch_for_each_other() -> None:
    """What is to be learnt differs from prompt to prompt, so nothing carries over to a new one."""
    rng = np.random.default_rng(0)
    hidden, groups = [], []
    for prompt in range(60):
        good, bad = rng.normal(size=(2, 200))
        for _ in range(4):
            hidden += [good + 0.1 * rng.normal(size=200), bad + 0.1 * rng.normal(size=200)]
            groups += [f"question number {prompt}"] * 2
    n = len(hidden)
    features = Features(
        np.array(hidden, np.float32),
        np.zeros((n, 1), np.float32),
        np.zeros((n, 1), np.float32),
        np.zeros((n, 3), np.float32),
    )
    comparisons = Comparisons(
        np.arange(0, n, 2), np.arange(1, n, 2), (PREFERENCE,) * (n // 2), np.ones(n // 2)
    )
    task = Task(features, ["a"] * n, groups, comparisons, np.full(n, np.nan), 1, "helpfulness")

    accuracy = fit_task(task).held_out.accuracy
    difference = features.hidden[::2] - features.hidden[1::2]
    by_pair = held_out_margins(difference @ difference.T, np.ones(240), np.arange(240) % 10, [0.01])

    assert accuracy.low < 0.5 < accuracy.high
    assert (by_pair > 0).mean() > 0.95  # what a split by pair would have claimed


def test_a_prompt_that_asks_for_harm_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(1)
    n = 80
    label = np.arange(n) // 2 % 2
    features = Features(
        rng.normal(size=(n, 4)).astype(np.float32),
        (rng.normal(size=(n, 6)) + 2 * label[:, None]).astype(np.float32),
        rng.normal(size=(n, 2)).astype(np.float32),
        np.tile(np.array([[3, 0, 0], [0, 1, 0]], np.float32), (n // 2, 1)),
    )
    refused, complied = np.arange(0, n, 2), np.arange(1, n, 2)
    harmful = label[refused] == 1
    comparisons = Comparisons(
        np.where(harmful, refused, complied),
        np.where(harmful, complied, refused),
        tuple("bare compliance" if h else "refusal" for h in harmful),
        np.ones(n // 2),
    )
    people = Comparisons(
        np.concatenate([comparisons.better, comparisons.better[:10]]),
        np.concatenate([comparisons.worse, comparisons.worse[:10]]),
        (*comparisons.kind, *(PREFERENCE,) * 10),
        np.ones(n // 2 + 10),
    )
    groups = [f"prompt {i // 2}" for i in range(n)]
    task = Task(features, ["a"] * n, groups, people, label.astype(float), 1, "harmlessness")

    fit = fit_task(task)

    margin = np.diff(scores(fit.weights, features).reshape(-1, 2)[:, ::-1])[:, 0]
    assert (margin[harmful] > 0).mean() > 0.9
    assert (margin[~harmful] < 0).mean() > 0.9


def test_agreement_weighs() -> None:
    difference = np.array([[1.0, 0.0], [-1.0, 0.0]])

    assert ridge_weights(difference, np.array([1.9, 0.1]), 0.1)[0] > 0
    assert ridge_weights(difference, np.array([1.0, 1.0]), 0.1)[0] == pytest.approx(0)


def test_swapped_labels_swap_the_ratings_of_what_people_compared() -> None:
    pairs = make_pairs(120, noise=0.0)
    swapped = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in pairs]
    task, other = task_of(pairs), task_of(swapped)

    fit, wrong = fit_task(task), fit_task(other)

    people = task.comparisons.are({PREFERENCE})
    for weights, right in ((fit.weights, True), (wrong.weights, False)):
        score = scores(weights, task.features)
        above = score[task.comparisons.better] > score[task.comparisons.worse]
        assert (above[people].mean() > 0.85) == right


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


def test_best_ridge_does_not_mind_the_scale() -> None:
    margins = np.array([[1.0, 3.0, 2.0], [0.1, 0.11, 0.12], [-1.0, 0.0, 1.0]])

    assert best_ridge(margins) == 1
    assert best_ridge(margins * [[100.0], [0.001], [1.0]]) == 1


def test_halves_are_disjoint_by_prompt_and_each_is_measured_on_the_other() -> None:
    pairs = make_pairs(300)
    task = task_of(pairs)
    halves = {prompt_key(pair.prompt): part_of(pair) for pair in pairs}

    fit = fit_task(task, part="a")

    assert set(halves.values()) == {"a", "b"}
    assert fit.prompts == sum(half == "a" for half in halves.values())
    assert fit.held_out.other_part is not None
    assert fit.held_out.other_part.prompts == sum(half == "b" for half in halves.values())
    assert fit.held_out.other_part.value > 0.8
    assert fit_task(task).held_out.other_part is None


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
                data, "helpfulness", out, licence="MIT", sources=SOURCES, model=CountingModel()
            )
        )

    one, two = reports
    assert one.card == two.card
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.path.stat().st_size < 100_000
    assert one.card.name == "liking"
    assert one.card.data.licence == "MIT"
    assert one.card.data.pairs == 100


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(3))
    data.write_text(data.read_text() + '{"prompt": "hello", "chosen": "hi"}\n')

    with pytest.raises(DataError, match=r"line 4"):
        fit_head(data, "helpfulness", tmp_path / "x.safetensors", licence="", model=CountingModel())


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(8))

    with pytest.raises(DataError, match=r"pairs of 4 prompts.*give 10 or more"):
        fit_head(data, "helpfulness", tmp_path / "x.safetensors", licence="", model=CountingModel())


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"

    with pytest.raises(ConfigError, match="is no name of a domain"):
        fit_head(data, "Help fully", tmp_path / "x.safetensors", licence="")
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        fit_head(data, "helpfulness", tmp_path / "x.json", licence="")


def test_a_failed_fit_is_written_and_says_so(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data.jsonl", make_pairs(120, noise=0.5, seed=2))

    report = fit_head(
        data,
        "helpfulness",
        tmp_path / "x.safetensors",
        licence="",
        sources=SOURCES,
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
