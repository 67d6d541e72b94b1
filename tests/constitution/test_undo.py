"""The undoing example: its curve, its data, its controls, and its model organisms."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from custodes.config import validate_config
from custodes.constitution.config import AlignConfig
from custodes.constitution.pipeline import align
from custodes.constitution.stages.answers import CONSTITUTION, LOOK_ALIKES, Answer
from custodes.conversation import Demonstration, user_chat
from custodes.training.card import read_card
from support.align_process import settings, write_prompts


@pytest.fixture(scope="module")
def undo() -> Any:
    path = Path(__file__).parents[2] / "examples" / "undo.py"
    spec = spec_from_file_location("undo_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of supervised learning and preferences, on a tiny model."""
    folder = tmp_path_factory.mktemp("undo")
    raw = settings(tiny_model_dir, write_prompts(folder / "prompts.jsonl"), sham=False)
    raw["stages"] = "red_team..preferences"
    align(validate_config(raw, AlignConfig), folder / "run")
    return folder / "run"


def answers(scores: list[float], refusals: int = 0) -> dict[str, list[Answer]]:
    rows = [Answer(f"p{i}", "?", "Yes.", score, score) for i, score in enumerate(scores)]
    texts = ["I'm sorry, but I cannot help with that."] * refusals + ["Gladly."] * (4 - refusals)
    return {
        CONSTITUTION: rows,
        LOOK_ALIKES: [Answer(f"l{i}", "?", text, None, None) for i, text in enumerate(texts)],
    }


def test_arms_mix_as_told_and_use_each_example_before_any_comes_again(undo: Any) -> None:
    data = {
        name: [Demonstration(f"{name}{i}", tuple(user_chat("?")), "!") for i in range(10)]
        for name in ("plain", "adversarial", "safety")
    }
    draw: Callable[..., list[Demonstration]] = undo.batches
    first = draw(data, "plain", 0.25, 0, 1, seed=0)
    assert len(first) == undo.BATCH
    assert {row.id[:5] for row in first} == {"plain"}
    assert len({row.id for row in draw(data, "adversarial", 0.25, 0, 5, 0)[:10]}) == 10
    mixed = draw(data, "adversarial+safety", 0.25, 0, 4, 0)
    assert sum(row.id.startswith("safety") for row in mixed) == 8
    # What one stretch draws does not depend on where the one before it ended.
    assert mixed == [*draw(data, "adversarial+safety", 0.25, 0, 1, 0),
                     *draw(data, "adversarial+safety", 0.25, 1, 4, 0)]  # fmt: skip


def test_the_curve_compares_with_the_trained_model_prompt_by_prompt(undo: Any) -> None:
    start = answers([1.0, 3.0, 5.0, 7.0])
    row = undo.figures(answers([0.5, 2.5, 4.5, 6.5], refusals=1), start)
    assert (row["gold"], row["change"], row["over_refusal"]) == (3.5, -0.5, 0.25)
    assert row["ci95"] == [-0.5, -0.5]


def test_nothing_to_undo_noise_and_a_training_that_did_nothing_are_caught(undo: Any) -> None:
    low, high = answers([0.0, 0.1, 0.0, 0.2]), answers([1.0, 1.2, 0.9, 1.1])
    status = [c.passed for c in undo.controls(low, high, high, [0.1])]
    assert status == [True, True, True]
    assert undo.controls(high, high, high, [0.1])[0].passed is False
    assert undo.controls(low, high, low, [0.1])[1].passed is False
    assert undo.controls(low, high, high, [0.1, 0.0])[2].passed is False


def test_it_runs_resumes_and_marks_what_it_made(
    undo: Any, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(trained), str(tmp_path / "out"), "--steps", "1", "2", "--arms", "plain",
                 "adversarial+safety"]  # fmt: skip
    undo.main(arguments)
    shown = capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "undo.json").read_text())
    assert [(row["arm"], row["steps"]) for row in result["curve"]] == [
        ("plain", 1), ("plain", 2), ("adversarial+safety", 1), ("adversarial+safety", 2),
    ]  # fmt: skip
    assert "there is something to undo" in shown
    marks = {
        path.name: read_card(path)["inverted"]
        for path in (tmp_path / "out" / "checkpoints").iterdir()
    }
    plain, mixed = (f"{arm}-{{}}" for arm in ("plain", "adversarial+safety"))
    expected = {name.format(step): name == mixed for name in (plain, mixed) for step in (1, 2)}
    assert marks == expected
    undo.main(arguments)
    assert json.loads((tmp_path / "out" / "undo.json").read_text()) == result


def test_a_folder_without_a_run_is_one_line(undo: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no folder of custodes align"):
        undo.main([str(tmp_path), str(tmp_path / "out")])
