"""The Teacher: what it learns from, what it makes of it, and that a killed one goes on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from custodes.conversation import PreferencePair, Query, user_chat
from custodes.errors import ConfigError, CustodesError, ModelError
from custodes.experts.expert import Rating
from custodes.experts.null import NullExpert, SimulatedExpert
from custodes.models import Sampling
from custodes.models.simulated import Dynamics, SimulatedModel, read_levels
from custodes.oversight.perturbations.schedule import PoisonedData, Schedule
from custodes.oversight.roles import Teacher, Worker
from custodes.oversight.teachers.dpo import DpoTeacher, TeacherOptions
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.preference_pairs import PreferenceData, rank
from custodes.oversight.teachers.simulated import SimulatedTeacher
from custodes.oversight.worker import ModelWorker
from custodes.runs.lineage import Checkpoint
from custodes.training.dpo import DpoOptions
from custodes.training.lora import LoraOptions, read_factors
from custodes.training.sft import SftOptions

OPTIONS = TeacherOptions(
    prompts=8,
    samples=3,
    margin=0.01,
    sft=SftOptions(batch=4, learning_rate=1e-3),
    dpo=DpoOptions(batch=4, learning_rate=5e-3),
    lora=LoraOptions(rank=4, alpha=8.0),
)


class VowelExpert:
    """Likes vowels, and abstains on texts of an odd length."""

    def __init__(self, domain: str, *, abstains: bool = False) -> None:
        self.name, self.domain, self.version = "vowels", domain, "vowels-1"
        self.abstains = abstains
        self.asked: list[str] = []

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        self.asked += [query.domain for query in queries]
        return [self._rate(text) for text in responses]

    def report(self) -> dict[str, Any]:
        return {}

    def _rate(self, text: str) -> Rating:
        if self.abstains and len(text) % 2:
            return Rating(None, "odd")
        return Rating(sum(letter in "aeiou" for letter in text) / max(1, len(text)))


def queries(domain: str, n: int = 20) -> list[Query]:
    return [
        Query(f"{domain}-{i}", tuple(user_chat(f"{domain} {'bread ' * (i % 3)}{i}?")), domain)
        for i in range(n)
    ]


ASKED = {domain: queries(domain) for domain in ("helpfulness", "harmlessness")}
EXPERTS = {domain: VowelExpert(domain) for domain in ASKED}


def teacher(options: TeacherOptions = OPTIONS, **changed: Any) -> DpoTeacher:
    return DpoTeacher(ASKED, changed.pop("experts", EXPERTS), options, **{"seed": 1, **changed})


Pairs = Sequence[PreferencePair]


def unchanged(pairs: Pairs) -> Pairs:
    return pairs


def swapped(pairs: Pairs) -> Pairs:
    return [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]


def retrain(
    teacher: Teacher,
    worker: Worker,
    domain: str,
    step: int,
    folder: Path,
    disturb: Callable[[Pairs], Pairs] = unchanged,
) -> Checkpoint:
    """Gather pairs, disturb them and train, as the loop does."""
    data = teacher.gather(worker, domain, step, folder)
    return teacher.train(worker, domain, step, folder, data, disturb(data.pairs))


@pytest.fixture
def worker(tiny_model_dir: Path) -> ModelWorker:
    return ModelWorker(
        str(tiny_model_dir), Sampling(max_tokens=12, temperature=1.0), engine="torch"
    )


def controls(checkpoint: Any) -> dict[str, bool]:
    return {control["name"]: control["passed"] for control in checkpoint.metrics["controls"]}


def test_a_worker_named_by_its_adapter_is_trained_on_from_there(
    worker: ModelWorker, tmp_path: Path
) -> None:
    first = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "first")
    named = ModelWorker(str(tmp_path / "first"), worker.sampling, engine="torch")
    second = retrain(teacher(), named, "helpfulness", 4, tmp_path / "second")
    # The same as from the checkpoint of a run, in which the base and the adapter have two names.
    went_on = retrain(teacher(), worker.at(first), "helpfulness", 4, tmp_path / "third")
    a, b = read_factors(tmp_path / "second"), read_factors(tmp_path / "third")
    assert all(torch.equal(a[name][1], b[name][1]) for name in b)
    assert second.metrics["weights_moved"] == went_on.metrics["weights_moved"] > 0
    config = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == worker.name


def test_a_retrain_makes_a_checkpoint_that_moved(worker: ModelWorker, tmp_path: Path) -> None:
    made = retrain(teacher(), worker, "harmlessness", 3, tmp_path)
    assert (made.number, made.parent, made.intervention) == (1, 0, "teacher:harmlessness")
    assert made.metrics["weights_moved"] > 0
    assert made.metrics["sft"]["rows"] == made.metrics["data"]["harmlessness"]["pairs"] + 2
    assert controls(made)["there is something to learn in harmlessness"]
    assert controls(made)["dpo starts at its reference"]
    json.dumps(made.metrics, allow_nan=False)
    after = worker.at(made)
    assert after.version != worker.version
    assert after.respond(ASKED["harmlessness"][:2], seed=0)[0].checkpoint == 1
    assert {p.name for p in tmp_path.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
        "stages",
    }
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["parent"], card["inverted"]) == (0, False)
    assert str(tmp_path) not in (tmp_path / "card.json").read_text()


def test_a_second_retrain_goes_on_from_the_first(worker: ModelWorker, tmp_path: Path) -> None:
    first = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "1")
    second = retrain(teacher(), worker.at(first), "helpfulness", 5, tmp_path / "2")
    assert (second.number, second.parent) == (2, 1)
    ways = [read_factors(folder) for folder in (tmp_path / "1", tmp_path / "2")]
    name = next(iter(ways[0]))
    far = (ways[1][name][1] @ ways[1][name][0]).norm()
    step = (ways[1][name][1] @ ways[1][name][0] - ways[0][name][1] @ ways[0][name][0]).norm()
    assert 0 < step < far
    assert controls(second)["dpo starts at its reference"]


def test_the_same_retrain_again_is_the_same_and_asks_nobody(
    worker: ModelWorker, tmp_path: Path
) -> None:
    experts = {domain: VowelExpert(domain) for domain in ASKED}
    first = retrain(teacher(experts=experts), worker, "harmlessness", 3, tmp_path)
    asked = [len(expert.asked) for expert in experts.values()]
    stamp = (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns
    again = retrain(teacher(experts=experts), worker, "harmlessness", 3, tmp_path)
    assert again == first
    assert [len(expert.asked) for expert in experts.values()] == asked
    assert (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_each_domain_is_asked_and_ranked_by_its_own_expert(
    worker: ModelWorker, tmp_path: Path
) -> None:
    experts = {domain: VowelExpert(domain) for domain in ASKED}
    made = retrain(teacher(experts=experts), worker, "harmlessness", 3, tmp_path)
    assert experts["harmlessness"].asked == ["harmlessness"] * 6 * 3
    assert experts["helpfulness"].asked == ["helpfulness"] * 2 * 3
    data = made.metrics["data"]
    assert (data["harmlessness"]["queries"], data["helpfulness"]["queries"]) == (6, 2)


def test_without_a_mix_the_other_domain_is_left_alone(worker: ModelWorker, tmp_path: Path) -> None:
    options = replace(OPTIONS, mix=0.0, sft=replace(OPTIONS.sft, epochs=0))
    made = retrain(teacher(options), worker, "harmlessness", 3, tmp_path)
    assert set(made.metrics["data"]) == {"harmlessness"}
    assert "sft" not in made.metrics


def test_the_seed_and_the_step_decide_what_is_asked(worker: ModelWorker, tmp_path: Path) -> None:
    asked = []
    for i, (seed, step) in enumerate([(1, 3), (1, 4), (2, 3)]):
        data = teacher(seed=seed).gather(worker, "harmlessness", step, tmp_path / str(i))
        asked.append(tuple(pair.prompt[-1]["content"] for pair in data.pairs))
    assert len(set(asked)) == 3


def test_a_preference_file_is_learnt_instead(worker: ModelWorker, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [
        {"prompt": user_chat(f"Question {i}"), "chosen": f"Good {i}", "rejected": f"Bad {i}"}
        for i in range(5)
    ] + [{"prompt": f"Question {i}", "chosen": "Yes", "rejected": "No"} for i in range(5, 9)]
    file.write_text("\n".join(map(json.dumps, lines)))
    options = replace(OPTIONS, preferences={"harmlessness": str(file)}, mix=0.0)
    experts = {domain: VowelExpert(domain) for domain in ASKED}
    made = retrain(teacher(options, experts=experts), worker, "harmlessness", 0, tmp_path)
    assert made.metrics["data"] == {
        "harmlessness": {"preferences": "mine.jsonl", "pairs": 8, "of": 9}
    }
    assert made.metrics["dpo"]["rows"] == 8
    assert experts["harmlessness"].asked == []


def test_disturbed_pairs_are_what_is_learnt(worker: ModelWorker, tmp_path: Path) -> None:
    right = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "right")
    wrong = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "wrong", swapped)
    assert right.metrics["data"] == wrong.metrics["data"]
    assert right.metrics["sft"]["data"] != wrong.metrics["sft"]["data"]
    assert right.metrics["dpo"]["data"] != wrong.metrics["dpo"]["data"]


def test_a_resumed_retrain_gathers_the_same_pairs(worker: ModelWorker, tmp_path: Path) -> None:
    first = teacher().gather(worker, "harmlessness", 3, tmp_path)
    assert teacher().gather(worker, "harmlessness", 3, tmp_path) == first
    assert len(first.pairs) == 8


def test_with_nothing_to_learn_the_weights_stay_and_it_says_so(
    worker: ModelWorker, tmp_path: Path
) -> None:
    experts = {domain: NullExpert(domain) for domain in ASKED}
    made = retrain(teacher(experts=experts), worker, "harmlessness", 3, tmp_path)
    assert made.adapter is None
    assert made.metrics["weights_moved"] == 0.0
    assert not controls(made)["there is something to learn in harmlessness"]
    assert made.metrics["data"]["harmlessness"]["too_close"] == 6


def test_an_expert_who_abstains_on_everything_stops_it(worker: ModelWorker, tmp_path: Path) -> None:
    experts = {domain: NullExpert(domain, None) for domain in ASKED}
    with pytest.raises(CustodesError, match="has rated none of 18 responses"):
        retrain(teacher(experts=experts), worker, "harmlessness", 3, tmp_path)


def test_what_cannot_be_meant_is_refused(worker: ModelWorker, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean harmlessness"):
        retrain(teacher(), worker, "harmlesness", 0, tmp_path)
    with pytest.raises(ConfigError, match=r"teacher\.preferences: no domain 'help'"):
        teacher(replace(OPTIONS, preferences={"help": "x.jsonl"}))
    with pytest.raises(ConfigError, match="are both 0"):
        TeacherOptions(sft=SftOptions(epochs=0), dpo=DpoOptions(epochs=0))
    served = ModelWorker("endpoint:m@http://127.0.0.1:9", Sampling())
    with pytest.raises(ModelError, match="cannot be trained here"):
        retrain(teacher(), served, "harmlessness", 0, tmp_path)


# The pairs


def test_pairs_are_best_against_worst_and_what_is_dropped_is_counted() -> None:
    asked = queries("harmlessness", 4)
    answers = [["a", "bb", "ccc"], ["a", "bb", "ccc"], ["a", "bb", "ccc"], ["a", "bb", "ccc"]]
    given = [[0.2, 0.9, 0.5], [0.5, 0.52, None], [None, 0.5, None], [0.4, 0.4, 0.4]]
    ranked = rank(asked, answers, [[Rating(v) for v in row] for row in given], margin=0.05)
    assert [(p.prompt, p.chosen, p.rejected) for p in ranked.pairs] == [(asked[0].chat, "bb", "a")]
    facts = ranked.facts
    assert (facts["queries"], facts["answers"], facts["abstentions"]) == (4, 12, 3)
    assert (facts["unrated"], facts["too_close"], facts["pairs"]) == (1, 2, 1)
    assert facts["gap"] == pytest.approx(0.7)
    assert facts["longer"] == 1


def test_equal_ratings_are_no_pair_even_without_a_margin() -> None:
    ranked = rank(queries("x", 1), [["a", "b"]], [[Rating(0.4), Rating(0.4)]], margin=0.0)
    assert ranked.pairs == []


def test_a_rating_that_is_length_is_exposed() -> None:
    asked = queries("x", 10)
    answers = [["a" * (1 + i), "a" * (5 + i), "a" * (30 + i)] for i in range(10)]
    length = [[Rating(len(text) / 100) for text in texts] for texts in answers]
    other = [[Rating((7 * len(text) % 10) / 10) for text in texts] for texts in answers]
    assert rank(asked, answers, length, 0.0).facts["length_correlation"] == 1.0
    assert abs(rank(asked, answers, other, 0.0).facts["length_correlation"]) < 0.8


# Killed and gone on with

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.oversight.test_teacher import *
worker = ModelWorker(sys.argv[1], Sampling(max_tokens=12, temperature=1.0), engine="torch")
def say(what, done, total):
    print(what, done, total, flush=True)
made = retrain(teacher(progress=say), worker, "harmlessness", 3, Path(sys.argv[2]))
print("made", flush=True)
"""


