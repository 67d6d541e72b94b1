"""`custodes preflight`: what the command line does with a script, a config or the self-test."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from custodes.errors import ConfigError, UsageError
from custodes.preflight.result import Report

__all__ = ["preflight"]


def preflight(arguments: Sequence[str]) -> None:
    """Check a training before its first step: a script's trainer, or a config's.

    Exit code 1 when a check fails.
    """
    own, rest = _split(arguments)
    options = _parser().parse_args(own)
    if options.list:
        _list()
        return
    if options.self_test:
        _self_test(options.target, options.json)
        return
    if options.target is None:
        raise ConfigError("nothing to check", "give a script.py, a config.yaml, or --self-test")
    chosen = {"only": options.only or (), "skip": options.skip or (), "seconds": options.seconds}
    path = Path(options.target)
    if path.suffix in (".yaml", ".yml"):
        from custodes.oversight.preflight import check_config

        reports = check_config(path, rest, **chosen)
    else:
        from custodes.preflight.script import check_script

        reports = check_script(path, rest, every=options.every, **chosen)
    _show(reports, options.json, options.html)
    if any(not report.ok for report in reports):
        sys.exit(1)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(arguments)
    if "--" in words:
        place = words.index("--")
        return words[:place], words[place + 1 :]
    return words, []


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="custodes preflight",
        description="Check a training before its first step. A script is run up to its first "
        "train(), which checks the trainer instead of training it. Arguments of the script, or "
        "key=value overrides of a config, follow after --.",
    )
    parser.add_argument("target", nargs="?", help="a script.py or a config.yaml")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--html", type=Path, help="write a page with the decoded masks there")
    parser.add_argument("--only", nargs="+", help="ids or layers (data batch step reward) to run")
    parser.add_argument("--skip", nargs="+", help="ids or layers to leave out")
    parser.add_argument("--seconds", type=float, default=20.0, help="budget of a trainer (20)")
    parser.add_argument("--every", action="store_true", help="check all trainers of the script")
    parser.add_argument("--list", action="store_true", help="list the checks")
    parser.add_argument(
        "--self-test", action="store_true", help="plant known bugs, and show that each is seen"
    )
    return parser


def _show(reports: Sequence[Report], as_json: bool, page: Path | None) -> None:
    reports = [one for one in reports if one.rank == 0]
    if not reports:
        return
    if as_json:
        text = [report.to_json() for report in reports]
        print(text[0] if len(text) == 1 else f"[{', '.join(text)}]")  # noqa: T201
    else:
        for report in reports:
            print(report)  # noqa: T201
    if page is not None:
        from custodes.preflight.output.page import pages

        page.write_text(pages(reports), encoding="utf-8")
        print(f"wrote {page}", file=sys.stderr)  # noqa: T201


def _list() -> None:
    from custodes.preflight.registry import checks
    from custodes.preflight.result import LAYERS

    for one in checks(LAYERS):
        about = (one.measure.__doc__ or "").strip().splitlines()[0]
        print(f"{one.layer:<7} {one.id:<28} {about}")  # noqa: T201


def _self_test(name: str | None, as_json: bool) -> None:
    from custodes.preflight.selftest import self_test

    def say(line: str) -> None:
        print(line, file=sys.stderr)  # noqa: T201

    outcomes = self_test([name] if name else [], progress=say)
    wrong = [one.id for one in outcomes if not one.held]
    if as_json:
        print(json.dumps([one.to_dict() for one in outcomes], indent=1))  # noqa: T201
    planted = sum(bool(one.wanted) for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    say(
        f"{planted} bugs planted, {len(outcomes) - planted} clean trainers, {len(wrong)} not as "
        "they "
        f"should, {seconds:.0f} s of checks"
    )
    if wrong:
        say(f"the self-test failed: {', '.join(wrong)}: report it")
        sys.exit(1)
