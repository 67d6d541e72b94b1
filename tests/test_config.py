"""Every mistake in a config is one line that names the place, the cause and the remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from custodes.config import load_config, validate_config
from custodes.errors import ConfigError
from custodes.oversight.config import OverseeConfig


@dataclass(frozen=True)
class Head:
    kind: Literal["head"] = "head"
    layer: Annotated[int, Field(ge=0)] = 3


@dataclass(frozen=True)
class Judge:
    kind: Literal["judge"] = "judge"
    model: str = "m"


@dataclass(frozen=True)
class Inner:
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    names: dict[str, int] = field(default_factory=dict)


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seed: int = 0
    inner: Inner = Inner()
    experts: list[Annotated[Head | Judge, Field(discriminator="kind")]] = []


def load(tmp_path: Path, text: str, *overrides: str) -> Example:
    (tmp_path / "c.yaml").write_text(text)
    return load_config(tmp_path / "c.yaml", Example, overrides)


def test_values_and_overrides(tmp_path: Path) -> None:
    text = "seed: 1\nexperts: [{kind: head}, {kind: judge}]"
    config = load(tmp_path, text, "inner.threshold=0.25", "experts.1.model=x", "inner.names.a=2")
    assert config.inner == Inner(0.25, {"a": 2})
    assert config.experts == [Head(), Judge(model="x")]


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("sead: 1", (), "unknown key sead: did you mean seed"),
        ("inner: {treshold: 1}", (), "unknown key inner.treshold: did you mean threshold"),
        ("inner: {threshold: 1.5}", (), "inner.threshold: .*less than or equal to 1, not 1.5"),
        ("seed: many", (), "seed: .*integer.*not 'many'"),
        ("experts: [{kind: hed}]", (), "experts.0: no kind 'hed': did you mean head"),
        ("experts: [{kind: head, layr: 1}]", (), "unknown key .*layr: did you mean layer"),
        ("experts: [{layer: 1}]", (), "experts.0: .*kind"),
        ("- 1", (), "not a mapping"),
        ("a: [", (), "not YAML at line 1"),
        ("seed: 0", ("seed",), "not key=value"),
        ("seed: 0", ("seed.x=1",), "plain value"),
        ("experts: [{kind: head}]", ("experts.3.layer=1",), "no item 3"),
        ("seed: x\ninner: {threshold: 2}", (), "and 1 more: inner.threshold"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(tmp_path, text, *overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "oversee.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean oversee\.yaml"):
        load_config(tmp_path / "oversea.yaml", Example)
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path, Example)


def test_a_mistake_is_where_its_writer_put_it() -> None:
    raw: dict[str, Any] = {"name": "x", "user": {"kind": "dataset", "path": "a.jsonl"}}
    with pytest.raises(ConfigError, match=r"unknown key user\.path: .*Known: batch, kind, mix, s"):
        validate_config(raw, OverseeConfig)
    raw = {"name": "x", "perturbations": [{"kind": "jailbreak", "at": 1, "until": 2, "share": 3}]}
    with pytest.raises(ConfigError, match=r"config: perturbations\.0\.share: "):
        validate_config(raw, OverseeConfig)
    raw = {"name": "x", "perturbations": [{"kind": "jailbreak"}]}
    with pytest.raises(ConfigError, match=r"config: perturbations\.0\.at: field required"):
        validate_config(raw, OverseeConfig)
