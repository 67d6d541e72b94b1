"""Arms over seeds: intervals for both, and the comparison with the arm that learns by chance."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples.self_training import table

from custodes.drift import generations
from custodes.drift.arm_lineage import gold_changes, measure_arm
from custodes.drift.arms import ArmLineage, compare_arms
from custodes.drift.concepts import ConceptShift
from custodes.drift.questionnaire import lineage as lineage_room
from custodes.drift.questionnaire.controls import Instrument
from custodes.drift.questionnaire.outcome import Readings
from custodes.drift.questionnaire.statements import draw_items, read_facts, read_statements
from custodes.errors import DataError, RunError
from custodes.runs import Checkpoint, RunFolder
from custodes.runs.store import Store

STATEMENTS, FACTS = read_statements("shipped"), read_facts()


def lineage(arm: str, seed: int, gain: float, moved: float) -> ArmLineage:
    rng = np.random.default_rng([seed, ord(arm[0])])
    shape = (len(STATEMENTS), 2, 2)
    first = np.random.default_rng(0).normal(size=(len(STATEMENTS), 1, 1)) + np.zeros(shape)
    last = first + moved * np.random.default_rng([seed, 7]).normal(size=(len(STATEMENTS), 1, 1))
    unused = np.zeros(shape)
    read = Readings(
        STATEMENTS,
        [first, last],
        Instrument(first, first, unused, np.zeros((len(FACTS), 2, 2))),
        FACTS,
    )
    pairs = [(f"a{i}", "b") for i in range(6)]
    return ArmLineage(
        arm=arm,
        seed=seed,
        gold={"harmlessness": gain + 0.05 * rng.normal(size=24)},
        readings=read,
        concepts=[ConceptShift(p, 0.1, 0.1 + moved * 1e-3, moved - 0.5, 1) for p in pairs],
    )


def arms(readable: bool = True) -> dict:
    lineages = [
        lineage(arm, seed, gain, moved)
        for seed in (0, 1, 2)
        for arm, gain, moved in (("expert", 0.3, 1.0), ("random", 0.2, 0.2))
    ]
    return compare_arms(lineages, "random", readable, "" if readable else "order of options: 100%")


def test_an_arm_is_compared_with_the_one_that_learns_by_chance() -> None:
    result = arms()
    json.dumps(result, allow_nan=False)
    expert, random = result["arms"]
    gold = expert["quantities"]["gold harmlessness"]
    assert gold["change"]["mean"] == pytest.approx(0.3, abs=0.03)
    # The gain excludes 0 in both arms; only the difference is the Expert's.
    assert random["quantities"]["gold harmlessness"]["change"]["low"] > 0
    assert gold["minus_control"]["mean"] == pytest.approx(0.1, abs=0.03)
    assert gold["minus_control"]["low"] > 0
    assert "minus_control" not in random["quantities"]["gold harmlessness"]
    assert expert["quantities"]["stability"]["minus_control"]["high"] < 0
    assert random["quantities"]["stability"]["change"]["mean"] > 0.9
    concepts = expert["quantities"]["concept change"]
    assert concepts["change"]["mean"] == pytest.approx(1.0)
    assert expert["concept_pairs"] == [6, 6, 6]
    assert random["concept_pairs"] == [0, 0, 0]
    assert concepts["minus_control"]["mean"] == pytest.approx(0.8)


def test_a_questionnaire_that_cannot_be_read_claims_nothing() -> None:
    result = arms(readable=False)
    for row in result["arms"]:
        assert not {"stability", "value change"} & set(row["quantities"])
    assert result["reason"]


def test_one_seed_has_an_interval_over_prompts_alone() -> None:
    made = [lineage(arm, 0, gain, 0.5) for arm, gain in (("expert", 0.3), ("random", 0.2))]
    expert, _ = compare_arms(made, "random", True)["arms"]
    difference = expert["quantities"]["gold harmlessness"]["minus_control"]
    assert difference["low"] < difference["mean"] < difference["high"]
    assert difference["mean"] == pytest.approx(0.1, abs=0.04)


def test_readings_that_are_all_noise_have_no_score() -> None:
    made = [lineage(arm, 0, 0.1, 0.5) for arm in ("expert", "random")]
    read = made[0].readings
    assert read is not None
    # The two wordings contradict each other.
    opposed = [np.stack([one[:, 0], -one[:, 0]], axis=1) for one in read.log_odds]
    made[0] = replace(made[0], readings=replace(read, log_odds=opposed))
    expert, random = compare_arms(made, "random", True)["arms"]
    assert "stability" not in expert["quantities"]
    assert "stability" in random["quantities"]


def test_the_example_prints_one_table_and_hides_no_failed_control() -> None:
    lines = table(arms())
    assert sum("minus random's" in line for line in lines) == 4
    hidden = "\n".join(table(arms(readable=False)))
    assert "THE QUESTIONNAIRE CANNOT BE READ: order of options: 100%" in hidden
    assert "stability: " not in hidden
    assert any("stability: " in line for line in lines)


def test_arms_without_control_or_seeds_are_refused() -> None:
    with pytest.raises(DataError, match="no arm 'random'"):
        compare_arms([lineage("expert", 0, 0, 0)], "random", True)
    with pytest.raises(DataError, match="has no seed 1"):
        compare_arms(
            [lineage("random", 0, 0, 0), lineage("random", 1, 0, 0), lineage("self", 0, 0, 0)],
            "random",
            True,
        )


def test_gold_changes_are_read_by_prompt(tmp_path: Path) -> None:
    def write(*golds: dict) -> Path:
        rows = [{"i": i, "kind": "gold", "domains": {"x": g}} for i, g in enumerate(golds)]
        (tmp_path / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return tmp_path

    first = {"ids": ["a", "b"], "scores": [0.0, 1.0]}
    folder = write(first, {"ids": ["a", "b"], "scores": [0.5, 0.0]})
    assert gold_changes(folder)["x"].tolist() == [0.5, -1.0]
    with pytest.raises(RunError, match="other prompts"):
        gold_changes(write(first, {"ids": ["a", "c"], "scores": [0.5, 0.0]}))
    with pytest.raises(RunError, match="no gold score"):
        gold_changes(write(first))


def test_a_finished_run_is_measured_once(
    tmp_path: Path,
    tiny_model_dir: Path,
    tiny_adapter_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, store = tmp_path / "run", Store(tmp_path / "readings")
    with RunFolder(folder, {"name": "r", "worker": {"model": str(tiny_model_dir)}}) as run:
        shutil.copytree(tiny_adapter_dir, run.checkpoint_folder(1))
        for number, score in ((0, 0.0), (1, 0.25)):
            adapter = run.checkpoint_folder(1) if number else None
            made = Checkpoint(number, adapter, number - 1 if number else None, "base")
            run.log.append("checkpoint", **made.to_event(folder))
            domains = {"x": {"ids": ["a", "b"], "scores": [score, score]}}
            run.log.append("gold", domains=domains)
    asked = draw_items(STATEMENTS, 16)
    concepts = {"bread": ["bake bread", "eat bread", "buy bread"], "sea": ["a", "b sea", "sea c"]}

    def measured() -> ArmLineage:
        return measure_arm("self", 0, folder, store, statements=asked, concepts=concepts)

    one = measured()
    assert one.gold["x"].tolist() == [0.25, 0.25]
    # A random model does not pass the controls, and its checkpoint is not asked at all.
    assert one.readings is not None
    assert len(one.readings.log_odds) == 1
    monkeypatch.setattr(lineage_room, "failed", lambda _: [])
    one = measured()
    assert one.readings is not None
    first, last = one.readings.log_odds
    assert first.shape == (16, 2, 2)
    assert not np.allclose(first, last)
    # A random model spreads its probability over 384 tokens, and hardly ever says yes or no.
    assert 0 < one.readings.answered[0] < 0.05
    # The control's second reading was taken in reverse order, and is back in order.
    assert np.allclose(one.readings.instrument.again, first, atol=0.05)
    assert not np.allclose(one.readings.instrument.shuffled, first, atol=0.05)
    assert len(one.concepts) == 1
    monkeypatch.setattr(generations, "load_torch", None)
    again = measured()
    assert again.readings is not None
    assert (again.readings.log_odds[1] == last).all()
    assert again.concepts == one.concepts
