"""``custodes diff``: from two names to a folder that says what differs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from custodes.diff.answers import answer, complete
from custodes.diff.compare import Diff, compare
from custodes.diff.config import DiffConfig
from custodes.diff.labeler import Labelled, label, main_share, with_labels
from custodes.diff.output import save
from custodes.diff.plan import Task, plan
from custodes.diff.responses import Responses
from custodes.errors import RunError
from custodes.models.base import LanguageModel
from custodes.models.cached import CachedModel
from custodes.models.resolve import load, load_pair, load_torch_pair, version_of
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.store import Store

__all__ = ["DiffRun", "run_diff"]

Answers = tuple[Responses, Responses]
Pair = tuple[LanguageModel | None, LanguageModel | None]


@dataclass(frozen=True)
class DiffRun:
    """What a diff of two models left behind.

    Attributes:
        diff: The comparison, with the labeler's hypotheses that passed.
        labelled: All hypotheses of the labeler, those that failed among them; None without one.
        contrast: The content of contrast.json; None where it was not asked for.
    """

    diff: Diff
    labelled: tuple[Labelled, ...] | None = None
    contrast: dict[str, Any] | None = None


def run_diff(config: DiffConfig, folder: Path, *, progress: Progress = silent) -> DiffRun:
    """Ask two models, or read what they answered, and compare.

    Killed at any moment and called again with the same arguments, it goes on where it stopped.
    ``custodes.report.diff.write_diff_report`` writes the report.

    Args:
        config: What to compare.
        folder: Where responses, diff.json, map.json and contrast.json go; made if not there.
        progress: Told what is going on.

    Raises:
        CustodesError: Whatever a user can mend, in one line; what was done is kept.
    """
    task = plan(config)
    settings = {"verb": "diff", **config.model_dump(mode="json"), "digest": task.digest}
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        a, b, served = _responses(config, task, run, progress)
        fdr = config.fdr if config.labeler is None else main_share(config.fdr)
        diff = compare(a, b, fdr=fdr, seed=config.seed, progress=progress)
        diff = replace(diff, fdr=config.fdr, notes=(*task.notes, *served["notes"], *diff.notes))
        labelled = None
        remembered = _Remembering(run, progress)
        if config.labeler is not None:
            labelled = _labelled(config, diff, run, remembered)
            diff = with_labels(diff, labelled)
        found = None
        if config.contrast:
            found = _contrast(config, task, run, (a, b), remembered, progress)
        about = {
            "sides": [s.settings() | served.get(s.letter, {}) for s in task.sides],
            "labeler": config.labeler,
            "judge": config.judge or config.labeler,
        }
        progress("writing", 0, 1)
        save(diff, folder, labelled=labelled, about=about)
        progress("writing", 1, 1)
    return DiffRun(diff, None if labelled is None else tuple(labelled), found)


def _responses(
    config: DiffConfig, task: Task, run: RunFolder, progress: Progress
) -> tuple[Responses, Responses, dict[str, Any]]:
    """Get both sides' responses; models are loaded only if something is left to ask."""
    load_both = cache(partial(_load_both, config, task, progress))

    def engines() -> dict[str, Any]:
        models = {s.letter: m for s, m in zip(task.sides, load_both(), strict=True)}
        return {
            letter: {"engine": model.engine, "version": model.version}
            for letter, model in models.items()
            if model is not None
        }

    event = run.log.once("models", engines)
    checked = cache(partial(_unchanged, load_both, engines, event, run.path))
    got = []
    for number, side in enumerate(task.sides):
        if side.responses is not None:
            got.append(replace(side.responses, name=side.label))
            continue
        begun = time.perf_counter()
        path = run.path / f"responses_{side.letter}.jsonl"
        rest = complete(path, task.questions, side.sampling.n)
        model = partial(_nth, checked, number)
        got.append(answer(side, task.questions, path, model, progress))
        if not rest:
            run.clock(f"answers of {side.letter}", time.perf_counter() - begun)
    used = {key: event[key] for key in "ab" if key in event}
    return got[0], got[1], {**used, "notes": _notes(task, used)}


def _nth(models: Callable[[], Pair], number: int) -> LanguageModel:
    model = models()[number]
    assert model is not None
    return model


def _load_both(config: DiffConfig, task: Task, progress: Progress) -> Pair:
    names = [side.model for side in task.sides]
    if names == [None, None]:
        return None, None
    progress("loading models", 0, 1)
    one, two = names
    pair: Pair
    if one is not None and two is not None:
        pair = load_pair(one, two, engine=config.engine)
    else:
        pair = (
            None if one is None else load(one, engine=config.engine),
            None if two is None else load(two, engine=config.engine),
        )
    progress("loading models", 1, 1)
    return pair


def _unchanged(
    load_both: Callable[[], Pair],
    engines: Callable[[], dict[str, Any]],
    event: dict[str, Any],
    folder: Path,
) -> Pair:
    """Return the models, if they are those that the folder's first answers came from."""
    models = load_both()
    for letter, now in engines().items():
        if event[letter] != now:
            was = event[letter]
            raise RunError(
                f"{letter.upper()} was {was['engine']} {was['version']} when {folder} was begun "
                f"and is {now['engine']} {now['version']} now",
                "choose another folder with --out, or delete this one",
            )
    return models


def _notes(task: Task, used: dict[str, Any]) -> list[str]:
    one, two = task.sides
    if used.get("a", 1) == used.get("b", 2) and (one.system, one.sampling) == (
        two.system,
        two.sampling,
    ):
        return ["A and B are the same weights, asked the same way with the same seeds"]
    engines = {key: value["engine"] for key, value in used.items()}
    if len(set(engines.values())) < 2:
        return []
    said = " and ".join(f"{key.upper()} by {engine}" for key, engine in sorted(engines.items()))
    return [f"served by different engines ({said}): part of a difference may be theirs"]


class _Remembering:
    """Gives models whose replies are kept in the folder; one in two roles is loaded once."""

    def __init__(self, run: RunFolder, progress: Progress) -> None:
        self._run, self._progress, self._open = run, progress, cache(load)

    def __call__(self, name: str, role: str) -> CachedModel:
        return CachedModel(
            name,
            lambda: self._open(name),
            self._run.path / f"{role}.jsonl",
            version=version_of(name),
            label=f"{role} {name[:40]}",
            progress=self._progress,
        )


def _labelled(
    config: DiffConfig, diff: Diff, run: RunFolder, remembered: _Remembering
) -> list[Labelled]:
    assert config.labeler is not None
    begun = time.perf_counter()
    labelled = label(
        diff,
        remembered(config.labeler, "labeler"),
        remembered(config.judge or config.labeler, "judge"),
        fdr=config.fdr,
        judged=config.judged,
        most=config.proposals,
        seed=config.seed,
    )
    run.clock("labeler and judge", time.perf_counter() - begun, hypotheses=len(labelled))
    return labelled


def _contrast(
    config: DiffConfig,
    task: Task,
    run: RunFolder,
    answers: Answers,
    remembered: _Remembering,
    progress: Progress,
) -> dict[str, Any]:
    from custodes.diff.contrast.divergence import partings

    def decode() -> dict[str, Any]:
        progress("loading weights", 0, 1)
        models = load_torch_pair(config.a, config.b)
        progress("loading weights", 1, 1)
        proposer = None
        if config.labeler is not None:
            proposer = remembered(config.labeler, "proposer")
        return partings(
            models, task, answers, proposer=proposer, seed=config.seed, progress=progress
        )

    contrast: dict[str, Any] = Store(run.path).once("contrast", decode)
    return contrast
