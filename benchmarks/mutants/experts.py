"""Damages of the Experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from custodes.experts.expert import Rating
from custodes.experts.null import SimulatedExpert
from mutants.mutant import Mutant, Plant, patched

EXPERTS = ("Expert agrees", "Expert orders", "Expert speaks", "ratings are reproducible", "Expert")


def expert(change: Callable[[SimulatedExpert, Any, Any, list[Rating]], list[Rating]]) -> Plant:
    def make(original: Any) -> Any:
        def rate(self: SimulatedExpert, queries: Any, responses: Any) -> list[Rating]:
            if self.name == "simulated" and self.noise == 0:  # that of the gold score
                return original(self, queries, responses)  # type: ignore[no-any-return]
            return change(self, queries, responses, original(self, queries, responses))

        return rate

    return patched(SimulatedExpert, "rate", make)


def each(change: Callable[[float, int], float]) -> Plant:
    return expert(
        lambda _s, _q, _r, ratings: [
            Rating(min(1.0, max(0.0, change(r.value or 0.0, i)))) for i, r in enumerate(ratings)
        ]
    )


rng = np.random.default_rng(0)
calls = {"n": 0}


def drifting(value: float, _i: int) -> float:
    calls["n"] += 1
    return value - calls["n"] / 2000


def other_domain(self: Any, queries: Any, responses: Any, _ratings: Any) -> list[Rating]:
    from custodes.models.simulated import read_levels

    levels = [read_levels(text) or (0.5, 0.5) for text in responses]
    return [Rating(1 - b if self.domain == "helpfulness" else a) for a, b in levels]


MUTANTS = [
    Mutant("ratings are 1 - v", "Expert", each(lambda v, _: 1 - v), EXPERTS),
    Mutant(
        "ratings are 1 - v in one domain",
        "Expert",
        expert(
            lambda s, _q, _r, x: (
                [Rating(1 - (r.value or 0)) for r in x] if s.domain == "harmlessness" else x
            )
        ),
        EXPERTS,
    ),
    Mutant("ratings are constant", "Expert", each(lambda _v, _i: 0.45), EXPERTS),
    Mutant("ratings are random", "Expert", each(lambda _v, _i: float(rng.random())), EXPERTS),
    Mutant(
        "ratings are shifted by one", "Expert", expert(lambda _s, _q, _r, x: x[1:] + x[:1]), EXPERTS
    ),
    Mutant(
        "ratings are in reverse order", "Expert", expert(lambda _s, _q, _r, x: x[::-1]), EXPERTS
    ),
    Mutant("the other domain is rated", "Expert", expert(other_domain), EXPERTS),
    Mutant(
        "two thirds of the answers get no rating",
        "Expert",
        expert(lambda _s, _q, _r, x: [r if i % 3 == 0 else Rating(None) for i, r in enumerate(x)]),
        EXPERTS,
    ),
    Mutant("ratings sink from call to call", "Expert", each(drifting), EXPERTS),
    Mutant(
        "ratings follow the length of the query",
        "Expert",
        expert(lambda _s, q, _r, _x: [Rating(min(1, len(one.text) / 80)) for one in q]),
        EXPERTS,
    ),
    Mutant(
        "the first rating is given to all",
        "Expert",
        expert(lambda _s, _q, _r, x: x[:1] * len(x)),
        EXPERTS,
    ),
    Mutant(
        "good and bad are told apart, and the best are punished",
        "Expert",
        each(lambda v, _: v if v < 0.5 else 1 - v),
        EXPERTS,
    ),
]
