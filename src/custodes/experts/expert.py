"""What an Expert is: it rates responses in one domain, or abstains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from custodes.conversation import Query

__all__ = ["DOMAINS", "DOMAIN_NAME", "Expert", "Rating"]

DOMAINS = ("helpfulness", "harmlessness")
"""The domains that ship with Experts, prompts and a gold score; any other name is a domain too."""

DOMAIN_NAME = r"[a-z][a-z0-9_-]*"
"""What the name of a domain looks like."""


@dataclass(frozen=True)
class Rating:
    """One Expert's opinion of one response.

    Attributes:
        value: In [0, 1], or None where the Expert abstains.
        reason: Why it abstained, or its words; untrusted where a model or a person said them.
    """

    value: float | None
    reason: str = ""

    @property
    def abstained(self) -> bool:
        """Whether there is no number."""
        return self.value is None


@runtime_checkable
class Expert(Protocol):
    """Rates responses in one domain.

    Attributes:
        name: What reports call it.
        domain: What it judges.
        version: Changes whenever its ratings could.
    """

    name: str
    domain: str
    version: str

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate ``responses[i]`` as an answer to ``queries[i]``, all in one batch."""
        ...

    def report(self) -> dict[str, Any]:
        """Describe the Expert, JSON-ready; ``controls`` lists its controls as dicts."""
        ...
