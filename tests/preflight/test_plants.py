"""Planted bugs go red, each by the check that names it; clean trainers stay green."""

import pytest

from custodes.preflight import check
from custodes.preflight.plants.catalogue import plants
from custodes.preflight.plants.trainers import KINDS, quiet
from custodes.preflight.registry import checks
from custodes.preflight.result import LAYERS


@pytest.mark.parametrize("plant", plants(), ids=lambda one: one.id)
def test_a_planted_bug_is_seen(plant, tmp_path):
    with quiet():
        trainer = plant.build(tmp_path)
    report = check(trainer, only=plant.checks)
    assert report.failed, [(r.id, r.status, r.explanation) for r in report.results]
    assert report.failed[0].remedy


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_trainer_raises_no_alarm(kind, built, ids):
    report = check(built(kind), seconds=120)
    assert ids(report) == set(), [(r.id, r.explanation) for r in report.failed]
    assert len(report.passed) > 30


def test_every_named_check_exists():
    known = {one.id for one in checks(LAYERS)}
    assert {c for plant in plants() for c in plant.checks} <= known
    assert len(plants()) >= 25


def test_every_check_says_what_to_do():
    for one in checks(LAYERS):
        assert one.expected
        assert one.remedy
        assert one.reference
        assert one.measure.__doc__
