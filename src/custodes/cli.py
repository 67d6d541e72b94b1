"""The command line: verbs that parse, call and print. Python code can do all that they do."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.commands.configs import config, demo, init, oversee_in
from custodes.commands.models import models_export, models_list, models_pull, models_push
from custodes.commands.show import conclude, say, table
from custodes.errors import CustodesError, UsageError, near_misses
from custodes.options import JSON, OVERWRITE, call_verb
from custodes.version import __version__

__all__ = ["main"]

HELP = """A laboratory for language models that train, rate and watch others.

Exit codes: 0 all is well; 1 a control of the result failed; 2 the command or its input is wrong, or
something that it needs is missing; 130 it was interrupted. Standard output is for the result,
standard error for progress and errors; --json prints the result as one JSON object."""

Config = Annotated[Path, arg(metavar="CONFIG", help="A YAML file; custodes init writes one.")]
Overrides = Annotated[
    tuple[str, ...],
    arg(
        metavar="[key=value ...]",
        help="Override a config key, e.g. steps=4 worker.engine=torch.",
    ),
]
Out = Annotated[Path | None, arg(metavar="DIR", help="The run's folder; runs/NAME by default.")]
Json = Annotated[FlagCreatePairsOff[bool], arg(help=JSON)]
Overwrite = Annotated[FlagCreatePairsOff[bool], arg(help=OVERWRITE)]


def oversee(
    config: Positional[Config],
    overrides: Positional[Overrides] = (),
    /,
    out: Out = None,
    json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Run a loop of a supervised Worker, and report it with its controls.

    The same command on the same folder resumes the run; with more steps it goes on.
    """
    from custodes.config import load_config
    from custodes.oversight.config import OverseeConfig

    settings = load_config(config, OverseeConfig, overrides)
    oversee_in(settings, out or Path("runs") / settings.name, json, overwrite)


def diff(arguments: Sequence[str]) -> None:
    """Report what differs between two models, or two files of responses."""
    from custodes.diff.config import DiffConfig
    from custodes.diff.run import run_diff
    from custodes.options import read_options
    from custodes.progress import console
    from custodes.report.diff import write_diff_report
    from custodes.report.diff_terminal import print_diff
    from custodes.runs import overwriting

    if "--benchmark" in arguments:
        _benchmark([argument for argument in arguments if argument != "--benchmark"])
        return
    about = (
        f"{diff.__doc__} custodes diff --benchmark plants known differences and counts those that "
        "are detected (see its --help)."
    )
    config, out, as_json, overwrite = read_options(
        DiffConfig, arguments, prog="custodes diff", about=about, positional=("a", "b")
    )
    with console() as progress, overwriting(out, overwrite):
        run = run_diff(config, out, progress=progress)
    report = write_diff_report(out)
    conclude(out / "diff.json", as_json, lambda: print_diff(run.diff, run.labeling, report))


def drift(arguments: Sequence[str]) -> None:
    """Report how a lineage of models drifts from its first generation."""
    from custodes.drift.config import DriftConfig
    from custodes.drift.run import run_drift
    from custodes.options import read_options
    from custodes.progress import console
    from custodes.report.drift import write_drift_report
    from custodes.report.drift_terminal import print_drift
    from custodes.runs import overwriting

    config, out, as_json, overwrite = read_options(
        DriftConfig,
        arguments,
        prog="custodes drift",
        about=drift.__doc__ or "",
        positional=("sources",),
    )
    with console() as progress, overwriting(out, overwrite):
        result = run_drift(config, out, progress=progress)
    report = write_drift_report(out)
    conclude(out / "drift.json", as_json, lambda: print_drift(result, report))


def preflight(arguments: Sequence[str]) -> None:
    """Check a training before its first step: a script's trainer, or a config's."""
    from custodes.commands.preflight import preflight as run

    run(arguments)


def sweep(arguments: Sequence[str]) -> None:
    """Map where a supervised system is good or bad, expected or surprising."""
    from custodes.commands.sweep import sweep as run

    run(arguments)


def align(arguments: Sequence[str]) -> None:
    """Train a model by a constitution, or by its inverse, and report what obeyed it."""
    from custodes.commands.align import align as run

    run(arguments)


def calibrate(arguments: Sequence[str]) -> None:
    """Fit the simulator to runs, and say how well it predicts runs that it has not seen."""
    from custodes.commands.sweep import calibrate as run

    run(arguments)


def label(arguments: Sequence[str]) -> None:
    """Let people pick the better of two answers, on a page of this computer."""
    from custodes.commands.label import label as run

    run(arguments)


def _benchmark(arguments: Sequence[str]) -> None:
    """Plant known differences in real responses, and count those that are detected."""
    from custodes.diff.benchmark.run import Plan, run, table
    from custodes.options import extended, parse_options
    from custodes.runs import write_json

    samples = Annotated[
        Positional[tuple[Path, ...]],
        arg(
            help="Response files of one model, or a folder of them; by default the bundled model's."
        ),
    ]
    out = Annotated[Path | None, arg(help="JSON file to write the result of every case to.")]
    options = parse_options(
        extended(Plan, samples=(samples, ()), out=(out, None)),
        arguments,
        prog="custodes diff --benchmark",
        description=_benchmark.__doc__ or "",
    )
    plan = Plan(**{name: getattr(options, name) for name in Plan.__dataclass_fields__})
    rows = run(options.samples, plan, progress=lambda line: print(line, file=sys.stderr))  # noqa: T201
    if options.out is not None:
        write_json(options.out, rows)
    say(table(rows))


