"""Check a trainer before it trains, and leave it exactly as it was."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from collections.abc import Collection, Iterator
from typing import Any

from custodes.errors import DataError
from custodes.preflight.case import Case, Limits, Scorer, reason
from custodes.preflight.registry import Check, checks
from custodes.preflight.result import NotTestable, Report, Result, TokenRow, Verdict

__all__ = ["check"]

UNCHANGED = Check(
    "trainer-unchanged",
    "step",
    expected="weights, gradients and random states are bit for bit what they were",
    remedy="report it, with the trainer's class: a preflight must change nothing",
    reference="docs/guide/preflight.md",
    measure=lambda _case: Verdict(None, ""),
)


def check(
    trainer: Any,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    seconds: float = 20.0,
    rows: int = 4,
    reward_seconds: float = 10.0,
    expert: Scorer | None = None,
) -> Report:
    """Check a trainer before `train()`: its data, its batches, one real step, its rewards.

    The step is real (the trainer's loss and optimizer, on a few rows) and is taken back: weights,
    optimizer, random states and everything else that can be reached from the trainer are restored.

    Args:
        trainer: A transformers `Trainer`, or one of trl's.
        only: Ids or layers of checks to run; empty: all that are not on request.
        skip: Ids or layers to leave out.
        seconds: Budget; dear checks that no longer fit into it are not tested, and say so.
        rows: Rows of the measured step.
        reward_seconds: Longest time that one call of a reward function may take.
        expert: Scores replies from outside the training: (prompts, replies) to scores.

    Returns:
        The report; its `failed` lists the checks that failed.

    Raises:
        ConfigError: ``only`` or ``skip`` names no check.
        DataError: The object is no trainer.
    """
    if not hasattr(trainer, "args") or not hasattr(trainer, "train"):
        raise DataError(
            f"a {type(trainer).__name__} is no trainer",
            "pass a transformers.Trainer or one of trl's, before trainer.train()",
        )
    from custodes.preflight.measure.snapshot import Snapshot

    began = time.monotonic()
    chosen = checks(only, skip)
    results: list[Result] = []
    decoded: tuple[TokenRow, ...] = ()
    with _quiet():
        snapshot = Snapshot([trainer], uncopied=_others(trainer))
        limits = Limits(seconds, rows=rows, reward_seconds=reward_seconds)
        case = Case(trainer, snapshot, limits, expert, frozenset(only))
        try:
            for one in chosen:
                results.append(_result(one, case))
            decoded = _rows(case)
        finally:
            description = case.subject.describe()
            rank = int(getattr(getattr(trainer, "accelerator", None), "process_index", 0) or 0)
            del case
            snapshot.restore()
    differences = snapshot.differences()
    if not only or "step" in only or UNCHANGED.id in only:
        results.append(_unchanged(differences))
    return Report(description, tuple(results), decoded, time.monotonic() - began, rank)


def _others(trainer: Any) -> list[Any]:
    """Return the weights of reference and reward models that are not the trained model's."""
    models = [getattr(trainer, "ref_model", None), *(getattr(trainer, "reward_funcs", None) or [])]
    own = {id(p) for p in trainer.model.parameters()} if hasattr(trainer, "model") else set()
    return [
        weight
        for model in models
        if hasattr(model, "parameters")
        for weight in model.parameters()
        if id(weight) not in own
    ]


def _result(one: Check, case: Case) -> Result:
    start = time.monotonic()
    verdict = _measure(one, case)
    return Result(
        one.id,
        one.layer,
        verdict.passed,
        " ".join(verdict.explanation.split()),
        dict(verdict.measured),
        one.expected,
        one.remedy,
        one.reference,
        time.monotonic() - start,
    )


def _measure(one: Check, case: Case) -> Verdict:
    try:
        if one.kinds and case.subject.kind not in one.kinds:
            return Verdict(None, f"does not apply to a {type(case.trainer).__name__}")
        if case.subject.visual and one.layer != "data":
            return Verdict(None, "rows hold images, which are not checked yet")
        if one.dear and case.limits.left <= 0 and one.id not in case.asked:
            return Verdict(
                None,
                f"the budget of {case.limits.seconds:g} s is used up; ask with only=[{one.id!r}], "
                "or give seconds=",
            )
        return one.measure(case)
    except NotTestable as error:
        return Verdict(None, reason(error))
    except Exception as error:
        return Verdict(None, reason(error))


def _unchanged(differences: list[str]) -> Result:
    text = "; ".join(differences[:3]) if differences else "nothing that was remembered differs"
    return Result(
        UNCHANGED.id,
        UNCHANGED.layer,
        not differences,
        text,
        {"differences": len(differences)},
        UNCHANGED.expected,
        UNCHANGED.remedy,
        UNCHANGED.reference,
    )


def _rows(case: Case) -> tuple[TokenRow, ...]:
    from custodes.preflight.output.rows import token_rows

    try:
        return token_rows(case)
    except Exception:
        return ()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries and the user's functions from writing while the checks run."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