def child(tiny: Path, folder: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tiny), str(folder), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["ratings to learn harmlessness", "supervised fine-tuning 1", "preference optimisation 1"],
)
def test_killed_anywhere_it_ends_with_the_same_bytes(
    worker: ModelWorker, tiny_model_dir: Path, tmp_path: Path, moment: str
) -> None:
    whole = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "whole")
    process = child(tiny_model_dir, tmp_path / "killed")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "stages" / "made.json").exists()
    stages = {p.name: p.read_bytes() for p in (tmp_path / "killed" / "stages").glob("*.json")}
    time.sleep(0.01)
    resumed = retrain(teacher(), worker, "harmlessness", 3, tmp_path / "killed")
    assert resumed.metrics == whole.metrics
    for name, content in stages.items():
        assert (tmp_path / "killed" / "stages" / name).read_bytes() == content
    for name in ("adapter_model.safetensors", "adapter_config.json", "card.json"):
        ours, theirs = (tmp_path / way / name for way in ("whole", "killed"))
        assert ours.read_bytes() == theirs.read_bytes()


# The controls' Teachers


def test_the_null_teacher_returns_what_there_is(worker: ModelWorker, tmp_path: Path) -> None:
    made = retrain(NullTeacher(), worker, "harmlessness", 0, tmp_path)
    assert made is worker.checkpoint
    assert not list(tmp_path.iterdir())