def experts_list(json: Json = False) -> None:
    """List the Experts that ship with custodes, and the results on their cards."""
    from custodes.experts.heads.head import load_expert, shipped

    cards = [load_expert(name).card for name in shipped()]
    table(
        "experts",
        [
            {
                "name": card.name,
                "domain": card.domain,
                "data": f"{card.data.name} (part {card.data.part})",
                "held-out accuracy": f"{card.held_out.accuracy.value:.3f} "
                f"[{card.held_out.accuracy.low:.3f}, {card.held_out.accuracy.high:.3f}]",
                "failed controls": ", ".join(card.failures) or "none",
            }
            for card in cards
        ],
        json,
    )


def experts_fit(
    data: Positional[Path],
    /,
    domain: str,
    out: Path,
    licence: str,
    base: str = "smollm2-135m",
    part: Literal["all", "a", "b"] = "all",
    share: float = 0.5,
    seed: int = 0,
) -> None:
    """Fit an Expert to preference pairs, and write it with its card.

    Args:
        data: JSONL of prompt, chosen and rejected, or transcripts in the format of hh-rlhf.
        domain: The domain that the Expert rates: helpfulness, harmlessness or one of your own.
        out: The .safetensors file to write.
        licence: Licence of the data, for the card.
        base: The frozen model whose hidden states the Expert reads.
        part: Fit on all prompts, or on one part of them (by hash) and measure on the other.
        share: Share of the prompts in part a, in (0, 1).
        seed: Draws the folds, the shuffled-label twins and the bootstrap samples.
    """
    from custodes.experts.heads.fit import fit_head
    from custodes.progress import console

    with console() as progress:
        report = fit_head(
            data,
            domain,
            out,
            licence=licence,
            base=base,
            part=part,
            share=share,
            seed=seed,
            progress=progress,
        )
    accuracy = report.card.held_out.accuracy
    say(
        f"{report.path}: held-out accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, "
        f"{accuracy.high:.3f}] on {accuracy.pairs} pairs; failed controls: "
        f"{', '.join(report.card.failures) or 'none'}"
    )
    if report.failed:
        sys.exit(1)


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "experts": (
        "List the shipped Experts; fit one of your own.",
        {"list": experts_list, "fit": experts_fit},
    ),
    "models": (
        "List, fetch, export and push models.",
        {
            "list": models_list,
            "pull": models_pull,
            "export": models_export,
            "push": models_push,
        },
    ),
}


# Verbs that parse their own arguments: their options are the keys of a config.
APART: dict[str, Callable[[Sequence[str]], None]] = {
    "diff": diff,
    "drift": drift,
    "preflight": preflight,
    "align": align,
    "sweep": sweep,
    "calibrate": calibrate,
    "label": label,
}


# Verbs of one function, whose options are its arguments.
VERBS: dict[str, Callable[..., None]] = {
    "oversee": oversee,
    "demo": demo,
    "init": init,
    "config": config,
}


def _parse(arguments: Sequence[str]) -> None:
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
    if verb == "--version":
        say(f"custodes {__version__}")
    elif verb in APART:
        APART[verb](rest)
    elif verb in GROUPS:
        about, verbs = GROUPS[verb]
        if rest and not rest[0].startswith("-") and rest[0] not in verbs:
            raise UsageError(f"no verb '{verb} {rest[0]}'", near_misses(rest[0], verbs))
        call_verb(verbs, list(rest) or ["--help"], prog=f"custodes {verb}", description=about)
    elif verb in VERBS:
        function = VERBS[verb]
        about = cleandoc(function.__doc__ or "").partition("\n\nArgs:")[0]
        call_verb(function, rest, prog=f"custodes {verb}", description=about)
    elif verb.startswith("-"):
        listed = VERBS | {name: _listed(apart.__doc__ or "") for name, apart in APART.items()}
        listed |= {name: _listed(about, verbs) for name, (about, verbs) in GROUPS.items()}
        call_verb(listed, [verb, *rest], prog="custodes", description=HELP)
    else:
        raise UsageError(f"no verb {verb!r}", near_misses(verb, [*VERBS, *APART, *GROUPS]))


def _listed(about: str, verbs: Collection[str] = ()) -> Callable[[], None]:
    """Return an entry in the list of verbs for a verb or group that is parsed apart."""

    def group() -> None: ...

    group.__doc__ = about + (f" ({', '.join(verbs)})" if verbs else "")
    return group


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Exit codes are 0, 1 where a control failed, 2 for an error, which is one line, and 130 for an
    interruption.
    """
    try:
        _parse(sys.argv[1:] if arguments is None else list(arguments))
    except CustodesError as error:
        _fail(f"custodes: {error}", 2)
    except ModuleNotFoundError as error:
        # The core is small; what a verb needs beyond it is an extra.
        if (error.name or "").partition(".")[0] == "custodes":
            raise
        _fail(f"custodes: this needs {error.name}: pip install 'custodes[all]'", 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(2)
    except OSError as error:
        # Libraries write files too, and a full disk is no bug that needs a traceback.
        if error.errno not in DISK:
            raise
        _fail(
            f"custodes: {error.filename or 'writing'}: {os.strerror(error.errno)}: free some space "
            "or choose another folder, and run the same command again; what was finished is kept",
            2,
        )
    except KeyboardInterrupt:
        _fail("custodes: interrupted; what was finished is kept, the same command goes on", 130)


def _fail(line: str, code: int) -> None:
    from custodes.text import visible

    print(visible(" ".join(line.split())), file=sys.stderr)  # noqa: T201
    sys.exit(code)
