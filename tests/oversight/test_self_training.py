"""Self-training: each generation learns from its own answers, by whoever chooses among them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custodes.config import load_config
from custodes.conversation import Query, user_chat
from custodes.errors import ModelError
from custodes.experts.expert import Rating
from custodes.models import Sampling
from custodes.models.base import Array
from custodes.models.resolve import load_torch
from custodes.oversight.events import GoldPrompt, StartEvent, WorkerCard
from custodes.oversight.gold.score import GoldPanel
from custodes.oversight.loop import Roles
from custodes.oversight.overseer import NullOverseer
from custodes.oversight.self_training import SelfTrainingConfig, self_train, train_generations
from custodes.oversight.summary.summary import summarise
from custodes.oversight.teachers.dpo import TeacherOptions
from custodes.oversight.teachers.selectors import ChanceExpert, LikelihoodExpert
from custodes.oversight.worker import ModelWorker
from custodes.runs import RunFolder, read_lineage
from custodes.training.dpo import DpoOptions
from custodes.training.lora import LoraOptions
from custodes.training.sft import SftOptions

ROOT = Path(__file__).parents[2]
TEACHER = TeacherOptions(
    prompts=6,
    samples=3,
    margin=0.0,
    sft=SftOptions(epochs=0),
    dpo=DpoOptions(batch=4, learning_rate=5e-3),
    lora=LoraOptions(rank=4, alpha=8.0),
)
ASKED = [Query(f"q{i}", tuple(user_chat(f"bread {i}?")), "helpfulness") for i in range(4)]


class Lengths:
    name = version = "lengths"

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        return np.array([len(text) for text in responses], np.float32)


class Vowels:
    name, domain, version = "vowels", "helpfulness", "1"

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        return [Rating(sum(c in "aeiou" for c in t) / max(1, len(t))) for t in responses]

    def report(self) -> dict[str, Any]:
        return {"controls": []}


def config(select: str, tmp_path: Path, **changed: Any) -> SelfTrainingConfig:
    source = tmp_path / "asked.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"bread {i}?"}) + "\n" for i in range(8)))
    return SelfTrainingConfig(
        **{
            "name": "t",
            "generations": 2,
            "select": select,
            "source": str(source),
            "teacher": TEACHER,
            **changed,
        }
    )


def run(tmp_path: Path, folder: Path, model: Path, select: str, **changed: Any) -> RunFolder:
    worker = ModelWorker(str(model), Sampling(max_tokens=10, temperature=1.0), engine="torch")
    gold = GoldPanel({"helpfulness": ASKED}, {"helpfulness": Lengths()}, 1, 0)
    unused: Any = None
    roles = Roles(
        user=unused,
        worker=worker,
        experts={"helpfulness": Vowels()},
        make_overseer=NullOverseer,
        teacher=unused,
        schedule=unused,
        gold=gold,
    )
    settings = config(select, tmp_path, **changed)
    with RunFolder(folder, settings.model_dump(mode="json")) as opened:
        start = StartEvent(
            worker=WorkerCard("tiny", "torch", "1"),
            gold_prompts=tuple(GoldPrompt(query.id, query.text) for query in ASKED),
        )
        train_generations(opened, roles, settings, lambda: start)
    return opened


@pytest.mark.parametrize("select", ["self", "expert", "random"])
def test_each_generation_moves_and_comes_from_the_one_before(
    tmp_path: Path, tiny_model_dir: Path, select: str
) -> None:
    folder = tmp_path / "run"
    done = run(tmp_path, folder, tiny_model_dir, select)
    lineage = read_lineage(folder)
    assert [(c.number, c.parent) for c in lineage] == [(0, None), (1, 0), (2, 1)]
    assert all(c.intervention == f"self-training:{select}" for c in lineage[1:])
    summary = summarise("t", done.log.events, NullOverseer, [])
    moved = [c for c in summary["controls"] if c["name"].startswith("weights moved")]
    assert len(moved) == 2
    assert all(c["passed"] for c in moved)
    assert [row["checkpoint"] for row in summary["gold"]] == [0, 1, 2]
    before = (folder / "events.jsonl").read_bytes()
    run(tmp_path, folder, tiny_model_dir, select)
    assert (folder / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("select", "name"), [("self", "own likelihood"), ("expert", "vowels"), ("random", "chance")]
)
def test_who_chooses_is_who_was_asked_to(
    tmp_path: Path, tiny_model_dir: Path, select: str, name: str
) -> None:
    folder = tmp_path / "run"
    run(tmp_path, folder, tiny_model_dir, select, generations=1)
    stages = folder / "checkpoints" / "1" / "stages"
    answers, rated = (
        json.loads((stages / f"{what}-helpfulness.json").read_text())
        for what in ("answers", "ratings")
    )
    vowels = [[sum(c in "aeiou" for c in t) / max(1, len(t)) for t in texts] for texts in answers]
    assert (rated == vowels) == (name == "vowels")
    bounded = [value for values in rated for value in values if value is not None]
    assert all(0 <= value <= 1 for value in bounded)


def test_weights_that_stay_fail_a_control(tmp_path: Path, tiny_model_dir: Path) -> None:
    still = TeacherOptions(**{**vars(TEACHER), "dpo": DpoOptions(batch=4, learning_rate=1e-12)})
    done = run(tmp_path, tmp_path / "r", tiny_model_dir, "self", teacher=still, generations=1)
    summary = summarise("t", done.log.events, NullOverseer, [])
    failed = [c["name"] for c in summary["controls"] if c["passed"] is False]
    assert any(name.startswith("weights moved") for name in failed)


def test_arms_begin_with_the_same_answers(tmp_path: Path, tiny_model_dir: Path) -> None:
    said = []
    for select in ("self", "random"):
        run(tmp_path, tmp_path / select, tiny_model_dir, select, generations=1)
        stages = tmp_path / select / "checkpoints" / "1" / "stages"
        said.append((stages / "answers-helpfulness.json").read_bytes())
    assert said[0] == said[1]


def test_own_likelihood_is_the_mean_of_the_workers_log_probabilities(tiny_model_dir: Path) -> None:
    worker = ModelWorker(str(tiny_model_dir), Sampling(), engine="torch")
    rated = LikelihoodExpert("helpfulness", worker).rate(ASKED[:3], ["bread", "", "flour and"])
    assert rated[1].abstained
    (row,) = load_torch(str(tiny_model_dir)).logprobs([ASKED[2].chat], ["flour and"])
    assert rated[2].value == pytest.approx(math.exp(row.total / len(row.tokens)), rel=1e-2)


def test_chance_is_even_and_does_not_depend_on_the_batch() -> None:
    queries = [Query(f"q{i}", tuple(user_chat(str(i))), "helpfulness") for i in range(400)]
    texts = [f"answer {i}" for i in range(400)]
    values = [r.value for r in ChanceExpert("helpfulness", 1).rate(queries, texts)]
    assert abs(np.mean([v for v in values if v is not None]) - 0.5) < 0.05
    assert ChanceExpert("helpfulness", 1).rate(queries[5:6], texts[5:6])[0].value == values[5]
    assert ChanceExpert("helpfulness", 2).rate(queries[:1], texts[:1])[0].value != values[0]


def test_the_example_is_a_config(tmp_path: Path) -> None:
    example = load_config(ROOT / "examples" / "self_training.yaml", SelfTrainingConfig, [])
    assert example.generations == 3


def test_a_worker_that_is_elsewhere_cannot_learn(tmp_path: Path) -> None:
    settings = SelfTrainingConfig(name="t", worker={"model": "simulated"})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cannot be trained here"):
        self_train(settings, tmp_path / "run")
