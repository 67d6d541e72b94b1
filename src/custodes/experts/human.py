"""A person in the terminal. Each answer is on disk before the next question, and asked once."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from custodes.conversation import Query
from custodes.errors import RunError
from custodes.experts.expert import Rating
from custodes.experts.judges.grades import grades_vary
from custodes.runs.events import EventLog
from custodes.text import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["HumanExpert"]

GRADES = "12345"
SKIP, QUIT = "s", "q"


class HumanExpert:
    """Asks a person for a grade from 1 to 5, which becomes (grade - 1) / 4.

    What the person sees is untrusted text: control characters are spelled out and nothing in it is
    taken for markup. Answers are kept in a journal, one JSON line each, under a hash of domain,
    conversation and response; what is in the journal is not asked again, by this process or a later
    one. Equal responses to equal conversations are one question.

    Attributes:
        name, domain, version: As in `custodes.experts.expert.Expert`.
        journal: The file of answers.
    """

    def __init__(
        self,
        domain: str,
        journal: Path,
        *,
        source: TextIO | None = None,
        sink: TextIO | None = None,
    ) -> None:
        """Set up a person.

        Args:
            domain: What to judge.
            journal: Where answers are kept.
            source: Where answers are read; standard input if not given.
            sink: Where questions are shown; standard output if not given.
        """
        self.domain = domain
        self.journal = journal
        self.name = "human"
        self.version = f"human-{domain}"
        self._source = source
        self._sink = sink
        self._answers: Counter[str] = Counter()
        self._asked = 0

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Ask about each pair that the journal does not have.

        Raises:
            RunError: The person stops (q, or the end of the input); every answer is kept.
        """
        keys = [_key(self.domain, q, r) for q, r in zip(queries, responses, strict=True)]
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with closing(EventLog(self.journal)) as log:
            known = {event["key"]: str(event["answer"]) for event in log.of("answer")}
            missing = dict.fromkeys(key for key in keys if key not in known)
            places = {key: keys.index(key) for key in missing}
            for number, (key, i) in enumerate(places.items(), start=1):
                answer = self._ask(queries[i], responses[i], f"{number}/{len(places)}")
                log.append(
                    "answer", key=key, domain=self.domain, query=queries[i].text,
                    response=responses[i], answer=answer,
                )  # fmt: skip
                self._asked += 1
                known[key] = answer
        answers = [known[key] for key in keys]
        self._answers.update(answers)
        return [_rating(answer) for answer in answers]

    def report(self) -> dict[str, Any]:
        """Return what was answered, and whether the answers tell responses apart."""
        graded = {grade: self._answers[grade] for grade in GRADES if self._answers[grade]}
        return {
            "kind": "human",
            "judged": self._answers.total(),
            "asked": self._asked,
            "abstentions": self._answers[SKIP],
            "grades": graded,
            "controls": [grades_vary("person's grades vary", graded).to_dict()],
        }

    def _ask(self, query: Query, response: str, number: str) -> str:
        from rich.console import Console

        console = Console(file=self._sink or sys.stdout, markup=False, highlight=False, emoji=False)
        _show(console, f"{self.domain} {number}", query, response)
        while True:
            console.print(f"{self.domain} 1 (worst) to 5 (best), s to skip, q to stop: ", end="")
            line = (self._source or sys.stdin).readline()
            answer = line.strip().lower()
            if not line or answer == QUIT:
                console.print()
                raise RunError(
                    f"you stopped rating after {self._asked} answers",
                    f"run the same command to go on; the answers are kept in {self.journal}",
                )
            if answer == SKIP or (len(answer) == 1 and answer in GRADES):
                return answer
            console.print(f"{visible(answer)!r} is none of 1 2 3 4 5 s q")


def _show(console: Console, title: str, query: Query, response: str) -> None:
    from rich.panel import Panel
    from rich.text import Text

    turns = [f"{message['role']}: {message['content']}" for message in query.chat]
    console.print(Panel(Text(visible("\n\n".join(turns))), title=Text(title), title_align="left"))
    console.print(Panel(Text(visible(response) or "(empty)"), title="response", title_align="left"))


def _key(domain: str, query: Query, response: str) -> str:
    content = json.dumps([domain, list(query.chat), response], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _rating(answer: str) -> Rating:
    if answer == SKIP:
        return Rating(None, "skipped")
    return Rating((int(answer) - 1) / (len(GRADES) - 1))
