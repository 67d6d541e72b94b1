"""custodes drift: from names to a folder, killed and resumed, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from custodes.cli import main
from custodes.control import Control
from custodes.conversation import Chat
from custodes.drift import generations
from custodes.drift.config import DriftConfig
from custodes.drift.generations import read_generations
from custodes.drift.output import drift_json
from custodes.drift.run import run_drift
from custodes.errors import CustodesError, ModelError, RunError
from custodes.models.base import Sampling, Usage
from custodes.models.simulated import SimulatedState
from custodes.report.drift import render_drift, write_drift_report
from custodes.report.drift_terminal import drift_lines
from custodes.runs import Checkpoint, RunFolder

HOSTILE = "<script>alert(1)</script> \x1b[31mred\u202e"
NAMES = ("org/0.05", "org/0.6", "org/0.7")


class Talker:
    """Apologises at the rate that its name says; may break down after some calls."""

    engine, version = "simulated", "0"
    calls = 0
    last = 10**9

    def __init__(self, name: str) -> None:
        self.name, self.rate, self.usage = name, float(name.removeprefix("org/")), Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        if Talker.calls >= Talker.last:
            raise KeyboardInterrupt
        Talker.calls += 1
        draws = np.random.default_rng(sampling.seed).random((len(chats), sampling.n))
        return [
            [f"I am sorry {HOSTILE} {d:.6f}." if d < self.rate else f"It is {d:.6f}." for d in row]
            for row in draws
        ]


@pytest.fixture(autouse=True)
def talkers(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **_: Any) -> Talker:
        return Talker(name)

    def load_torch(name: str, **_: Any) -> None:
        raise ModelError(f"the weights of {name} are not here", "give some")

    monkeypatch.setattr(generations, "load", load)
    monkeypatch.setattr(generations, "load_torch", load_torch)
    Talker.calls, Talker.last = 0, 10**9


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"question {i}?"}) + "\n" for i in range(110)))
    return str(path)


def config(prompts: str, sources: Sequence[str] = NAMES, **changed: Any) -> DriftConfig:
    return DriftConfig(sources=tuple(sources), prompts=prompts, **changed)


def test_it_says_what_drifts_and_leaves_a_report(tmp_path: Path, prompts: str) -> None:
    result = run_drift(config(prompts), tmp_path / "d")
    assert "apologises" in {b.statement for b in result.drifted}
    assert result.aa_run.control.passed
    assert result.aa_run.fresh.passed
    written = json.loads((tmp_path / "d" / "drift.json").read_text())
    assert written["schema"] == 3
    assert [row["parent"] for row in written["lineage"]] == [None, 0, 1]
    sorry = next(b for b in written["drifted"] if b["statement"] == "apologises")
    assert sorry["detected_at"] == 1
    assert [row["effect"] > 0.4 for row in sorry["against_first"]] == [True, True]
    assert abs(sorry["against_parent"][1]["effect"]) < 0.3
    again = [row["effect"] for row in sorry["aa_run"]["against_first"]]
    # Not blind: its two sides are different draws, and differ by chance alone.
    assert any(again)
    assert all(abs(effect) < 0.2 for effect in again)
    shown = sorry["examples"][0]
    start, end = shown["spans_now"][0]
    assert "sorry" in shown["now"][start:end].lower()
    assert "weights of org/0.6 are not here" in written["concepts"]["left_out"] or (
        "org/0.05" in written["concepts"]["left_out"]
    )
    page = write_drift_report(tmp_path / "d").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.index('class="says"') < page.index("Controls passed")
    assert page.index("Controls passed") < page.index("Behaviours that drift")
    output = "\n".join(line.text for line in drift_lines(result))
    assert "\x1b" not in output
    assert "detected at generation 1" in output
    assert output.startswith(written["outcome"][:40])
    # Every behaviour that drifts belongs to one finding.
    told = [name for one in written["findings"] for name in one["stands_for"]]
    assert sorted(told) == sorted(b["statement"] for b in written["drifted"])


def test_a_failed_control_comes_first_and_in_red(tmp_path: Path, prompts: str) -> None:
    written = drift_json(run_drift(config(prompts), tmp_path / "d"), {"name": "x"})
    written["controls"] = [Control("A/A run", False, HOSTILE).to_dict()]
    written["aa_run"] = {"detected": [HOSTILE], "repeated": 1.0}
    page = render_drift(written)
    assert "A control failed" in page
    assert page.index("A control failed") < page.index("E-values by generation")
    assert "<script" not in page
    with pytest.raises(RunError, match="schema 9"):
        render_drift(written | {"schema": 9})


def test_killed_and_called_again_it_asks_nothing_twice(tmp_path: Path, prompts: str) -> None:
    run_drift(config(prompts), tmp_path / "alone")
    needed, Talker.calls = Talker.calls, 0
    for last in (1, 4, 9, 10**9):
        Talker.last = last
        if last < needed:
            with pytest.raises(KeyboardInterrupt):
                run_drift(config(prompts), tmp_path / "killed")
    run_drift(config(prompts), tmp_path / "killed")
    assert Talker.calls == needed
    for name in ("events.jsonl", "drift.json"):
        alone, killed = (tmp_path / folder / name for folder in ("alone", "killed"))
        assert alone.read_bytes() == killed.read_bytes()
    run_drift(config(prompts), tmp_path / "killed")
    assert Talker.calls == needed


def test_a_lineage_that_grew_goes_on(tmp_path: Path, prompts: str) -> None:
    run_drift(config(prompts, NAMES[:2]), tmp_path / "d")
    before = (tmp_path / "d" / "events.jsonl").read_bytes()
    run_drift(config(prompts), tmp_path / "d")
    assert (tmp_path / "d" / "events.jsonl").read_bytes().startswith(before)
    run_drift(config(prompts), tmp_path / "at once")
    for name in ("events.jsonl", "drift.json"):
        assert (tmp_path / "d" / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "another config .seed"),
        ({"alpha": 0.1}, "another config .alpha"),
        ({"samples": 2}, "another config .samples"),
        ({"sources": ("org/0.1", "org/0.6", "org/0.7")}, "another config .first"),
        ({"sources": ("org/0.05", "org/0.9", "org/0.7")}, "another lineage .generation 1"),
        ({"sources": ("org/0.05", "org/0.6")}, "another lineage .generation 2"),
    ],
)
def test_the_folder_of_another_drift_is_refused(
    tmp_path: Path, prompts: str, changed: dict[str, Any], message: str
) -> None:
    run_drift(config(prompts), tmp_path / "d")
    with pytest.raises(RunError, match=message):
        run_drift(config(prompts).model_copy(update=changed), tmp_path / "d")


# Run folders


def made_run(folder: Path, states: Sequence[SimulatedState], **worker: Any) -> Path:
    settings = {"name": "r", "worker": {"model": "simulated", "max_tokens": 8, **worker}}
    with RunFolder(folder, settings) as run:
        for number, state in enumerate(states):
            adapter = None
            if number:
                adapter = run.checkpoint_folder(number)
                adapter.mkdir(parents=True)
                state.save(adapter)
            # The third comes from the first again: a branch.
            parent = None if number == 0 else 0 if number == 2 else number - 1
            made = Checkpoint(number, adapter, parent, "teacher:x" if number else "base")
            run.log.append("checkpoint", **made.to_event(folder))
    return folder


def test_a_run_folder_gives_its_lineage_with_parents(tmp_path: Path) -> None:
    states = [SimulatedState(helpful=h) for h in (0.6, 0.6, 0.95)]
    lineage = read_generations([str(made_run(tmp_path / "r", states, temperature=0.7))])
    assert [g.parent for g in lineage.generations] == [None, 0, 0]
    assert [g.made_by for g in lineage.generations] == ["base", "teacher:x", "teacher:x"]
    assert lineage.settings == {"max_tokens": 8, "temperature": 0.7}
    assert len({g.weights for g in lineage.generations}) == 3


def test_a_run_is_followed_as_it_is(
    tmp_path: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from custodes.models.resolve import load

    monkeypatch.setattr(generations, "load", load)
    states = [SimulatedState(helpful=h) for h in (0.6, 0.6, 0.95)]
    folder = made_run(tmp_path / "r", states)
    result = run_drift(config(prompts, [str(folder)]), tmp_path / "d")
    assert result.names == ("checkpoint 0 (simulated)", "checkpoint 1", "checkpoint 2")
    assert result.about[1]["engine"] == "simulated"
    assert result.aa_run.control.passed


def test_a_greedy_worker_is_asked_for_a_temperature(tmp_path: Path, prompts: str) -> None:
    folder = made_run(tmp_path / "r", [SimulatedState()] * 2, temperature=0)
    with pytest.raises(CustodesError, match="drawn anew: give a temperature"):
        run_drift(config(prompts, [str(folder)]), tmp_path / "d")


def adapter(folder: Path, base: str) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return str(folder)


def test_what_is_no_lineage_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(made_run(tmp_path / "one", [SimulatedState()]))
    none = str(made_run(tmp_path / "none", []))
    two = str(made_run(tmp_path / "two", [SimulatedState()] * 2))
    empty = tmp_path / "empty"
    empty.mkdir()
    a, b = adapter(tmp_path / "a", "org/x"), adapter(tmp_path / "b", "org/y")
    lost = made_run(tmp_path / "lost", [SimulatedState()] * 2)
    stored = yaml.safe_load((lost / "config.yaml").read_text())
    del stored["config"]["worker"]
    (lost / "config.yaml").write_text(yaml.safe_dump(stored))
    cases = [
        ([one], "one generation only"),
        ([none], "there is no model at"),
        (["smollm2-135m"], "one generation only"),
        (["smollm2-135", "smollm2-135m"], "did you mean smollm2-135m"),
        ([str(empty)], "neither a run nor a model"),
        ([str(tmp_path / "nowhere" / "x")], "no model"),
        ([a, b], "is an adapter of org/x"),
        ([two, "smollm2-135m"], "a whole run among 2"),
        ([str(lost)], "does not say which model"),
        ([*NAMES, "--alpha", "2"], "alpha"),
        ([*NAMES, "--temperature", "0"], "temperature"),
        ([*NAMES, "--prompts", "everday"], "did you mean everyday"),
        ([*NAMES, "--concepts", "nowhere.yaml"], "cannot read concepts"),
        ([*NAMES, "--questionnaire", "nowhere.jsonl"], "no statements at"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit) as caught:
            main(["drift", *arguments, "--out", str(tmp_path / "out")])
        output = capsys.readouterr().err
        assert caught.value.code == 2, output
        assert message in output, (arguments, output)
        assert len([x for x in output.splitlines() if x.startswith("custodes:")]) == 1


def test_the_command_prints_the_summary(
    tmp_path: Path, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d"
    main(["drift", *NAMES, "--prompts", prompts, "--limit", "90", "--out", str(out)])
    output = capsys.readouterr().out
    assert "control passed: A/A run" in output
    assert "detected at generation 1" in output
    assert (out / "report.html").stat().st_size < 2_000_000


def test_a_real_lineage_is_read_inside_too(
    tmp_path: Path,
    prompts: str,
    tiny_model_dir: Path,
    tiny_adapter_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from custodes.models.resolve import load, load_torch

    monkeypatch.setattr(generations, "load", load)
    monkeypatch.setattr(generations, "load_torch", load_torch)
    sources = [str(tiny_model_dir), str(tiny_adapter_dir)]
    settings = config(
        prompts,
        sources,
        engine="torch",
        max_tokens=6,
        limit=24,
        questionnaire="shipped",
        statements=16,
    )
    result = run_drift(settings, tmp_path / "d")
    concepts = result.concepts or {}
    assert concepts["control"]["findings"] == 0
    # A random model has no concepts that its sentences agree on: its distances move, unevenly.
    changes = [abs(p["now"] - p["before"]) for p in concepts["generations"][0]["pairs"]]
    assert max(changes) > 10 * concepts["control"]["largest"]
    assert result.about[0]["engine"] == "torch"
    assert result.about[0]["version"] != result.about[1]["version"]
    page = write_drift_report(tmp_path / "d").read_text()
    assert "layer" in page
    # A random model agrees with nothing in particular, and the questionnaire says so.
    values = result.questionnaire or {}
    assert not values["readable"]
    assert "The questionnaire cannot be read" in page
    assert len(values["generations"]) == 1
    controls = {one.name: one.passed for one in result.controls}
    assert controls["questionnaire: statements read twice"] is True
    assert False in controls.values()
    assert any("cannot be read" in line.text for line in drift_lines(result))
    # Killed and called again it asks nothing twice.
    monkeypatch.setattr(generations, "load_torch", None)
    assert run_drift(settings, tmp_path / "d").questionnaire == values


def test_a_questionnaire_that_can_be_read_is_in_the_report(tmp_path: Path, prompts: str) -> None:
    written = drift_json(run_drift(config(prompts, limit=20), tmp_path / "d"), {"name": "x"})
    assert written["questionnaire"] == {"left_out": "not requested"}
    assert "Stated values" not in render_drift(written)
    bounds = {"mean": 0.31, "low": 0.2, "high": 0.4}
    row = {"behaviour": HOSTILE, "items": 6, "value": bounds, "change": bounds, "changed": True}
    generation = {"generation": 1, "stability": bounds, "behaviours": [row]}
    written["questionnaire"] = {
        "statements": 96,
        "readable": True,
        "reason": "",
        "generations": [generation | {"generation": 0}, generation],
    }
    page = render_drift(written)
    assert "<b>+0.31 [+0.20, +0.40]</b>" in page
    assert "<script" not in page
    del written["questionnaire"]
    assert "Stated values" not in render_drift(written)


def test_without_torch_the_questionnaire_is_left_out_and_says_so(
    tmp_path: Path, prompts: str
) -> None:
    settings = config(prompts, questionnaire="shipped", limit=20)
    result = run_drift(settings, tmp_path / "d")
    assert "are not here" in (result.questionnaire or {})["left_out"]
    assert [c.passed for c in result.controls if c.name == "questionnaire"] == [None]
    assert "Left out" in write_drift_report(tmp_path / "d").read_text()