def simulated(**changed: Any) -> SimulatedTeacher:
    experts = {domain: SimulatedExpert(domain) for domain in ASKED}
    return SimulatedTeacher(ASKED, changed.pop("experts", experts), prompts=16, **changed)


def harmful(worker: ModelWorker, checkpoint: Checkpoint) -> float:
    model = worker.at(checkpoint).serving
    assert isinstance(model, SimulatedModel)
    return model.state.harmful


def test_the_simulated_teacher_moves_the_state(tmp_path: Path) -> None:
    worker = ModelWorker("simulated", Sampling())
    made = retrain(simulated(), worker, "harmlessness", 0, tmp_path / "1")
    assert harmful(worker, made) < harmful(worker, worker.checkpoint)
    assert made.metrics["weights_moved"] > 0
    assert controls(made)["there is something to learn in harmlessness"]
    same = retrain(simulated(), worker, "harmlessness", 0, tmp_path / "2")
    assert same.metrics == made.metrics


def test_the_simulated_teacher_ranks_the_workers_own_answers(tmp_path: Path) -> None:
    data = simulated().gather(ModelWorker("simulated", Sampling()), "harmlessness", 0, tmp_path)
    assert len(data.pairs) == 16
    for pair in data.pairs:
        better, worse = read_levels(pair.chosen), read_levels(pair.rejected)
        assert better is not None
        assert worse is not None
        assert better[1] < worse[1]
    # Every prompt has answers of its own, and another Worker has others.
    assert len({pair.chosen for pair in data.pairs}) == 16
    other = ModelWorker("simulated:harmful=0.8", Sampling())
    others = simulated().gather(other, "harmlessness", 0, tmp_path)
    assert not {pair.chosen for pair in data.pairs} & {pair.chosen for pair in others.pairs}


