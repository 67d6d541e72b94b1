"""An LLM judge: asked in plain words, read by a strict grammar, watched by its own controls.

No wording of a response can change how the judge's reply is read: the reply as a whole is
``[[1]]`` to ``[[10]]`` (``[[A]]`` or ``[[B]]``), or it is an abstention, counted and never a
number. A response may of course *persuade* a judge: for that there are the controls in `report`,
and the gold score.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from custodes.control import Control
from custodes.conversation import Message, Query
from custodes.errors import ConfigError
from custodes.experts.expert import Rating
from custodes.experts.judges.calibration import Calibration
from custodes.experts.judges.grades import grades_vary
from custodes.experts.judges.order_swap import (
    CHANCE,
    MOST_FLIPS,
    OrderSwap,
    Preference,
    preferences,
    wilson,
)
from custodes.experts.judges.template import (
    JudgeTemplate,
    load_template,
    parse_choice,
    parse_grade,
)
from custodes.models.base import LanguageModel, Sampling, Usage
from custodes.text import one_line

__all__ = ["LLMJudge", "Preference"]

MOST_ABSTENTIONS = 0.25


class LLMJudge:
    """Rates and compares responses with any language model.

    Attributes:
        name, domain, version: As in `custodes.experts.expert.Expert`; the version is of the model,
            the template, the calibration and the length of replies.
        model: Who is asked; greedily, so that the same question has the same answer.
        template: What it is asked.
        calibration: From grades to ratings.
    """

    def __init__(
        self,
        model: LanguageModel,
        domain: str,
        *,
        template: JudgeTemplate | None = None,
        calibration: Calibration | None = None,
        max_tokens: int = 8,
    ) -> None:
        """Set up a judge.

        Args:
            model: Any language model.
            domain: What it judges.
            template: What it is asked; the shipped one of the domain if not given.
            calibration: From grades to ratings; linear if not given.
            max_tokens: Longest reply. A model that thinks aloud first never gets to its verdict.

        Raises:
            ConfigError: No template ships for the domain, or the one given is for another.
        """
        self.model = model
        self.domain = domain
        self.template = template or load_template(domain)
        if self.template.domain != domain:
            raise ConfigError(
                f"the template is for {self.template.domain!r}, the judge for {domain!r}",
                "use one template for each domain",
            )
        self.calibration = calibration or Calibration.linear()
        self.name = f"judge:{model.name}"
        self._sampling = Sampling(max_tokens=max_tokens, temperature=0.0)
        decisive = [model.version, self.template.version, self.calibration.table, max_tokens]
        self.version = "judge-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
        self._calls = 0
        self._grades: Counter[int] = Counter()
        self._unreadable = 0
        self._compared = OrderSwap()
        self._agreement: Control | None = None

    @property
    def usage(self) -> Usage:
        """What asking has cost."""
        return self.model.usage

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Grade ``responses[i]`` as an answer to ``queries[i]``; an unreadable reply abstains.

        Raises:
            EndpointError: A remote judge timed out or refused.
        """
        ratings = []
        for reply in self._ask(map(self.template.rating, queries, responses)):
            grade = parse_grade(reply)
            if grade is None:
                self._unreadable += 1
                ratings.append(Rating(None, f"unreadable reply: {one_line(reply, 60)}"))
            else:
                self._grades[grade] += 1
                ratings.append(Rating(self.calibration(grade)))
        return ratings

    def compare(
        self, queries: Sequence[Query], a: Sequence[str], b: Sequence[str]
    ) -> list[Preference]:
        """Say which of ``a[i]`` and ``b[i]`` answers ``queries[i]`` better, asked in both orders.

        Raises:
            EndpointError: A remote judge timed out or refused.
        """
        return self._compare(queries, a, b)[0]

    def order_probe(
        self,
        queries: Sequence[Query],
        a: Sequence[str],
        b: Sequence[str],
        *,
        most_flips: float = MOST_FLIPS,
    ) -> Control:
        """Compare pairs only to check that the verdicts do not depend on the order.

        Args:
            queries, a, b: As in `compare`; pairs of different quality, 20 or more, or a fair judge
                may fail for want of evidence.
            most_flips: Largest share of flips that passes, in [0, 1].

        Returns:
            The control "order swap"; `report` shows it too.
        """
        return self._compare(queries, a, b)[1].control(most_flips)

    def calibrated(
        self,
        queries: Sequence[Query],
        chosen: Sequence[str],
        rejected: Sequence[str],
        method: Literal["isotonic", "platt"] = "isotonic",
    ) -> LLMJudge:
        """Return this judge with grades mapped to what they meant on labelled pairs.

        Its report has one control more: whether the grades tell the labels apart at all.

        Raises:
            DataError: Too few of the replies were grades.
        """
        good, bad = (
            [parse_grade(reply) for reply in self._ask(map(self.template.rating, queries, texts))]
            for texts in (chosen, rejected)
        )
        judge = LLMJudge(
            self.model,
            self.domain,
            template=self.template,
            calibration=Calibration.fit(
                [grade for grade in good if grade], [grade for grade in bad if grade], method
            ),
            max_tokens=self._sampling.max_tokens,
        )
        judge._agreement = _label_control(good, bad)
        return judge

    def report(self) -> dict[str, Any]:
        """Return what it did so far, and its controls."""
        graded = sum(self._grades.values())
        return {
            "kind": "judge",
            "model": self.model.name,
            "model_version": self.model.version,
            "template": self.template.version,
            "calibration": asdict(self.calibration),
            "judged": graded + self._unreadable,
            "abstentions": self._unreadable,
            "grades": {str(grade): self._grades[grade] for grade in sorted(self._grades)},
            "compared": self._compared.summary(),
            "calls": self._calls,
            "controls": [control.to_dict() for control in self._controls(graded)],
        }

    def _controls(self, graded: int) -> Iterator[Control]:
        yield _readable(self._unreadable, graded + self._unreadable)
        yield grades_vary("judge's grades vary", self._grades)
        yield self._compared.control()
        if self._agreement is not None:
            yield self._agreement

    def _compare(
        self, queries: Sequence[Query], a: Sequence[str], b: Sequence[str]
    ) -> tuple[list[Preference], OrderSwap]:
        comparison = self.template.comparison
        replies = self._ask([*map(comparison, queries, a, b), *map(comparison, queries, b, a)])
        letters = [parse_choice(reply) for reply in replies]
        forward, swapped = letters[: len(queries)], letters[len(queries) :]
        swap = OrderSwap.of(forward, swapped)
        self._compared += swap
        return preferences(forward, swapped), swap

    def _ask(self, chats: Iterable[Sequence[Message]]) -> list[str]:
        batch = list(chats)
        self._calls += len(batch)
        return [replies[0] for replies in self.model.generate(batch, self._sampling)]


def _readable(unreadable: int, replies: int) -> Control:
    name = "judge's replies are readable"
    if not replies:
        return Control.not_tested(name, "the judge has graded nothing yet")
    return Control(
        name,
        unreadable <= MOST_ABSTENTIONS * replies,
        f"{unreadable} of {replies} replies were no grade and count as abstentions "
        f"(at most {MOST_ABSTENTIONS:.0%} may be)",
        {"unreadable": unreadable, "replies": replies, "most": MOST_ABSTENTIONS},
    )


def _label_control(good: Sequence[int | None], bad: Sequence[int | None]) -> Control:
    """Check that better answers get better grades, a tie counting half."""
    both = [(g, b) for g, b in zip(good, bad, strict=True) if g and b]
    right = wilson(sum((g > b) + (g == b) / 2 for g, b in both), len(both))
    return Control(
        "judge agrees with the labels",
        right.low > CHANCE,
        f"the better of two labelled answers has the better grade in {right.mean:.0%} of "
        f"{right.n} pairs [{right.low:.0%}, {right.high:.0%}], ties counting half (the interval "
        f"must lie above {CHANCE:.0%})",
        {"agreement": right.mean, "ci95": [right.low, right.high], "pairs": right.n},
    )
