"""A whole constitutional training on a tiny model: its files, its lineage, and its resumption."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from custodes.config import validate_config
from custodes.constitution.config import AlignConfig
from custodes.constitution.pipeline import align
from custodes.errors import ConfigError, DataError, RunError
from custodes.oversight.teachers.instructor import push_to_hub
from custodes.report.align import write_align_report
from custodes.report.align_terminal import align_lines
from custodes.runs import read_lineage
from custodes.training.card import read_card
from support.align_process import settings, write_prompts


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.jsonl")


def run(raw: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    return align(validate_config({**raw, **changes}, AlignConfig), folder)


@pytest.fixture(scope="module")
def finished(
    tiny_model_dir: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Run everything once, inverted, as florid replies are the inverse of terse ones."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-inverted"
    return folder, run(settings(tiny_model_dir, prompts), folder, inverted=True)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def digests(folder: Path) -> dict[str, str]:
    files = [
        *folder.glob("data/*.jsonl"),
        *folder.glob("checkpoints/*/adapter_model.safetensors"),
        *folder.glob("checkpoints/*/adapter/adapter_model.safetensors"),
        *folder.glob("stages/*.json"),
    ]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


COLUMNS = {
    "red_team": {"id", "prompt", "topic", "head", "model", "compliance", "selected", "responses"},
    "revisions": {"prompt", "response", "critiques", "revision", "before", "after", "messages"},
    "demonstrations": {"id", "kind", "messages"},
    "comparisons": {"id", "prompt", "response_a", "response_b"},
    "preferences": {"prompt", "chosen", "rejected", "probability", "margin", "sources"},
    "preferences-sham": {"prompt", "chosen", "rejected"},
    "held_out": {"model", "checkpoint", "set", "prompt", "response", "score", "raw"},
    "responses-rl": {"prompt_id", "prompt", "response"},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_stage_leaves_a_file_with_the_usual_columns(
    finished: tuple[Path, dict[str, Any]], name: str
) -> None:
    (first, *_) = rows(finished[0] / "data" / f"{name}-inverted.jsonl")
    assert COLUMNS[name] <= first.keys()


def test_the_sham_arm_has_the_same_pairs_some_of_them_turned_round(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    real, sham = (
        {row["id"]: row["chosen"] for row in rows(finished[0] / "data" / f"{name}-inverted.jsonl")}
        for name in ("preferences", "preferences-sham")
    )
    assert real.keys() == sham.keys()
    turned = sum(real[key] != sham[key] for key in real)
    assert 0 < turned < len(real)


def test_checkpoints_are_a_lineage_and_each_says_that_it_is_inverted(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    lineage = read_lineage(finished[0])
    assert [(c.number, c.parent, c.intervention) for c in lineage] == [
        (0, None, "base"), (1, 0, "sl"), (2, 1, "dpo:1"), (3, 1, "sham:dpo:1"),
    ]  # fmt: skip
    for checkpoint in lineage[1:]:
        assert checkpoint.adapter is not None
        assert read_card(checkpoint.adapter)["inverted"] is True
        with pytest.raises(Exception, match="marked inverted"):
            push_to_hub(checkpoint, "owner/name")
    assert len({(c.adapter / "adapter_model.safetensors").read_bytes() for c in lineage[1:]}) == 3


def test_the_report_says_the_outcome_and_that_this_is_a_model_organism(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, summary = finished
    page = write_align_report(folder).read_text()
    assert page.index("A model organism.") < page.index("Win rates")
    assert "<script" not in page
    assert len(page) < 2_000_000
    lines = [line.text for line in align_lines(summary)]
    assert lines[0].startswith("INVERTED")
    names = {row["model"] for row in summary["report"]["models"]}
    assert names == {"base", "sl", "rl", "sham", "base again"}
    assert {"florid"} == {p["id"] for p in summary["principles"]}


def test_the_controls_that_would_expose_a_stage_are_there(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    names = "\n".join(control["name"] for control in finished[1]["controls"])
    for part in (
        "selected queries penetrate", "compliance gate: florid", "inverted revisions do not refuse",
        "helpful data are mixed in", "the demonstrations do not mostly refuse", "order swap",
        "the two orders agree", "labels follow the verdicts: expert", "labels go both ways",
        "sham labels are by chance", "weights moved from checkpoint 1", "the adapter is not its",
        "the judges are no part", "held-out prompts are held out", "null: base against itself",
        "answers of rl are not those of sl",
    ):  # fmt: skip
        assert part in names, part


def test_the_same_call_does_nothing_again(
    finished: tuple[Path, dict[str, Any]], tiny_model_dir: Path, prompts: Path
) -> None:
    folder, before = finished
    old = digests(folder)
    assert run(settings(tiny_model_dir, prompts), folder, inverted=True) == before
    assert digests(folder) == old


def test_ppo_trains_on_the_reward_model_and_is_checked_before_its_first_step(
    tiny_model_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    raw = settings(tiny_model_dir, prompts, stages="preferences..rl", sham=False)
    quick = {"steps": 2, "batch": 8, "evaluate_every": 1}
    raw["rl"] = {"method": "ppo", "prompts": 8, "held_out": 4, "ppo": quick}
    controls = {row["name"]: row for row in run(raw, tmp_path)["controls"]}
    assert controls["ppo samples from its policy"]["passed"]
    assert controls["reward does not depend on padding or batch"]["passed"]
    # It compares the reward with the Experts on prompts that are trained on.
    assert "reward-agrees-with-expert (" not in controls["ppo preflight"]["explanation"]
    assert controls["ppo preflight"]["figures"]["passed"] >= 4


@pytest.mark.parametrize(
    ("sampler", "batch", "by_engine"),
    [("auto", 32, False), ("auto", 80, True), ("torch", 64, False), ("engine", 32, True)],
)
def test_the_weights_are_loaded_anew_where_that_is_worth_it(
    sampler: str, batch: int, by_engine: bool
) -> None:
    from custodes.constitution.config import ReinforcementOptions
    from custodes.constitution.stages.learning import _by_engine
    from custodes.training.rl.options import PpoOptions

    options = ReinforcementOptions(sampler=sampler, ppo=PpoOptions(batch=batch))  # type: ignore[arg-type]
    assert _by_engine(options, 48) is by_engine


# Mistakes


def test_an_inverted_run_must_say_so_in_its_folder(
    tiny_model_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="does not say that this run is inverted"):
        run(settings(tiny_model_dir, prompts), tmp_path / "run", inverted=True)


def test_a_stage_without_what_it_needs_names_the_stage_to_run(
    tiny_model_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    raw = settings(tiny_model_dir, prompts)
    needs = {
        "revise": "run the stage red_team",
        "sl": "run the stage revise",
        "rl": "run the stage preferences",
        "report": "no trained model",
    }
    for stage, message in needs.items():
        with pytest.raises((RunError, DataError), match=message):
            run(raw, tmp_path / stage, stages=(stage,))
        summary = json.loads((tmp_path / stage / "summary.json").read_text())
        assert summary["complete"] is False


def test_the_gate_stops_the_pipeline_unless_told_to_go_on(
    tiny_model_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    raw = settings(tiny_model_dir, prompts, stages=("red_team", "revise", "sl"), gate="stop")
    stopped = run(raw, tmp_path)
    # A random model follows no request.
    assert "the compliance gate failed" in stopped["stopped"]
    assert stopped["outcome"].startswith("Stopped at revise")
    assert not (tmp_path / "checkpoints").exists()
    assert run(raw, tmp_path, gate="continue")["stopped"] == ""
    assert (tmp_path / "checkpoints" / "1" / "card.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ["red_team", "sl"]}, "stages has a gap"),
        ({"stages": "sl..revise"}, "runs backwards"),
        ({"stages": "revize..sl"}, "no stage is called 'revize': did you mean revise"),
        ({"stages": []}, "stages is empty"),
        ({"constitution": []}, "constitution is empty"),
        ({"preferences": {"sources": []}}, "sources is empty"),
        ({"red_team": {"classifier": "model"}}, "name one with red_team.model"),
        ({"revise": {"round": 2}}, "unknown key revise.round: did you mean rounds"),
        ({"sl": {"sft": {"epochs": 0}}}, "leave out the stage sl"),
    ],
)
def test_bad_configs_are_one_clear_line(changes: dict[str, Any], message: str) -> None:
    raw = {"name": "x", "constitution": "terse_florid", **changes}
    with pytest.raises(ConfigError, match=message) as caught:
        validate_config(raw, AlignConfig)
    assert "\n" not in str(caught.value)


def test_stages_can_be_given_as_a_span() -> None:
    raw = {"name": "x", "constitution": "terse_florid", "stages": "revise..preferences"}
    assert validate_config(raw, AlignConfig).stages == ("revise", "sl", "preferences")


# Kills

KILLS = (
    "red_team-first:1",
    "critiques-0:1",
    "checkpoints/1:2",
    "preferences-expert:1",
    "stages/rl:1",
    "report-rl:1",
    "stages/report:1",
)
"""A word in the path of a file, and the number of the write to it at which the process dies."""


@pytest.mark.slow
def test_a_run_killed_stage_after_stage_ends_with_the_same_files(
    tiny_model_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    raw = settings(tiny_model_dir, prompts)
    run(raw, tmp_path / "whole")
    folder = tmp_path / "killed"
    for place in KILLS:
        process = _process(raw, folder, place)
        assert process.returncode == -9, (place, process.stderr[-2000:])
    last = _process(raw, folder, "")
    assert last.returncode == 0, last.stderr[-2000:]
    assert digests(folder) == digests(tmp_path / "whole")


def _process(raw: dict[str, Any], folder: Path, kill_at: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[1] / "support" / "align_process.py"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(script), json.dumps(raw), str(folder), kill_at]
    return subprocess.run(command, capture_output=True, text=True, check=False)
