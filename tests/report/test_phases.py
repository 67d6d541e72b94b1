"""The page and the terminal lines of a sweep's map."""

import copy

import pytest
from tests.support import sweep_runs as work
from tests.support.executors import Inline

from custodes.config import validate_config
from custodes.errors import DataError
from custodes.report.phases import render_phases, write_phases_report
from custodes.report.phases_terminal import lines
from custodes.sweep.config import SweepConfig
from custodes.sweep.run import run_sweep


@pytest.fixture(name="swept", scope="module")
def _swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    raw = {
        "name": "sweep",
        "base": {
            "name": "loop",
            "worker": {"model": "simulated"},
            "experts": [
                {"kind": "simulated", "domain": "helpfulness"},
                {"kind": "simulated", "domain": "harmlessness"},
            ],
            "teacher": {"kind": "simulated"},
        },
        "axes": {
            "overseer.thresholds.harmlessness": {"low": 0.0, "high": 1.0},
            "worker.temperature": {"low": 0.0, "high": 2.0},
        },
        "sampler": "sobol",
        "runs": 10,
        "level": 0.8,
        "simulator": False,
    }

    def execute(config, path):
        if path.endswith("3"):
            raise ValueError("<b>boom</b>")
        return work.landscape(config, path)

    run_sweep(validate_config(raw, SweepConfig), folder, executor=Inline(), execute=execute)
    return folder


def result(folder):
    import json

    return json.loads((folder / "phases.json").read_text())


def test_the_page_names_the_phases_and_escapes_what_a_run_said(swept):
    html = write_phases_report(swept).read_text()
    assert "good, expected" in html
    assert "&lt;b&gt;boom&lt;/b&gt;" in html
    assert "<b>boom</b>" not in html
    assert "<script" not in html
    assert "What Workers say" not in html


def test_points_open_their_reports_where_there_are_any(swept):
    html = render_phases(result(swept), {0})
    assert 'href="runs/00000/report.html"' in html
    assert 'href="runs/00001/report.html"' not in html


def test_structural_surprise_is_on_the_page_and_in_the_terminal(swept):
    found = copy.deepcopy(result(swept))
    row = {"point": 1, "prompts": 20, "p": 0.001, "q": 0.01, "flagged": True}
    found["structure"] = [row | {"findings": ["B says <i>sorry</i> more often"]}]
    html = render_phases(found)
    assert "1 of 1 points say other things" in html
    assert "&lt;i&gt;sorry&lt;/i&gt;" in html
    assert any("says other things than its neighbours" in line for line in lines(found))
    found["structure"][0] |= {"flagged": False}
    assert not any("other things" in line for line in lines(found))


def test_a_failed_control_comes_first_in_the_terminal(swept):
    assert next(iter(lines(result(swept)))).startswith("CONTROL FAILED: runs ended")


def test_a_folder_without_a_map_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no map"):
        write_phases_report(tmp_path)
