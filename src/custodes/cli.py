"""The command line: verbs that parse, call and print. Python code can do all that they do."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from custodes.errors import CustodesError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["main"]

RESUMES = "The same command on the same folder resumes."

Config = Annotated[Path, arg(name="CONFIG", help="A YAML file; examples/ has some.")]
Overrides = Annotated[
    tuple[str, ...],
    arg(name="key=value", help="Override a config key, e.g. steps=4 worker.engine=torch."),
]


def oversee(
    config: Positional[Config],
    overrides: Positional[Overrides] = (),
    /,
    out: Path | None = None,
) -> None:
    """Run a loop of a supervised Worker, and report it with its controls.

    The same command on the same folder resumes the run.

    Args:
        config: The config of the run.
        overrides: Changes to the config.
        out: The run's folder; runs/NAME by default, where NAME is the config's name.
    """
    from custodes.config import load_config
    from custodes.oversight.config import OverseeConfig
    from custodes.oversight.run import oversee as run
    from custodes.progress import console
    from custodes.report import write_report
    from custodes.report.terminal import print_summary

    settings = load_config(config, OverseeConfig, overrides)
    folder = out or Path("runs") / settings.name
    with console() as progress:
        summary = run(settings, folder, progress=progress)
    report = write_report(folder)
    print_summary(summary, report)


def diff(arguments: Sequence[str]) -> None:
    """Report what differs between two models, or two files of responses."""
    from custodes.diff.config import DiffConfig
    from custodes.diff.run import run_diff
    from custodes.options import read_options
    from custodes.progress import console
    from custodes.report.diff import write_diff_report
    from custodes.report.diff_terminal import print_diff

    if "--benchmark" in arguments:
        _benchmark([argument for argument in arguments if argument != "--benchmark"])
        return
    about = (
        f"{diff.__doc__} {RESUMES} custodes diff --benchmark plants known differences and counts "
        "those that are detected (see its --help)."
    )
    config, out = read_options(
        DiffConfig, arguments, prog="custodes diff", about=about, positional=("a", "b")
    )
    with console() as progress:
        run = run_diff(config, out, progress=progress)
    print_diff(run.diff, run.labeling, write_diff_report(out))


def drift(arguments: Sequence[str]) -> None:
    """Report how a lineage of models drifts from its first generation."""
    from custodes.drift.config import DriftConfig
    from custodes.drift.run import run_drift
    from custodes.options import read_options
    from custodes.progress import console
    from custodes.report.drift import write_drift_report
    from custodes.report.drift_terminal import print_drift

    about = f"{drift.__doc__} {RESUMES}"
    config, out = read_options(
        DriftConfig, arguments, prog="custodes drift", about=about, positional=("sources",)
    )
    with console() as progress:
        result = run_drift(config, out, progress=progress)
    print_drift(result, write_drift_report(out))


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
    from custodes.options import extended
    from custodes.runs import write_json

    samples = Annotated[
        Positional[tuple[Path, ...]],
        arg(
            help="Response files of one model, or a folder of them; by default the bundled model's."
        ),
    ]
    out = Annotated[Path | None, arg(help="JSON file to write the result of every case to.")]
    options = tyro.cli(
        extended(Plan, samples=(samples, ()), out=(out, None)),
        prog="custodes diff --benchmark",
        description=_benchmark.__doc__,
        args=arguments,
    )
    plan = Plan(**{name: getattr(options, name) for name in Plan.__dataclass_fields__})
    rows = run(options.samples, plan, progress=lambda line: print(line, file=sys.stderr))  # noqa: T201
    if options.out is not None:
        write_json(options.out, rows)
    _say(table(rows))


def models_list() -> None:
    """List the bundled models and whether each is installed."""
    from custodes.models.bundled import BUNDLED, installed

    _table(
        ["name", "installed", "download", "licence", "description"],
        [
            [
                model.name,
                "yes" if installed(model.name) else "no",
                f"{model.download / 1e6:.0f} MB",
                model.licence,
                model.about,
            ]
            for model in BUNDLED.values()
        ],
    )


def models_pull(name: Positional[str] = "smollm2-135m") -> None:
    """Download a bundled model; afterwards it needs no network.

    Args:
        name: A name from `custodes models list`.
    """
    from custodes.models.bundled import pull
    from custodes.progress import console

    with console() as progress:
        path = pull(name, progress)
    _say(f"{name} is in {path}")


def models_export(
    name: Positional[str],
    out: Positional[Path],
    /,
    adapter: Path | None = None,
    form: Annotated[Literal["peft", "safetensors", "gguf"], arg(name="format")] = "gguf",
) -> None:
    """Write a model for other programs: a PEFT folder, merged safetensors, or a GGUF.

    Args:
        name: Any model name, or a run's checkpoint folder.
        out: The folder or file to write.
        adapter: A PEFT folder to apply to the model, e.g. runs/demo/checkpoints/1.
        form: The file format. Every program of the llama.cpp family loads a GGUF.
    """
    from custodes.models.formats.export import export

    _say(f"wrote {export(name, out, form, adapter=adapter)}")


def experts_list() -> None:
    """List the Experts that ship with custodes, and the results on their cards."""
    from custodes.experts.heads.head import load_expert, shipped

    cards = [load_expert(name).card for name in shipped()]
    _table(
        ["name", "domain", "data", "held-out accuracy", "failed controls"],
        [
            [
                card.name,
                card.domain,
                f"{card.data.name} (part {card.data.part})",
                f"{card.held_out.accuracy.value:.3f} "
                f"[{card.held_out.accuracy.low:.3f}, {card.held_out.accuracy.high:.3f}]",
                ", ".join(card.failures) or "none",
            ]
            for card in cards
        ],
    )


def experts_fit(
    data: Positional[Path],
    /,
    domain: Literal["helpfulness", "harmlessness"],
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
        domain: The domain that the Expert rates.
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
    _say(
        f"{report.path}: held-out accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, "
        f"{accuracy.high:.3f}] on {accuracy.pairs} pairs; failed controls: "
        f"{', '.join(report.card.failures) or 'none'}"
    )
    if report.failed:
        sys.exit(1)


def config(verb: Positional[Literal["oversee", "align", "diff", "drift"]]) -> None:
    """Print every key of a verb's config, as Markdown.

    Args:
        verb: The verb.
    """
    from custodes.constitution.config import AlignConfig
    from custodes.diff.config import DiffConfig
    from custodes.drift.config import DriftConfig
    from custodes.oversight.config import OverseeConfig
    from custodes.reference import config_reference

    configs: dict[str, type[BaseModel]] = {
        "oversee": OverseeConfig,
        "align": AlignConfig,
        "diff": DiffConfig,
        "drift": DriftConfig,
    }
    sys.stdout.write(config_reference(configs[verb]))


def _say(text: str) -> None:
    from rich.console import Console

    from custodes.text import visible

    Console(highlight=False, soft_wrap=True).print(visible(text), markup=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "experts": (
        "List the shipped Experts; fit one of your own.",
        {"list": experts_list, "fit": experts_fit},
    ),
    "models": (
        "List, fetch and export models.",
        {"list": models_list, "pull": models_pull, "export": models_export},
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


def _parse(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] in APART:
        APART[arguments[0]](arguments[1:])
        return
    if arguments and arguments[0] in GROUPS:
        name = arguments[0]
        app = tyro.extras.SubcommandApp()
        about, verbs = GROUPS[name]
        for verb, function in verbs.items():
            app.command(name=verb)(function)
        app.cli(prog=f"custodes {name}", description=about, args=arguments[1:])
        return
    app = tyro.extras.SubcommandApp()
    app.command(oversee)
    app.command(config)
    for name, apart in APART.items():
        app.command(name=name)(_listed(apart.__doc__ or ""))
    for name, (about, verbs) in GROUPS.items():
        app.command(name=name)(_listed(about, verbs))
    app.cli(
        prog="custodes",
        description="A laboratory for language models that train, rate and watch others.",
        args=list(arguments) or ["--help"],
    )


def _listed(about: str, verbs: Collection[str] = ()) -> Callable[[], None]:
    """Return an entry in the list of verbs for a verb or group that is parsed apart."""

    def group() -> None: ...

    group.__doc__ = about + (f" ({', '.join(verbs)})" if verbs else "")
    return group


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A user's mistake is one line and exit code 1, an interruption code 130."""
    try:
        _parse(sys.argv[1:] if arguments is None else list(arguments))
    except CustodesError as error:
        _fail(f"custodes: {error}", 1)
    except ModuleNotFoundError as error:
        # The core is small; what a verb needs beyond it is an extra.
        if (error.name or "").partition(".")[0] == "custodes":
            raise
        _fail(f"custodes: this needs {error.name}: pip install 'custodes[all]'", 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        # Libraries write files too, and a full disk is no bug that needs a traceback.
        if error.errno not in DISK:
            raise
        _fail(
            f"custodes: {error.filename or 'writing'}: {os.strerror(error.errno)}: free some space "
            "or choose another folder, and run the same command again; what was finished is kept",
            1,
        )
    except KeyboardInterrupt:
        _fail("custodes: interrupted; what was finished is kept, the same command goes on", 130)


def _fail(line: str, code: int) -> None:
    from custodes.text import visible

    print(visible(" ".join(line.split())), file=sys.stderr)  # noqa: T201
    sys.exit(code)
