"""`custodes label`: serve the labelling page, and say how far annotators agree."""

from __future__ import annotations

import getpass
import json
import signal
import sys
import webbrowser
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.errors import ConfigError
from custodes.options import call_verb

if TYPE_CHECKING:
    from custodes.labels.annotators import LabelSummary
    from custodes.labels.session import Session

__all__ = ["label"]

Flag = FlagCreatePairsOff[bool]


def label(arguments: Sequence[str]) -> None:
    """Let people pick the better of two answers, on a page of this computer."""
    about = cleandoc(_label.__doc__ or "").partition("\n\nArgs:")[0]
    call_verb(_label, arguments, prog="custodes label", description=about)


def _label(
    file: Positional[Annotated[tuple[Path, ...], arg(metavar="FILE")]],
    /,
    out: Path = Path("labels.jsonl"),
    annotator: tuple[str, ...] = (),
    port: int = 0,
    seed: int = 0,
    repeats: float = 0.1,
    browser: Flag = False,
    agreement: Flag = False,
    json: Flag = False,
) -> None:
    """Serve a page on which people pick the better of two answers, with the keyboard or by touch.

    Each answer is saved before the next item is shown. Ctrl-C ends it and prints the agreement; the
    same command goes on where it ended. Exit code 1 if a control fails, for example that annotators
    agree better than chance.

    Args:
        file: JSONL, JSON, CSV or Parquet with prompt (or messages), and response_a and response_b
            or chosen and rejected. With --agreement, one or several files of labels.
        out: The file of labels, JSON lines. It can be read as preference pairs.
        annotator: Name of the annotator, or of several: each gets an address. By default the
            name of this computer's user.
        port: The port of 127.0.0.1 to listen on; 0 takes a free one.
        seed: Draws the order of the items, the repeated items, and the sides.
        repeats: Share of the items that are shown twice, with the sides swapped, in [0, 1].
        browser: Open the page in a browser.
        agreement: Print the agreement of files of labels, and serve no page.
        json: Print the result as JSON.
    """
    from custodes.data.labels import read_labels
    from custodes.labels.annotators import summary
    from custodes.labels.items import read_choices
    from custodes.labels.session import Session

    if not 0 <= repeats <= 1:
        raise ConfigError(f"--repeats {repeats}", "give a share in [0, 1]")
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}", "give a port up to 65535, or 0 for a free one")
    if agreement:
        _end(summary(read_labels(file), seed=seed), json)
        return
    if len(file) != 1:
        raise ConfigError(f"{len(file)} files to label", "name one file")
    names = annotator or (_user(),)
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigError(
            f"--annotator {' '.join(names)}", "give annotators different names, none empty"
        )
    items = read_choices(file[0])
    with Session(items, out, seed=seed, repeats=repeats) as session:
        _serve(session, names, port, browser)
        labels = list(session.labels)
    _end(summary(labels, seed=seed), json)


def _serve(session: Session, names: Sequence[str], port: int, browser: bool) -> None:
    from custodes.labels.server import LabelServer

    if session.torn:
        _say(f"dropped a torn last line ({session.torn} bytes) of {session.path}")
    with LabelServer(session, names, port) as server:
        _say(f"{len(session.items)} items, {len(session.labels)} answers so far in {session.path}")
        for name in names:
            _say(f"{name}: {server.urls[name]}")
        _say("Open the address in a browser on this computer. Ctrl-C ends; answers are kept.")
        if browser:
            webbrowser.open(server.urls[names[0]])
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            _say("")


def _end(result: LabelSummary, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.to_dict(), indent=2) + "\n")
    else:
        _print(result)
    if any(control.passed is False for control in result.controls):
        sys.exit(1)


def _print(result: LabelSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    from custodes.text import one_line, visible

    screen = Console(highlight=False, soft_wrap=True)
    answers, people = sum(one.labels for one in result.annotators), len(result.annotators)
    screen.print(
        f"{answers} answers of {people} annotator{'s' * (people != 1)} to {result.items} items"
    )
    agreement = result.agreement
    if agreement.alpha is not None:
        interval = "" if agreement.low is None else f" [{agreement.low:.2f}, {agreement.high:.2f}]"
        screen.print(
            f"Krippendorff's alpha {agreement.alpha:.2f}{interval} on the {agreement.shared} items "
            "that two annotators or more answered (0 is chance, 1 is full agreement)",
            markup=False,
        )
    columns = ("annotator", "answers", "ties", "skipped", "left", "consistent", "median seconds")
    table = Table(*columns, box=None, header_style="bold")
    for one in result.annotators:
        consistent = "–" if one.consistent is None else f"{one.consistent:.0%} of {one.repeats}"
        table.add_row(
            one_line(one.name, 40),
            *map(str, (one.labels, one.ties, one.skipped)),
            "–" if one.left is None else f"{one.left:.0%}",
            consistent,
            "–" if one.seconds is None else f"{one.seconds:.1f}",
        )
    if people:
        screen.print(table)
    for control in result.controls:
        line = f"{control.status}: {control.name}: {control.explanation}"
        screen.print(visible(line), markup=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "annotator"


def _say(text: str) -> None:
    from rich.console import Console

    from custodes.text import visible

    # Standard error: with --json, standard output is one object.
    Console(stderr=True, highlight=False, soft_wrap=True).print(visible(text), markup=False)
