"""What an LLM judge is asked, and the strict grammar of what it may answer."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from itertools import count
from pathlib import Path
from string import Template as Pattern
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from custodes.config import load_config
from custodes.conversation import Message, Query, user_chat
from custodes.errors import ConfigError, near_misses

__all__ = [
    "Choice",
    "JudgeTemplate",
    "Question",
    "load_template",
    "parse_choice",
    "parse_grade",
    "shipped_templates",
]

Choice = Literal["A", "B"]

_GRADE = re.compile(r"\[\[([1-9]|10)\]\]")
_CHOICE = re.compile(r"\[\[([AB])\]\]")
# Spellings by which one chat format or another marks turns and control tokens. The engines here
# take them for the text they are, but a server may not, and would let a response end its turn.
_CONTROL = re.compile(r"<(?=\||/?s>|(?:start|end)_of_turn>)|\[(?=/?INST\])|\[(?=/?SYSTEM_PROMPT\])")


def parse_grade(reply: str) -> int | None:
    """Read a judge's whole reply as ``[[1]]`` to ``[[10]]``; None for anything else."""
    match = _GRADE.fullmatch(reply.strip())
    return int(match[1]) if match else None


def parse_choice(reply: str) -> Choice | None:
    """Read a judge's whole reply as ``[[A]]`` or ``[[B]]``; None for anything else."""
    match = _CHOICE.fullmatch(reply.strip())
    if match is None:
        return None
    return "A" if match[1] == "A" else "B"


class Question(BaseModel):
    """One question to a judge.

    Attributes:
        system: System prompt.
        user: What is asked, with ``$placeholders`` (``$$`` is a dollar sign).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    user: str

    def fill(self, fence: str, **texts: str) -> list[Message]:
        """Make the chat; nothing in ``texts`` is looked into."""
        return user_chat(Pattern(self.user).substitute(fence=fence, **texts), self.system)

    def check(self, name: str, *placeholders: str) -> None:
        """Refuse a question that lacks a placeholder or has one that nothing fills."""
        pattern = Pattern(self.user)
        there = set(pattern.get_identifiers()) if pattern.is_valid() else set()
        if there != {"fence", "conversation", *placeholders}:
            wanted = ", ".join(f"${p}" for p in ("fence", "conversation", *placeholders))
            raise ValueError(f"{name}.user must hold {wanted}, and no other placeholder")


class JudgeTemplate(BaseModel):
    """The questions of one domain.

    Conversations and responses are untrusted. They go in by one substitution, between lines that
    carry a code. The code is a hash of these very texts, and occurs in none of them; the same
    question always reads the same.

    Attributes:
        domain: What it judges.
        rate: Asks for a grade from 1 to 10.
        compare: Asks which of two responses is better.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str
    rate: Question
    compare: Question

    @model_validator(mode="after")
    def _holds_placeholders(self) -> Self:
        self.rate.check("rate", "response")
        self.compare.check("compare", "first", "second")
        return self

    @property
    def version(self) -> str:
        """Hash of the wording."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def rating(self, query: Query, response: str) -> list[Message]:
        """Ask for a grade of one response."""
        conversation, shown = _conversation(query), _defused(response)
        fence = _fence(conversation, shown)
        return self.rate.fill(fence, conversation=conversation, response=shown)

    def comparison(self, query: Query, first: str, second: str) -> list[Message]:
        """Ask which of two responses is better, ``first`` being shown as A."""
        conversation, a, b = _conversation(query), _defused(first), _defused(second)
        # Sorted, so that the two orders of a pair differ in nothing but the order.
        fence = _fence(conversation, *sorted((a, b)))
        return self.compare.fill(fence, conversation=conversation, first=a, second=b)


def shipped_templates() -> list[str]:
    """Name the templates that ship."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_template(name: str) -> JudgeTemplate:
    """Load a shipped template by its name, or any other by the path of its ``.yaml`` file.

    Raises:
        ConfigError: There is none of that name, or the file is no template.
    """
    if name in shipped_templates():
        return load_config(_folder() / f"{name}.yaml", JudgeTemplate)
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"no judge template {name!r}", near_misses(name, shipped_templates()))
    return load_config(Path(name), JudgeTemplate)


def _folder() -> Path:
    return Path(str(resources.files("custodes"))) / "data" / "judge_templates"


def _conversation(query: Query) -> str:
    # Of a lone request only its words; of a dialogue also who said what.
    if len(query.chat) == 1:
        return _defused(query.text)
    return "\n\n".join(f"{m['role'].upper()}: {_defused(m['content'])}" for m in query.chat)


def _defused(text: str) -> str:
    """Put a space into what some chat format would take for a control token."""
    return _CONTROL.sub(lambda match: f"{match[0]} ", text)


def _fence(*texts: str) -> str:
    shown = "\x1f".join(texts)
    for attempt in count():
        data = f"{attempt}\x1f{shown}".encode("utf-8", "surrogatepass")
        code = hashlib.sha256(data).hexdigest()[:12]
        if code not in shown:
            return code
    raise AssertionError("unreachable")
