"""``custodes config``, ``init`` and ``demo``: what a config may hold, a first one, a short run."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.commands.show import conclude, say
from custodes.errors import ConfigError, UsageError, near_misses
from custodes.options import JSON, OVERWRITE
from custodes.screen import write_out

if TYPE_CHECKING:
    from pydantic import BaseModel

    from custodes.oversight.config import OverseeConfig

__all__ = ["config", "demo", "init", "oversee_in"]

CONFIGS = {
    "oversee": "custodes.oversight.config:OverseeConfig",
    "align": "custodes.constitution.config:AlignConfig",
    "diff": "custodes.diff.config:DiffConfig",
    "drift": "custodes.drift.config:DriftConfig",
    "sweep": "custodes.sweep.config:SweepConfig",
}
"""The config of each verb that has one."""

FIRST: dict[str, dict[str, Any]] = {
    "oversee": {"name": "mine"},
    "sweep": {
        "name": "my-sweep",
        "base": {
            "name": "base",
            "steps": 12,
            "worker": {"model": "simulated:helpful=0.6,harmful=0.4"},
            "experts": [
                {"kind": "simulated", "domain": "helpfulness"},
                {"kind": "simulated", "domain": "harmlessness"},
            ],
            "teacher": {"kind": "simulated"},
        },
        "axes": {
            "overseer.thresholds.harmlessness": {"low": 0.3, "high": 0.95},
            "teacher.dynamics.tax": {"low": 0.0, "high": 0.8},
        },
        "runs": 12,
    },
}
"""For the verbs that read a config file: what a first config has instead of the defaults."""

DEMO = Path(__file__).parents[1] / "data" / "configs" / "demo.yaml"


def _class(verb: str) -> type[BaseModel]:
    if verb not in CONFIGS:
        raise UsageError(f"{verb!r} has no config", near_misses(verb, CONFIGS))
    module, _, name = CONFIGS[verb].partition(":")
    found: type[BaseModel] = getattr(import_module(module), name)
    return found


def config(
    verb: Positional[str],
    /,
    schema: Annotated[
        FlagCreatePairsOff[bool], arg(help="Print a JSON Schema, for editors, instead.")
    ] = False,
) -> None:
    """Print every key of a verb's config, as Markdown or as a JSON Schema.

    Args:
        verb: oversee, align, diff, drift or sweep.
    """
    from custodes.reference import config_reference, config_schema

    model = _class(verb)
    if schema:
        write_out(json.dumps(config_schema(model), indent=2) + "\n")
    else:
        write_out(config_reference(model))


def init(
    verb: Positional[str],
    path: Positional[Annotated[Path | None, arg(metavar="FILE")]] = None,
    /,
) -> None:
    """Write a first config, with every key and what it means. It runs as it is.

    Args:
        verb: oversee or sweep.
        path: The file to write; VERB.yaml by default. A file that is there is left alone.
    """
    from custodes.reference import config_template
    from custodes.runs.files import write_atomic

    if verb not in FIRST:
        reason = "it takes options" if verb in CONFIGS else near_misses(verb, FIRST)
        raise UsageError(f"{verb!r} reads no config file", reason)
    file = path or Path(f"{verb}.yaml")
    if file.exists():
        raise ConfigError(f"{file} exists", "name another file, or remove it")
    write_atomic(file, config_template(_class(verb), FIRST[verb]))
    say(f"wrote {file}; run it: custodes {verb} {file}")


def demo(
    out: Annotated[Path, arg(metavar="DIR", help="The run's folder.")] = Path("runs/demo"),
    json: Annotated[FlagCreatePairsOff[bool], arg(help=JSON)] = False,
    overwrite: Annotated[FlagCreatePairsOff[bool], arg(help=OVERWRITE)] = False,
) -> None:
    """Supervise a small language model for some minutes, and report it.

    It needs no file and, once the bundled model is here, no network.
    """
    from custodes.config import load_config
    from custodes.oversight.config import OverseeConfig

    oversee_in(load_config(DEMO, OverseeConfig), out, json, overwrite)


def oversee_in(settings: OverseeConfig, folder: Path, as_json: bool, overwrite: bool) -> None:
    """Run a config in a folder, and print and report the result."""
    from custodes.oversight.run import oversee
    from custodes.progress import console
    from custodes.report import write_report
    from custodes.report.terminal import print_summary
    from custodes.runs import overwriting

    with console() as progress, overwriting(folder, overwrite):
        summary = oversee(settings, folder, progress=progress)
    report = write_report(folder)
    conclude(folder / "summary.json", as_json, lambda: print_summary(summary, report))
