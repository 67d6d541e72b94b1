"""Reports: table, JSON, page; script, callback and fixture."""

import json

import pytest

from custodes.commands.preflight import preflight
from custodes.errors import DataError
from custodes.preflight import PreflightCallback, PreflightError, Report, check
from custodes.preflight.plants.trainers import quiet
from custodes.preflight.result import Result, TokenRow
from custodes.preflight.script import check_script

BAD = Result(
    "weights-move",
    "step",
    False,
    "<script>\x1b[31m 0 of 5",
    {"moved": float("nan")},
    "more",
    "do",
    "a#1",
)
GOOD = Result("step-runs", "step", True, "ran", {}, "runs", "do", "a#2")
REPORT = Report(
    "SFTTrainer", (GOOD, BAD), (TokenRow("row 0", (("<b>", "trained"), ("x", "context"))),), 1.0
)

SCRIPT = """
import sys
from pathlib import Path
from custodes.preflight.plants.trainers import build, quiet
with quiet():
    trainer = build("dpo", Path(sys.argv[1]) / "m", options={"beta": float(sys.argv[2])})
trainer.train()
Path(sys.argv[1], "trained").touch()
"""


def test_failures_come_first_everywhere():
    text = str(REPORT)
    assert text.index("weights-move") < text.index("step-runs")
    assert "remedy: do" in text
    page = REPORT.to_html()
    assert page.index("weights-move") < page.index("step-runs")
    assert REPORT.failed == [BAD]
    with pytest.raises(PreflightError, match="weights-move"):
        REPORT.raise_if_failed()


def test_untrusted_text_is_escaped():
    assert "\x1b" not in str(REPORT)
    for page in (REPORT.to_html(), REPORT._repr_html_()):
        assert "<script" not in page
        assert "&lt;b&gt;" in page


def test_json_is_json():
    read = json.loads(REPORT.to_json())
    assert read["failed"] == ["weights-move"]
    assert read["results"][1]["measured"]["moved"] == "nan"


def test_the_page_shows_which_tokens_are_trained(built):
    report = check(built("sft"), only=["trained-text"])
    parts = {part for row in report.rows for _, part in row.tokens}
    assert parts == {"trained", "context"}
    assert "an end token" in report.rows[0].note


def test_a_script_is_checked_and_not_trained(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    preflight([str(script), "--only", "beta-sign", "--", str(tmp_path), "0.1"])
    assert "beta-sign" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        preflight(
            [
                str(script),
                "--json",
                "--only",
                "beta-sign",
                "--html",
                str(tmp_path / "p.html"),
                "--",
                str(tmp_path),
                "-0.1",
            ]
        )
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["failed"] == ["beta-sign"]
    assert "beta-sign" in (tmp_path / "p.html").read_text()
    assert not (tmp_path / "trained").exists()


def test_a_script_with_its_own_train(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "import trl, tempfile\nfrom custodes.preflight.plants.trainers import build, quiet\n"
        "class Mine(trl.SFTTrainer):\n    def train(self):\n        raise ValueError('trained')\n"
        "with quiet():\n    t = build('sft', tempfile.mkdtemp(), base=Mine)\nt.train()\n"
    )
    (report,) = check_script(script, only=["trained-tokens"])
    assert report.ok


def test_train_is_put_back(tmp_path):
    from transformers import Trainer

    before = Trainer.train
    script = tmp_path / "none.py"
    script.write_text("print('no training')")
    with pytest.raises(DataError, match="never called train"):
        check_script(script)
    script.write_text("1 / 0")
    with pytest.raises(DataError, match="ZeroDivisionError"):
        check_script(script)
    assert Trainer.train is before
    assert "__init_subclass__" not in vars(Trainer)


def test_the_callback_stops_a_bad_training(built):
    bad = built("dpo", options={"beta": -0.1})
    shown = []
    bad.add_callback(PreflightCallback(bad, only=["beta-sign"], show=shown.append))
    with quiet(), pytest.raises(PreflightError, match="beta"):
        bad.train()
    assert "beta-sign" in shown[0]


def test_the_callback_checks_again_and_changes_nothing(built, tmp_path):
    from custodes.preflight.measure.checksum import checksum

    plain = built("sft")
    with quiet():
        plain.train()
    watched = built("sft")
    callback = PreflightCallback(watched, every=3, show=None)
    watched.add_callback(callback)
    with quiet():
        watched.train()
    assert len(callback.reports) == 3
    assert all(report.ok for report in callback.reports), [
        (r.id, r.explanation) for report in callback.reports for r in report.failed
    ]
    assert callback.reports[1]["step-helps"].passed
    assert [checksum(p) for p in plain.model.parameters()] == [
        checksum(p) for p in watched.model.parameters()
    ]


def test_the_fixture_fails_a_test(built, preflight):
    preflight(built("dpo"), only=["beta-sign"])
    with pytest.raises(pytest.fail.Exception, match="beta-sign"):
        preflight(built("dpo", options={"beta": -0.1}), only=["beta-sign"])


def test_the_list_and_the_self_test(capsys):
    preflight(["--list"])
    assert "step-helps" in capsys.readouterr().out
    preflight(["--self-test", "dpo-negative-beta"])
    assert "1 bugs planted" in capsys.readouterr().err
