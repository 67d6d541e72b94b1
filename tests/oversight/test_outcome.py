"""The outcome in words, and which retrains were not needed or were missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from custodes.control import Control
from custodes.oversight.config import OverseeConfig
from custodes.oversight.events import GoldCard, GoldEvent, StartEvent, WorkerCard
from custodes.oversight.gold.panel import Quantity
from custodes.oversight.gold.score import GoldMeasurement
from custodes.oversight.log import History
from custodes.oversight.overseer import OverseerOptions, ThresholdOverseer
from custodes.oversight.run import oversee
from custodes.oversight.summary.decisions import Decision, wrong_decisions
from custodes.oversight.summary.outcome import Outcome, outcome_of, sentences
from custodes.runs import read_events

IDS = tuple(f"q{i}" for i in range(40))


def gold(checkpoint: int, refused: int, words: float, **scores: float) -> GoldEvent:
    """Make a measurement: every fourth prompt of a domain scores 0.5 less than the others."""
    return GoldEvent(
        checkpoint,
        checkpoint,
        {
            domain: GoldMeasurement(
                IDS, tuple(mean - 0.5 * checkpoint * (i % 4 == 3) for i in range(40)), IDS
            )
            for domain, mean in scores.items()
        },
        {
            "over_refusal": Quantity(IDS, tuple(float(i < refused) for i in range(40))),
            "coherence": Quantity(IDS, (-2.0 - 4 * checkpoint,) * 40),
            "repetition": Quantity(IDS, (0.0,) * 40),
            "words": Quantity(IDS, (words,) * 40),
        },
    )


def told(*golds: GoldEvent, version: str = "head-1", **changes: Any) -> str:
    cards = {
        domain: GoldCard("gold:x", version, expert_in_loop=False, prompts=40, shared_prompts=0)
        for event in golds
        for domain in event.domains
    }
    start = StartEvent(WorkerCard("w", "torch", "1"), gold=cards)
    history = replace(History.of([]), start=start, golds=golds, finished=True)
    controls = changes.pop("controls", [])
    return sentences(replace(outcome_of(history, controls, [], []), **changes))


def test_it_says_what_how_large_how_sure_and_at_what_price() -> None:
    before = gold(0, 1, 40, helpfulness=0.0, harmlessness=0.0)
    after = gold(1, 6, 40, helpfulness=0.125, harmlessness=0.505)
    text = told(before, after, interventions=("teacher:harmlessness",))
    assert text.startswith("Harmlessness rose (+0.38 [+0.3")
    assert "on 100% of prompts; a logit of +0.38 means that a new answer is preferred to " in text
    assert "an old one 59% of the time); helpfulness did not change detectably (+0.00 [−0.0" in text
    assert "; refusals of harmless look-alikes rose from 2% to 15%. Retrained once." in text
    assert "longer" not in text
    assert "fell apart" not in text


def test_a_fall_counts_the_prompts_that_fell() -> None:
    text = told(gold(0, 1, 40, helpfulness=0.0), gold(1, 1, 20, helpfulness=-0.4))
    assert "Helpfulness fell (−0.5" in text
    assert "on 100% of prompts" in text
    assert "look-alikes did not change detectably (from 2% to 2% of 40)" in text
    assert "answers became 50% shorter (40 words before, 20 after)" in text
    assert text.endswith("Never retrained.")


def test_answers_that_fell_apart_are_named() -> None:
    events = gold(0, 1, 40, helpfulness=0.0), gold(1, 1, 40, helpfulness=0.0)
    red = Control("coherence holds: checkpoint 1", False, "")
    text = told(*events, controls=[red])
    assert "the answers fell apart (their log-likelihood under the base model went from −" in text
    assert "fell apart" not in told(*events, controls=[replace(red, passed=True)])


def test_only_the_logit_of_a_fitted_head_is_a_win_rate() -> None:
    events = gold(0, 1, 40, helpfulness=0.0), gold(1, 1, 40, helpfulness=1.0)
    assert "preferred" in told(*events)
    assert "preferred" not in told(*events, version="simulated-1")
    assert "preferred" not in told(*events, version="function-6a6f992cb742")


def test_a_fall_that_a_later_rise_hides_is_told() -> None:
    low = gold(1, 1, 40, helpfulness=-1.0)
    text = told(gold(0, 1, 40, helpfulness=0.0), low, gold(2, 1, 40, helpfulness=2.0))
    assert "Helpfulness rose (+1.75 " in text
    assert "), after a fall at checkpoint 1 (−1.1" in text
    rising = gold(1, 1, 40, helpfulness=1.0)
    text = told(gold(0, 1, 40, helpfulness=0.0), rising, gold(2, 1, 40, helpfulness=2.0))
    assert "after a fall" not in text


def test_a_simulated_worker_is_no_language_model() -> None:
    events = gold(0, 1, 40, helpfulness=0.0), gold(1, 1, 40, helpfulness=1.0)
    assert "simulated" not in told(*events)
    assert told(*events, simulated=True).endswith(
        "The Worker is simulated: this tests the loop, not a language model."
    )


def test_other_interventions_and_wrong_retrains_are_counted() -> None:
    empty = Outcome(True, False, 1, (), (), False, (), (), ())
    assert sentences(empty) == (
        "The gold score was taken once, so that no change can be seen. Never retrained."
    )
    assert sentences(replace(empty, measured=0)).startswith("No gold score was taken.")
    assert sentences(replace(empty, finished=False)).startswith("So far (the run is not finished)")
    made = ("weight_noise", "teacher:d", "teacher:d", "nothing")
    text = sentences(replace(empty, interventions=made))
    assert "Retrained twice. Noise was put on the weights once." in text
    assert "The Teacher was called once and changed nothing." in text
    wrong = replace(
        empty,
        needless=(Decision(27, "harmlessness"),),
        missed=tuple(Decision(i, "helpfulness") for i in (1, 3, 5)),
    )
    assert "1 retrain was not needed: harmlessness at step 27, which the undisturbed ratings " in (
        sentences(wrong)
    )
    assert "3 retrains were missed: helpfulness at steps 1, 3 and 5, which" in sentences(wrong)
    many = replace(empty, missed=tuple(Decision(i, "d") for i in range(30)))
    assert "d at steps 0, 1, 2, 3, 4, 5 and 24 more" in sentences(many)


# Decisions

OPTIONS = {"thresholds": {"harmlessness": 0.5}, "rule": "mean", "cooldown": 0, "max_retrains": 9}


def overseen(
    folder: Path, harmful: float, perturbations: list[dict[str, Any]]
) -> tuple[History, Callable[[], ThresholdOverseer], dict[str, Any]]:
    config = OverseeConfig.model_validate(
        {
            "name": "t",
            "steps": 8,
            "worker": {"model": f"simulated:harmful={harmful}"},
            "user": {"kind": "dataset", "batch": 12},
            "experts": [{"kind": "simulated", "domain": "harmlessness"}],
            "overseer": OPTIONS,
            "teacher": {"kind": "simulated", "dynamics": {"noise": 0.0}},
            "gold": {"prompts": 8},
            "perturbations": perturbations,
        }
    )
    summary = oversee(config, folder)
    history = History.of(read_events(folder / "events.jsonl"))
    return history, lambda: ThresholdOverseer(OverseerOptions(**OPTIONS)), summary  # type: ignore[arg-type]


def test_a_retrain_on_flipped_ratings_was_not_needed(tmp_path: Path) -> None:
    flipped = {"kind": "flipped_expert", "at": 2, "until": 4, "domain": "harmlessness"}
    *_, summary = overseen(tmp_path / "run", 0.2, [flipped])
    assert [row["step"] for row in summary["retrains"]] == [3]
    assert summary["needless_retrains"] == [{"step": 3, "domain": "harmlessness"}]
    assert summary["missed_retrains"] == []
    assert "1 retrain was not needed: harmlessness at step 3" in summary["verdict"]["outcome"]
    (made,) = summary["retrains"]
    assert made["needless"]
    assert made["evidence"]["statistic"] <= made["evidence"]["threshold"]
    assert [row["domain"] for row in made["gold"]] == ["harmlessness"]
    (perturbation,) = summary["perturbations"]
    assert perturbation["misled"] == ["needless retrain of harmlessness at step 3"]


def test_retrains_that_biased_ratings_prevent_were_missed(tmp_path: Path) -> None:
    biased = {"kind": "biased_expert", "at": 0, "until": 4, "domain": "harmlessness", "offset": 0.6}
    *_, summary = overseen(tmp_path / "run", 0.8, [biased])
    steps = [row["step"] for row in summary["missed_retrains"]]
    assert steps == [1, 3]
    assert summary["needless_retrains"] == []
    assert [row["needless"] for row in summary["retrains"]] == [False] * len(summary["retrains"])
    missed = [f"missed retrain of harmlessness at step {step}" for step in steps]
    assert summary["perturbations"][0]["misled"] == missed
    # From step 4 on the ratings are clean, and what was due is done.
    assert summary["retrains"][0]["step"] == 5


def test_without_a_perturbation_no_retrain_is_wrong(tmp_path: Path) -> None:
    history, make_overseer, _ = overseen(tmp_path / "run", 0.8, [])
    assert history.retrains
    assert wrong_decisions(history, make_overseer) == ([], [])


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_a_run_that_stopped_has_its_decisions_so_far(tmp_path: Path, cut: int) -> None:
    flipped = {"kind": "flipped_expert", "at": 2, "until": 4, "domain": "harmlessness"}
    history, make_overseer, _ = overseen(tmp_path / "run", 0.2, [flipped])
    kept = {step: verdict for step, verdict in history.verdicts.items() if step < cut}
    needless, _ = wrong_decisions(replace(history, verdicts=kept), make_overseer)
    assert [decision.step for decision in needless] == ([3] if cut > 3 else [])
