"""The command line: a user's mistake is one line, and nothing finished is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import yaml

from custodes.cli import main
from custodes.commands.configs import CONFIGS, FIRST
from custodes.config import load_config
from custodes.constitution.config import AlignConfig
from custodes.diff.config import DiffConfig
from custodes.drift.config import DriftConfig
from custodes.oversight.config import OverseeConfig
from custodes.reference import config_reference, config_schema
from custodes.sweep.config import SweepConfig
from custodes.sweep.outcome import check_axes

ROOT = Path(__file__).parent.parent
SIMULATED = (ROOT / "examples" / "simulated.yaml").read_text()
SHORT = ("steps=8", "perturbations=[]", "control=false")


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "c.yaml").write_text(text)
    return str(tmp_path / "c.yaml")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("custodes:")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("stepz=3", "unknown key stepz: did you mean steps"),
        ("overseer.tresholds.helpfulness=0.5", "did you mean thresholds"),
        ("overseer.thresholds.helpfulness=1.5", "less than or equal to 1, not 1.5"),
        ("overseer.thresholds.honesty=0.5", "no Expert rates 'honesty'"),
        ("steps=many", "valid integer"),
        ("worker.model=smollm2-135", "did you mean smollm2-135m"),
        ("worker.engine=openvin", "worker.engine"),
        ("perturbations.0.kind=noisy_exprt", "did you mean noisy_expert"),
        ("steps=20", "begins after the last step"),
        ("perturbations.0.until=1", "is never active"),
        ("experts.0.domain=helpful", "no Expert rates 'helpfulness': did you mean helpful"),
        ("experts.0.domain=Help me", "experts.0.domain is 'Help me'"),
        ("user.sources.helpfulness=nowhere.jsonl", "nowhere.jsonl"),
        ("user.sources.helpfulness=everday", "did you mean everyday"),
        ("user.batch=5000", "lower the batch"),
        ("gold.prompts=5000", "lower gold.prompts"),
        ("name=a/b", "name"),
    ],
)
def test_a_mistake_in_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, says: str
) -> None:
    config = write(tmp_path, SIMULATED)
    assert says in fails(capsys, "oversee", config, change, "--out", str(tmp_path / "run"))


def test_a_config_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SIMULATED)
    assert "did you mean c.yaml" in fails(capsys, "oversee", str(tmp_path / "d.yaml"))


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "empty"), ('{"prompt": "hello"}\n{"prompt": \n', "line 2")],
)
def test_a_bad_data_set_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    (tmp_path / "mine.jsonl").write_text(content)
    source = f"user.sources.helpfulness={tmp_path / 'mine.jsonl'}"
    said = fails(
        capsys, "oversee", write(tmp_path, SIMULATED), source, "--out", str(tmp_path / "r")
    )
    assert says in said
    assert "mine.jsonl" in said


def test_the_simulated_example_runs_resumes_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["oversee", write(tmp_path, SIMULATED), "steps=30", "--out", str(out)]
    main(arguments)
    printed = capsys.readouterr().out
    assert "all" in printed
    assert max(map(len, printed.splitlines())) < 1000
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdict"]["passed"]
    assert summary["null_run"]["gold"]
    assert (out / "report.html").stat().st_size < 2_000_000
    before = (out / "events.jsonl").read_bytes()
    main(arguments)
    assert (out / "events.jsonl").read_bytes() == before


def start(tmp_path: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "custodes", "oversee", write(tmp_path, SIMULATED)]
    return subprocess.Popen(
        [*command, "steps=400", "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def wait_for_events(out: Path, least: int) -> None:
    for _ in range(1200):
        if (out / "events.jsonl").exists():
            lines = (out / "events.jsonl").read_bytes().count(b"\n")
            if lines >= least:
                return
        time.sleep(0.05)
    raise AssertionError("the run made no events")


def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    alone = start(tmp_path, tmp_path / "alone")
    assert alone.wait(300) == 0
    killed = start(tmp_path, tmp_path / "killed")
    wait_for_events(tmp_path / "killed", 40)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    again = start(tmp_path, tmp_path / "killed")
    assert again.wait(300) == 0
    for log in ("events.jsonl", "null_run/events.jsonl"):
        assert (tmp_path / "killed" / log).read_bytes() == (tmp_path / "alone" / log).read_bytes()


def test_interrupted_it_says_one_line_and_keeps_what_was_done(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path / "run")
    wait_for_events(tmp_path / "run", 40)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("custodes: interrupted")
    assert (tmp_path / "run" / "events.jsonl").read_bytes().count(b"\n") >= 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["oversea"], "no verb 'oversea': did you mean oversee"),
        (["models", "lst"], "no verb 'models lst': did you mean list"),
        (["oversee"], "missing: CONFIG: see custodes oversee --help"),
        (["diff", "a"], "missing: B, --out"),
        (["diff", "a", "b", "--limit", "many", "--out", "x"], "--limit cannot be 'many'"),
        (["sweep", "s.yaml", "--rums=3"], "--rums=3"),
        (["config", "oversea"], "did you mean oversee"),
        (["init", "diff"], "it takes options"),
        (["preflight", "s.py", "--seconds", "x"], "invalid float value"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in fails(capsys, *arguments)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "1 a control of the result failed; 2" in " ".join(capsys.readouterr().out.split())
    idle = "teacher.dynamics={gain: 0, noise: 0}"
    config = write(tmp_path, SIMULATED)
    with pytest.raises(SystemExit) as caught:
        main(
            [
                "oversee",
                config,
                idle,
                "steps=24",
                "perturbations=[]",
                "control=false",
                "--out",
                str(tmp_path / "bad"),
            ]
        )
    assert caught.value.code == 1
    assert json.loads((tmp_path / "bad" / "summary.json").read_text())["verdict"]["failed"]


def test_json_is_all_of_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    main(["oversee", write(tmp_path, SIMULATED), *SHORT, "--json", "--out", str(out)])
    assert json.loads(capsys.readouterr().out) == json.loads((out / "summary.json").read_text())
    for group in ("models", "experts"):
        main([group, "list", "--json"])
        assert json.loads(capsys.readouterr().out)[group][0]["name"]


def test_tables_are_whole_where_they_are_piped(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "list"])
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "Qwen2.5-Coder-1.5B-Instruct: critic, judge and labeler without an endpoint" in printed


def test_overwrite_replaces_a_run_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = str(tmp_path / "run"), write(tmp_path, SIMULATED)
    main(["oversee", config, *SHORT, "--out", out])
    assert "--overwrite" in fails(capsys, "oversee", config, *SHORT, "seed=1", "--out", out)
    main(["oversee", config, *SHORT, "seed=1", "--out", out, "--overwrite"])
    assert "seed: 1" in (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    said = fails(capsys, "oversee", config, "--out", str(tmp_path / "mine"), "--overwrite")
    assert "not the folder of a run" in said
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    config = write(tmp_path, SIMULATED)
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "cannot write" in fails(capsys, "oversee", config, "--out", str(out))


@pytest.mark.parametrize("verb", list(FIRST))
def test_a_first_config_is_valid_explains_every_key_and_is_never_overwritten(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "first.yaml"
    main(["init", verb, str(path)])
    module, _, name = CONFIGS[verb].partition(":")
    model = getattr(import_module(module), name)
    assert load_config(path, model) == model(**FIRST[verb])
    lines = path.read_text().splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r" *[\w]+:", line)]
    unexplained = [lines[i] for i in keys if not lines[i - 1].lstrip().startswith("#")]
    assert [line for line in unexplained if "kind:" not in line] == []
    assert "exists" in fails(capsys, "init", verb, str(path))


def test_the_first_sweep_has_a_base_and_axes_that_it_has(tmp_path: Path) -> None:
    sweep = SweepConfig(**FIRST["sweep"])
    check_axes(sweep.read_base(tmp_path), [dict.fromkeys(sweep.axes, 0.5)])


@pytest.mark.parametrize("verb", list(CONFIGS))
def test_a_schema_explains_the_keys(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", verb, "--schema"])
    schema = json.loads(capsys.readouterr().out)
    own = {name: about for name, about in schema["properties"].items() if "$ref" not in about}
    assert own
    assert [name for name, about in own.items() if not about.get("description")] == []


@pytest.mark.parametrize("example", ["oversee", "short", "simulated"])
def test_examples_fit_the_schema(example: str) -> None:
    raw = yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text())
    schema = config_schema(OverseeConfig)
    jsonschema.validate(raw, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**raw, "stepz": 3}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**raw, "teacher": {"kind": "dpo", "promts": 3}}, schema)


def test_completion_knows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "bash"])
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("oversee", "diff", "models", "--overwrite"))


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys\nfrom custodes.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'sklearn', 'scipy', 'openvino'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_reference_of_the_config_is_what_the_code_says() -> None:
    reference = ROOT / "docs" / "reference"
    for name, config in (
        ("oversee_config", OverseeConfig),
        ("align_config", AlignConfig),
        ("diff", DiffConfig),
        ("drift", DriftConfig),
    ):
        assert config_reference(config).rstrip() in (reference / f"{name}.md").read_text()


@pytest.mark.parametrize("verb", ["oversee", "diff", "drift"])
def test_the_reference_is_printed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", verb])
    assert "| `seed` |" in capsys.readouterr().out


def test_every_key_has_a_meaning() -> None:
    rows = [line for line in config_reference(OverseeConfig).splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    without = [row for row in rows if row.rstrip(" |").endswith("|") or row.endswith("|  |")]
    assert without == []


def test_the_benchmark_of_diffs_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["soil", "seed", "bread", "oven", "song", "note", "wheel", "steel"]
    for k in range(2):
        rows = [
            {
                "prompt_id": f"p{i}",
                "prompt": f"tell me about {words[i % 8]} {i}",
                "response": " ".join(words[(i * (k + 2) + j * j) % 8] for j in range(9)) + ".",
            }
            for i in range(80)
        ]
        (tmp_path / f"{k}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = [str(tmp_path / f"{k}.jsonl") for k in range(2)]
    out = tmp_path / "cases.json"
    options = [
        "--n",
        "60",
        "--nulls",
        "1",
        "--runs",
        "1",
        "--rates",
        "0.5",
        "--sorts",
        "global",
        "--no-opponents",
    ]
    main(["diff", "--benchmark", *samples, *options, "--out", str(out)])
    assert "custodes diff" in capsys.readouterr().out
    assert [row["sort"] for row in json.loads(out.read_text())] == ["null", "global"]


def test_a_full_disk_is_one_line_whoever_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_too_much(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/x/model.safetensors")

    monkeypatch.setattr("custodes.cli._parse", write_too_much)
    assert "/x/model.safetensors: No space left on device: free some space" in fails(capsys, "x")


def test_the_null_run_is_in_the_cost(tmp_path: Path) -> None:
    main(("oversee", write(tmp_path, SIMULATED), "control=true", "--out", str(tmp_path / "run")))
    cost = json.loads((tmp_path / "run" / "summary.json").read_text())["cost"]
    assert "null run" in cost["seconds_by_stage"]
