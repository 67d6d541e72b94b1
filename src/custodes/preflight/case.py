"""What the checks of one trainer share: each piece is measured once, when first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from custodes.preflight.result import NotTestable
from custodes.preflight.subject import Subject

if TYPE_CHECKING:
    from custodes.preflight.measure.batch import Batch
    from custodes.preflight.measure.forward import Answer
    from custodes.preflight.measure.rewards import Audit
    from custodes.preflight.measure.rollout import Rollouts
    from custodes.preflight.measure.schedule import Schedule
    from custodes.preflight.measure.snapshot import Snapshot
    from custodes.preflight.measure.step import Step

__all__ = ["Case", "Limits"]

T = TypeVar("T")
Scorer = Callable[[list[str], list[str]], list[float]]


class Limits:
    """How much a preflight may cost.

    Args:
        seconds: Budget of the whole; dear checks that no longer fit are not tested.
        rows: Rows of the measured step.
        tokens: Tokens of the measured step, at most, where rows are short enough.
        reward_seconds: Longest time that one call of a reward function may take.
        sample: Rows that the data and batch layers look at.
    """

    def __init__(
        self,
        seconds: float = 20.0,
        rows: int = 4,
        tokens: int = 768,
        reward_seconds: float = 10.0,
        sample: int = 64,
    ) -> None:
        self.seconds = seconds
        self.rows = rows
        self.tokens = tokens
        self.reward_seconds = reward_seconds
        self.sample = sample
        self.began = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.seconds - (time.monotonic() - self.began)


class Case:
    """One trainer with everything that was measured on it.

    Args:
        trainer: Under check.
        snapshot: Its state as it came.
        limits: What the preflight may cost.
        expert: Scores replies from outside: (prompts, replies) to scores; higher is better.
        asked: Ids of checks asked for by name; these run whatever they cost.
    """

    def __init__(
        self,
        trainer: Any,
        snapshot: Snapshot,
        limits: Limits,
        expert: Scorer | None = None,
        asked: frozenset[str] = frozenset(),
    ) -> None:
        self.trainer = trainer
        self.snapshot = snapshot
        self.limits = limits
        self.expert = expert
        self.asked = asked
        self.subject = Subject(trainer, sample=limits.sample)
        self._failures: dict[str, Exception] = {}
        self.notes: dict[str, Any] = {}

    def affordable(self, seconds: float, id: str) -> None:
        """Refuse a dear measurement that no longer fits into the budget.

        Raises:
            NotTestable: It does not fit, and was not asked for by name.
        """
        if seconds > self.limits.left and id not in self.asked:
            raise NotTestable(
                f"it would take about {seconds:.0f} s more than the budget of "
                f"{self.limits.seconds:g} s leaves; ask for it with only=[{id!r}]"
            )

    def _once(self, name: str, compute: Callable[[], T]) -> T:
        """Compute a piece, remembering the failure too, so that it happens once."""
        if name in self._failures:
            raise NotTestable(reason(self._failures[name]))
        try:
            return compute()
        except NotTestable as error:
            self._failures[name] = error
            raise
        except Exception as error:
            self._failures[name] = error
            raise NotTestable(reason(error)) from error

    def failure(self, name: str) -> Exception | None:
        """Return what went wrong with a piece, e.g. "step"."""
        return self._failures.get(name)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the training set with all their columns."""
        return self.subject.rows

    @property
    def autocast(self) -> Callable[[], AbstractContextManager[Any]]:
        """The trainer's own precision."""
        accelerator = self.trainer.accelerator
        return accelerator.autocast  # type: ignore[no-any-return]

    @property
    def pad(self) -> int:
        """Id that padding is made of."""
        tokenizer = getattr(self.trainer, "processing_class", None)
        config = getattr(self.subject.base, "config", None)
        for holder in (getattr(tokenizer, "tokenizer", tokenizer), config):
            value = getattr(holder, "pad_token_id", None)
            if isinstance(value, int):
                return value
        return 0

    @cached_property
    def batch(self) -> Batch:
        """Rows as the trainer's own collator batches them."""
        from custodes.preflight.measure.batch import collate

        return self._once("batch", lambda: collate(self, self.rows[: min(len(self.rows), 16)]))

    @cached_property
    def answers(self) -> list[Answer]:
        """The replies of all sampled rows as token ids."""
        from custodes.preflight.measure.batch import answers_of

        return self._once("answers", lambda: answers_of(self.subject, self.rows))

    @cached_property
    def schedule(self) -> Schedule:
        """Steps and learning rates of the training to come."""
        from custodes.preflight.measure.schedule import plan

        return self._once("schedule", lambda: plan(self))

    @cached_property
    def step(self) -> Step:
        """One real optimizer step, measured and taken back."""
        from custodes.preflight.measure.step import take

        return self._once("step", lambda: take(self))

    @cached_property
    def rollouts(self) -> Rollouts:
        """Completions that the trainer sampled and scored."""
        from custodes.preflight.measure.rollout import sample

        return self._once("rollouts", lambda: sample(self))

    @cached_property
    def audit(self) -> Audit:
        """What the reward functions say to probes."""
        from custodes.preflight.measure.rewards import audit

        return self._once("audit", lambda: audit(self))


def reason(error: Exception) -> str:
    """Say in one line what an exception says."""
    text = " ".join(str(error).split())
    if isinstance(error, NotTestable):
        return text
    name = type(error).__name__
    return f"{name}: {text[:240]}" if text else name


def plain_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copy rows, so that a collator that pops columns changes none of ours."""
    return [
        {key: list(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
        if isinstance(row, Mapping)
    ]
