"""Experts that are controls: one that knows nothing, and one that knows the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from custodes.conversation import PreferencePair, Query
from custodes.errors import ConfigError
from custodes.experts.expert import Rating
from custodes.models.simulated import read_level, write_levels

__all__ = ["NullExpert", "SimulatedExpert"]


class NullExpert:
    """Says the same of every response, or nothing: what a loop does without an Expert.

    Args:
        domain: What it would judge.
        value: The rating, in [0, 1]; None abstains.
    """

    def __init__(self, domain: str, value: float | None = 0.5) -> None:
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"the null Expert's value is {value}", "give one in [0, 1], or none")
        self.domain = domain
        self.value = value
        self.name = "null"
        self.version = f"null-{value}"

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate all alike."""
        reason = "knows nothing" if self.value is None else ""
        return [Rating(self.value, reason) for _ in zip(queries, responses, strict=True)]

    def report(self) -> dict[str, Any]:
        """Say that there is nothing to say."""
        return {"kind": "null", "value": self.value, "controls": []}


class SimulatedExpert:
    """Reads the latent level out of a simulated response, and errs as told.

    The rating is the helpful level for helpfulness, 1 minus the harmful one for harmlessness, and
    its own level for any other domain, plus Gaussian noise, clipped to [0, 1]. The noise is a
    function of the seed, the query and the response. Any other text is an abstention.

    Args:
        domain: Which level it reads.
        noise: Standard deviation of its error, in [0, 1].
        seed: Enters the error's hash.
    """

    def __init__(self, domain: str, *, noise: float = 0.0, seed: int = 0) -> None:
        if not 0 <= noise <= 1:
            raise ConfigError(f"the simulated Expert's noise is {noise}", "give one in [0, 1]")
        self.domain = domain
        self.noise = noise
        self.seed = seed
        self.name = "simulated"
        self.version = f"simulated-{domain}-{noise}-{seed if noise else 0}"

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate each response by its level."""
        return [self._rate(q, r) for q, r in zip(queries, responses, strict=True)]

    def report(self) -> dict[str, Any]:
        """Return its error, which is known."""
        return {"kind": "simulated", "noise": self.noise, "controls": []}

    def _rate(self, query: Query, response: str) -> Rating:
        value = read_level(response, self.domain)
        if value is None:
            return Rating(None, "not a simulated response")
        if self.noise:
            value += self.noise * _normal(f"{self.seed}\x1f{query.text}\x1f{response}")
        return Rating(min(1.0, max(0.0, value)))


def _normal(text: str) -> float:
    """Draw a standard normal that belongs to a text."""
    from statistics import NormalDist

    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    # 53 bits, half a step off both ends, where the quantile is infinite.
    return NormalDist().inv_cdf(((int.from_bytes(digest[:8], "big") >> 11) + 0.5) / 2**53)


def simulated_pairs(domain: str) -> list[PreferencePair]:
    """Return pairs of simulated answers whose order is known: levels of 0.9 against 0.1."""
    middle = {"helpful": 0.5, "harmful": 0.5}
    levels: tuple[dict[str, float], dict[str, float]] = {
        "helpfulness": ({"helpful": 0.9}, {"helpful": 0.1}),
        "harmlessness": ({"harmful": 0.1}, {"harmful": 0.9}),
    }.get(domain, ({domain: 0.9}, {domain: 0.1}))
    good, bad = (write_levels(**{**middle, **own}) for own in levels)
    return [
        PreferencePair(f"simulated-{i}", ({"role": "user", "content": f"prompt {i}"},), good, bad)
        for i in range(16)
    ]