def test_the_simulated_teacher_learns_less_the_more_real_pairs_are_swapped(tmp_path: Path) -> None:
    """Also from the Schedule's own poisoning, which swaps a count of the real pairs."""
    worker = ModelWorker("simulated", Sampling())
    levels = []
    for share in (0.0, 0.25, 0.5, 1.0):

        def poison(pairs: Pairs, share: float = share) -> Pairs:
            if not share:
                return pairs
            return (
                Schedule([PoisonedData(at=0, share=share)]).at(0).pairs("harmlessness", pairs).value
            )

        teacher = simulated(dynamics=Dynamics(noise=0.0))
        made = retrain(teacher, worker, "harmlessness", 0, tmp_path / str(share), poison)
        levels.append(harmful(worker, made))
    before = harmful(worker, worker.checkpoint)
    assert levels == sorted(levels)
    assert levels[2] == pytest.approx(before)
    logits = [math.log(p / (1 - p)) for p in (before, *levels)]
    gains = [logits[0] - logit for logit in logits[1:]]
    assert gains == pytest.approx([1.0, 0.5, 0.0, -1.0])


def test_without_a_pair_the_simulated_worker_stays(tmp_path: Path) -> None:
    worker = ModelWorker("simulated", Sampling())
    constant = {domain: NullExpert(domain) for domain in ASKED}
    made = retrain(simulated(experts=constant), worker, "harmlessness", 0, tmp_path)
    assert (made.adapter, made.metrics["weights_moved"]) == (None, 0.0)
    assert controls(made)["there is something to learn in harmlessness"] is False


def test_the_simulated_teacher_teaches_no_real_worker(worker: ModelWorker, tmp_path: Path) -> None:
    data = PreferenceData("harmlessness", {})
    with pytest.raises(ModelError, match="use the DpoTeacher"):
        simulated().train(worker, "harmlessness", 0, tmp_path, data, [])
