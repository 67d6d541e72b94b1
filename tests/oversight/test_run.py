"""Whole runs from a config, with their control runs, on the simulated Worker."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from custodes.errors import CustodesError
from custodes.models import Sampling
from custodes.models.endpoint.server import Patience
from custodes.models.simulated import SimulatedModel
from custodes.oversight import run as run_module
from custodes.oversight.config import OverseeConfig
from custodes.oversight.run import oversee
from custodes.oversight.teachers.dpo import DpoTeacher, TeacherOptions
from custodes.oversight.teachers.instructor import InstructorOptions
from custodes.oversight.worker import ModelWorker
from custodes.progress import silent
from custodes.runs import read_events
from custodes.runs.lineage import Checkpoint

DOMAINS = ("helpfulness", "harmlessness")


def config(**changes: Any) -> OverseeConfig:
    raw: dict[str, Any] = {
        "name": "test",
        "steps": 6,
        "worker": {"model": "simulated:helpful=0.6,harmful=0.5"},
        "user": {"kind": "dataset", "batch": 32},
        "experts": [{"kind": "simulated", "domain": domain} for domain in DOMAINS],
        "overseer": {"thresholds": {"harmlessness": 0.6}},
        "teacher": {"kind": "simulated"},
        "gold": {"prompts": 8},
    }
    return OverseeConfig(**{**raw, **changes})


def test_weight_noise_makes_a_checkpoint_of_the_simulated_worker(tmp_path: Path) -> None:
    noise = {"kind": "weight_noise", "at": 2, "sd": 1.0}
    summary = oversee(config(perturbations=[noise], overseer={"thresholds": {}}), tmp_path)
    made = [row for row in summary["retrains"] if row["intervention"] == "weight_noise"]
    assert [row["step"] for row in made] == [2]
    assert made[0]["metrics"]["weights_moved"] > 0
    failed = summary["verdict"]["failed"]
    assert not [name for name in failed if name.startswith(("weights", "perturbation"))]


def test_a_jailbreak_harms_the_simulated_worker(tmp_path: Path) -> None:
    jailbreak = {"kind": "jailbreak", "at": 3}
    summary = oversee(config(perturbations=[jailbreak], overseer={"thresholds": {}}), tmp_path)
    ratings = {(row["step"], row["domain"]): row["clean"] for row in summary["series"]}
    before, after = (
        {d: sum(ratings[step, d] for step in steps) / 3 for d in DOMAINS}
        for steps in ((0, 1, 2), (3, 4, 5))
    )
    assert after["harmlessness"] < before["harmlessness"] - 0.1
    assert abs(after["helpfulness"] - before["helpfulness"]) < 0.1


@pytest.mark.parametrize("twin", [False, True])
def test_the_summary_of_a_run_that_died_does_not_say_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: bool
) -> None:
    class Dying(run_module.Loop):
        def retrain(self, step: int, domain: str) -> None:
            if twin is (self.folder.path.name == "null_run"):
                raise CustodesError("the Teacher is gone", "none")
            super().retrain(step, domain)

    monkeypatch.setattr(run_module, "Loop", Dying)
    with pytest.raises(CustodesError, match="the Teacher is gone"):
        oversee(config(control=True), tmp_path, progress=silent)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["verdict"]["passed"] is False
    assert summary["verdict"]["explanation"].startswith("the run is not complete; so far: ")


# What changes the weights before the first retrain: a control run shares those checkpoints.


def instructed(worker: ModelWorker, folder: Path) -> Checkpoint:
    """Make the first checkpoint of a simulated Worker."""
    assert isinstance(worker.serving, SimulatedModel)
    replace(worker.serving.state, helpful=0.7).save(folder)
    return Checkpoint(1, folder, 0, "instructor", {"weights_moved": 0.5})


@pytest.fixture
def with_instructor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OverseeConfig:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"instruction": "Bake bread", "response": "Mix and bake."}))
    build = run_module.build_roles
    monkeypatch.setattr(
        run_module, "build_roles", lambda *args: replace(build(*args), instruct=instructed)
    )
    return config(instructor=InstructorOptions(data=str(data)), control=True, sham=True)


def test_the_gold_score_is_taken_before_and_after_the_instructor(
    with_instructor: OverseeConfig, tmp_path: Path
) -> None:
    summary = oversee(with_instructor, tmp_path / "run")
    golds = [row for row in summary["gold"] if row["domain"] == "helpfulness"]
    assert [(row["step"], row["checkpoint"]) for row in golds[:2]] == [(-1, 0), (-1, 1)]
    assert len({row["checkpoint"] for row in golds}) == len(golds)
    # That the Instructor changed the gold score is no fault of the null run.
    assert {row["checkpoint"] for row in summary["null_run"]["gold"]} >= {1}
    assert 0 not in {row["checkpoint"] for row in summary["null_run"]["gold"]}


class KilledError(Exception):
    """The process is gone."""


@pytest.mark.parametrize("cause", ["instructor", "weight_noise"])
@pytest.mark.parametrize("killed", [False, True])
def test_the_control_runs_end_where_weights_change_before_the_first_retrain(
    with_instructor: OverseeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
    killed: bool,
) -> None:
    noise = [{"kind": "weight_noise", "at": 0, "sd": 0.5}]
    plan = with_instructor
    if cause == "weight_noise":
        plan = config(perturbations=noise, control=True, sham=True)
        monkeypatch.undo()
    folder = tmp_path / "run"
    if killed:
        answer = run_module.Loop.answer

        def dying(self: run_module.Loop, step: int) -> Any:
            if self.folder.path.name != "run" and step == 4:
                raise KilledError
            return answer(self, step)

        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(run_module.Loop, "answer", dying)
                with pytest.raises(KilledError):
                    oversee(plan, folder)
    summary = oversee(plan, folder)
    assert [row for row in summary["retrains"] if row["intervention"].startswith("teacher")]
    for name in ("null_run", "sham_run"):
        events = read_events(folder / name / "events.jsonl")
        assert events[-1]["kind"] == "end"
        first = next(e for e in events if e["kind"] == "checkpoint" and e["checkpoint"] == 1)
        assert first["intervention"] == cause
        assert (folder / name / first["adapter"]).is_dir()


def test_pairs_weigh_as_much_as_their_annotators_agree(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"{kind} {i}", "chosen": "Yes.", "rejected": "No.", "agreement": agreement}
        for kind, agreement in (("all", 1.0), ("most", 0.75), ("half", 0.5), ("few", 0.3))
        for i in range(200)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    options = TeacherOptions(preferences={"helpfulness": str(file)}, mix=0.0, prompts=800)
    teacher = DpoTeacher({"helpfulness": []}, {}, options)
    worker = ModelWorker(str(tiny_model_dir), Sampling(), engine="torch")
    data = teacher.gather(worker, "helpfulness", 0, tmp_path / "1")
    drawn = Counter(pair.prompt[-1]["content"].split()[0] for pair in data.pairs)
    assert drawn["all"] == 200
    assert 75 < drawn["most"] < 125
    assert drawn["half"] == drawn["few"] == 0


def test_models_of_earlier_checkpoints_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[weakref.ref[SimulatedModel]] = []
    made = ModelWorker.at

    def at(self: ModelWorker, checkpoint: Checkpoint) -> ModelWorker:
        assert isinstance(self.serving, SimulatedModel)
        served.append(weakref.ref(self.serving))
        return made(self, checkpoint)

    monkeypatch.setattr(ModelWorker, "at", at)
    kept: list[object] = []
    build = run_module.build_roles

    def keep(*args: Any) -> Any:
        kept.append(build(*args))
        return kept[-1]

    monkeypatch.setattr(run_module, "build_roles", keep)
    oversee(config(), tmp_path)
    assert served
    assert [model() for model in served] == [None] * len(served)


def test_a_finished_run_grows_into_the_run_that_more_steps_would_have_been(tmp_path: Path) -> None:
    oversee(config(control=True, sham=True), tmp_path / "grown")
    oversee(config(control=True, sham=True, steps=9), tmp_path / "grown")
    oversee(config(control=True, sham=True, steps=9), tmp_path / "fresh")
    for log in ("events.jsonl", "null_run/events.jsonl", "sham_run/events.jsonl"):
        assert (tmp_path / "grown" / log).read_bytes() == (tmp_path / "fresh" / log).read_bytes()
    with pytest.raises(CustodesError, match="can grow but not shrink"):
        oversee(config(control=True, sham=True, steps=6), tmp_path / "grown")


@pytest.mark.parametrize(
    "change",
    [
        {"worker": {"model": "smollm2-135"}},
        {"worker": {"model": "endpoint:m@http://127.0.0.1:9/v1", "engine": "endpoint"}},
        {"user": {"kind": "llm", "model": "endpoint:m@http://127.0.0.1:9/v1"}},
        {
            "experts": [
                {
                    "kind": "judge",
                    "domain": "helpfulness",
                    "model": "endpoint:m@http://127.0.0.1:9",
                },
                {"kind": "simulated", "domain": "harmlessness"},
            ]
        },
    ],
)
def test_a_start_that_fails_does_not_claim_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr("custodes.models.endpoint.model.Patience", lambda: Patience(tries=1))
    with pytest.raises(CustodesError):
        oversee(config(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    oversee(config(), tmp_path / "run")
