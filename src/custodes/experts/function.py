"""An Expert that is a function of texts: what ``@custodes.expert`` makes."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from custodes.conversation import Query
from custodes.errors import DataError
from custodes.experts.expert import Rating

__all__ = ["FunctionExpert", "RatingFunction", "expert"]

RatingFunction = Callable[[Sequence[str], Sequence[str]], Sequence[float | None]]
"""Takes prompts and responses, both of length n; returns n values in [0, 1], or None to abstain."""


class FunctionExpert:
    """Rates by a function of the prompts and the responses.

    It can be called like the function.

    Attributes:
        name, domain, version: As in `custodes.experts.expert.Expert`.
    """

    def __init__(
        self, function: RatingFunction, domain: str, *, name: str = "", version: str = ""
    ) -> None:
        """Make an Expert of a function.

        Args:
            function: Rates a batch.
            domain: The domain that it rates.
            name: What reports call it; the function's name by default.
            version: Changes whenever its ratings could; a hash of the function's source by default,
                which does not see a change in what the function calls.
        """
        self._function = function
        self.domain = domain
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.version = f"function-{version or _digest(function)}"
        self.__doc__ = function.__doc__

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float | None]:
        """Call the function."""
        return self._function(prompts, responses)

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate ``responses[i]`` as an answer to ``queries[i]``.

        Raises:
            DataError: The function returned another number of values, or one outside [0, 1].
        """
        if not queries:
            return []
        values = list(self._function([query.text for query in queries], list(responses)))
        if len(values) != len(queries):
            raise DataError(
                f"the Expert {self.name} returned {len(values)} values for {len(queries)} "
                "responses",
                "return one for each, or None to abstain",
            )
        return [self._rating(value) for value in values]

    def _rating(self, value: Any) -> Rating:
        if value is None:
            return Rating(None, "the function abstained")
        number = float(value)
        if not 0 <= number <= 1 or math.isnan(number):
            raise DataError(
                f"the Expert {self.name} returned {value!r}", "return values in [0, 1], or None"
            )
        return Rating(number)

    def report(self) -> dict[str, Any]:
        """Say what it is; it carries no control of its own."""
        return {"kind": "function", "controls": []}


def expert(
    domain: str, *, name: str = "", version: str = ""
) -> Callable[[RatingFunction], FunctionExpert]:
    """Make an Expert of a function, as a decorator.

    The function takes prompts and responses, two lists of the same length, and returns a value in
    [0, 1] for each response, higher being better, or None to abstain.

    >>> @expert("brevity")
    ... def brief(prompts, responses):
    ...     return [1.0 if len(text) < 80 else 0.0 for text in responses]
    >>> brief.domain
    'brevity'

    Args:
        domain: The domain that it rates.
        name: What reports call it; the function's name by default.
        version: Changes whenever its ratings could; a hash of the function's source by default.
    """

    def make(function: RatingFunction) -> FunctionExpert:
        return FunctionExpert(function, domain, name=name, version=version)

    return make


def _digest(function: RatingFunction) -> str:
    try:
        content = inspect.getsource(function)
    except (OSError, TypeError):  # typed into a prompt, or made by other code
        code = getattr(function, "__code__", None)
        content = repr((code.co_code, code.co_consts, code.co_names) if code else type(function))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]
