"""Tiny trainers for the preflight's tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def built(tmp_path: Path):
    """Build a clean tiny trainer: `built("dpo", options={...})`."""
    from custodes.preflight.plants.trainers import build, quiet

    def make(kind: str, **settings):
        with quiet():
            return build(kind, tmp_path, **settings)

    return make


@pytest.fixture
def ids():
    """Names of the checks that failed, and no check may have broken itself."""

    def read(report):
        broken = [r for r in report.not_tested if "Error:" in r.explanation]
        assert not broken, [(r.id, r.explanation) for r in broken]
        return {r.id for r in report.failed}

    return read
