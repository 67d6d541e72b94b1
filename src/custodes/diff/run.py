"""``custodes diff``: from the names of two models to a folder with their differences."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from custodes.diff.compare import Diff, compare
from custodes.diff.config import DiffConfig
from custodes.diff.labeler import Labeling, label, main_share, with_hypotheses
from custodes.diff.model_pair import ModelPair
from custodes.diff.output import save
from custodes.diff.plan import DiffPlan, plan
from custodes.diff.responses import Responses
from custodes.diff.sampling import complete, sample_side
from custodes.models.cached import CachedModel
from custodes.models.resolve import load, load_torch_pair, version_of
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.store import Store

__all__ = ["DiffRun", "run_diff"]


@dataclass(frozen=True)
class DiffRun:
    """The result of `run_diff`.

    Attributes:
        diff: The comparison, with the labeler's hypotheses that passed.
        labeling: All hypotheses of the labeler, and its judge's control; None without a labeler.
        contrast: Content of contrast.json; None without ``config.contrast``.
    """

    diff: Diff
    labeling: Labeling | None = None
    contrast: dict[str, Any] | None = None


def run_diff(config: DiffConfig, folder: Path, *, progress: Progress = silent) -> DiffRun:
    """Sample two models, or read their response files, and compare the responses.

    If it is killed, the same call continues where it stopped. Write the report with
    ``custodes.report.diff.write_diff_report``.

    Args:
        config: What to compare.
        folder: Holds the responses, diff.json, map.json and contrast.json; created if missing.
        progress: Called as stages begin and end.

    Raises:
        CustodesError: An error that the user can correct, in one line; finished work is kept.
    """
    diff_plan = plan(config)
    settings = {"verb": "diff", **config.model_dump(mode="json"), "digest": diff_plan.digest}
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        pair = ModelPair(diff_plan, run, engine=config.engine, progress=progress)
        served = pair.served
        a, b = (_responses(diff_plan, letter, pair, run, progress) for letter in "ab")
        fdr = config.fdr if config.labeler is None else main_share(config.fdr)
        diff = compare(a, b, fdr=fdr, seed=config.seed, progress=progress)
        notes = (*diff_plan.notes, *_serving_notes(diff_plan, served), *diff.notes)
        diff = replace(diff, fdr=config.fdr, notes=notes)
        helpers = _Helpers(run, progress)
        labeling = None
        if config.labeler is not None:
            labeling = _labeling(config, diff, run, helpers)
            diff = with_hypotheses(diff, labeling)
        contrast = None
        if config.contrast:
            contrast = _contrast(config, diff_plan, run, (a, b), helpers, progress)
        about = {
            "sides": [side.settings() | served.get(side.letter, {}) for side in diff_plan.sides],
            "labeler": config.labeler,
            "judge": config.judge or config.labeler,
        }
        progress("writing", 0, 1)
        save(diff, folder, labeling=labeling, about=about)
        progress("writing", 1, 1)
    return DiffRun(diff, labeling, contrast)


def _responses(
    diff_plan: DiffPlan, letter: str, pair: ModelPair, run: RunFolder, progress: Progress
) -> Responses:
    """Return a side's responses; its model is loaded only if some are missing."""
    side = diff_plan.sides["ab".index(letter)]
    if side.responses is not None:
        return replace(side.responses, name=side.label)
    start = time.perf_counter()
    path = run.path / f"responses_{letter}.jsonl"
    was_complete = complete(path, diff_plan.queries, side.sampling.n)
    load_model = partial(pair.model, letter)
    responses = sample_side(side, diff_plan.queries, path, load_model, progress)
    if not was_complete:
        run.clock(f"answers of {letter}", time.perf_counter() - start)
    return responses


def _serving_notes(diff_plan: DiffPlan, served: dict[str, dict[str, Any]]) -> list[str]:
    """Say where the engines, and not the models, may make a difference, or none can be."""
    one, two = diff_plan.sides
    if len(served) < 2:
        return []
    same_settings = (one.system, one.sampling) == (two.system, two.sampling)
    if served["a"] == served["b"] and same_settings:
        return ["A and B are the same weights, with the same prompts, settings and seeds"]
    engines = {letter: serving["engine"] for letter, serving in served.items()}
    if len(set(engines.values())) < 2:
        return []
    by = " and ".join(f"{letter.upper()} by {name}" for letter, name in sorted(engines.items()))
    return [f"served by different engines ({by}): part of a difference may be due to them"]


class _Helpers:
    """Opens the labeler, the judge and the proposer; their replies are kept in the folder.

    A model with two of these roles is loaded once.
    """

    def __init__(self, run: RunFolder, progress: Progress) -> None:
        self._run, self._progress, self._load = run, progress, cache(load)

    def __call__(self, name: str, role: str) -> CachedModel:
        return CachedModel(
            name,
            partial(self._load, name),
            self._run.path / f"{role}.jsonl",
            version=version_of(name),
            label=f"{role} {name[:40]}",
            progress=self._progress,
        )


def _labeling(config: DiffConfig, diff: Diff, run: RunFolder, helpers: _Helpers) -> Labeling:
    assert config.labeler is not None
    start = time.perf_counter()
    labeling = label(
        diff,
        helpers(config.labeler, "labeler"),
        helpers(config.judge or config.labeler, "judge"),
        fdr=config.fdr,
        judged=config.judged,
        most=config.proposals,
        seed=config.seed,
    )
    seconds = time.perf_counter() - start
    run.clock("labeler and judge", seconds, hypotheses=len(labeling.hypotheses))
    return labeling


def _contrast(
    config: DiffConfig,
    diff_plan: DiffPlan,
    run: RunFolder,
    responses: tuple[Responses, Responses],
    helpers: _Helpers,
    progress: Progress,
) -> dict[str, Any]:
    from custodes.diff.contrast.divergence import divergence_report

    def measure() -> dict[str, Any]:
        progress("loading weights", 0, 1)
        models = load_torch_pair(config.a, config.b)
        progress("loading weights", 1, 1)
        proposer = None if config.labeler is None else helpers(config.labeler, "proposer")
        return divergence_report(
            models, diff_plan, responses, proposer=proposer, seed=config.seed, progress=progress
        )

    contrast: dict[str, Any] = Store(run.path).once("contrast", measure)
    return contrast
