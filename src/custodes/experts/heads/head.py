"""The Expert that costs little: a head on what a frozen model makes of an answer.

The base is never the Worker: its adapters are off, so the Expert does not drift with what it
judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from custodes.conversation import Chat, Query, user_chat
from custodes.errors import ConfigError, DataError, ModelError, near_misses
from custodes.experts.expert import Rating
from custodes.experts.heads.card import Card, card_path, read_card
from custodes.experts.heads.platt import Platt, sigmoid
from custodes.experts.heads.reading import read_features
from custodes.experts.heads.scoring import HeadWeights, scores
from custodes.experts.scope import out_of_scope
from custodes.models.base import Array
from custodes.models.cache import file_sha256, short_version
from custodes.models.exchange import ExchangeModel

__all__ = ["HeadExpert", "load_expert", "shipped"]

TOLERANCE = 0.25
"""How far, in logits, a base may be off the card's scores. Kernels and batches move them by some
hundredths, another model by whole logits."""

_SHIPPED = Path(__file__).parents[2] / "data" / "experts"


class HeadExpert:
    """Rates by a linear score of hidden states.

    A rating is the probability that people who compare two answers to one prompt choose this one,
    the other being an answer like those of the data: 0.5 is an answer like any other of them.

    Attributes:
        name, domain, version: As in `custodes.oversight.roles.Expert`.
        card: What it was fitted on and what it is worth.
    """

    def __init__(self, path: Path, model: ExchangeModel | None = None) -> None:
        """Open a head; the base is loaded when there is something to rate.

        Args:
            path: The .safetensors file; its card is beside it.
            model: The frozen base, where it is loaded already.

        Raises:
            DataError: There is no head, or it does not fit its card.
        """
        self.card, self._weights = _open(path)
        self.name = self.card.name
        self.domain = self.card.domain
        self.version = f"head-{short_version([file_sha256(path), file_sha256(card_path(path))])}"
        self._platt = Platt(self.card.slope, self.card.offset)
        self._model = model
        self._verified = False
        self._rated = 0
        self._abstentions: Counter[str] = Counter()

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        """Score ``responses[i]`` as an answer to ``queries[i]``, on an open scale.

        Between two answers to one prompt, the difference is the logit of the probability that the
        first is preferred.

        Returns:
            Shape (n,), higher being better, to 4 decimals.

        Raises:
            ModelError: The base is not the one the head was fitted on.
        """
        if not self._verified:
            self._verify()
        return self._score([query.chat for query in queries], responses)

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate ``responses[i]`` as an answer to ``queries[i]``.

        It abstains, with the reason, on what it was not fitted on (`out_of_scope`).
        """
        reasons = [
            out_of_scope(query.text, response)
            for query, response in zip(queries, responses, strict=True)
        ]
        inside = [i for i, reason in enumerate(reasons) if not reason]
        logits = self.logits([queries[i] for i in inside], [responses[i] for i in inside])
        ratings = [Rating(None, reason) for reason in reasons]
        for i, value in zip(inside, self._platt(logits).tolist(), strict=True):
            ratings[i] = Rating(round(value, 4))
        self._rated += len(inside)
        self._abstentions.update(reason for reason in reasons if reason)
        return ratings

    def compare(
        self, queries: Sequence[Query], first: Sequence[str], second: Sequence[str]
    ) -> Array:
        """Return the probability that ``first[i]`` is preferred to ``second[i]``, shape (n,)."""
        scores = self.logits([*queries, *queries], [*first, *second]).reshape(2, -1)
        return sigmoid(scores[0].astype(np.float64) - scores[1]).astype(np.float32)

    def report(self) -> dict[str, Any]:
        """Return the card's controls; a head that failed its own says so."""
        card = self.card
        return {
            "kind": "head",
            "base": card.base,
            "data": card.data.model_dump(mode="json"),
            "held_out": card.held_out.model_dump(mode="json"),
            "rated": self._rated,
            "abstentions": dict(self._abstentions),
            "controls": card.controls,
        }

    def _score(self, chats: Sequence[Chat], responses: Sequence[str]) -> Array:
        if not chats:
            return np.zeros(0, np.float32)
        card = self.card
        features = read_features(
            self._base(), chats, responses, card.readings, card.start, card.scalars
        )
        width = features.hidden.shape[1] + 3 * features.scalars.shape[1]
        if width != len(self._weights.validity):
            raise self._wrong_base(f"has states of another width ({features.hidden.shape[1]})")
        return np.round(scores(self._weights, features), 4).astype(np.float32)

    def _base(self) -> ExchangeModel:
        if self._model is None:
            self._model = _frozen(self.card.base)
        return self._model

    def _verify(self) -> None:
        """Check that the base is the one the head was fitted on, by what it computes."""
        anchors = self.card.anchors
        scores = self._score([user_chat(a.prompt) for a in anchors], [a.response for a in anchors])
        off = max((abs(s - a.logit) for s, a in zip(scores, anchors, strict=True)), default=0.0)
        if off > TOLERANCE:
            raise self._wrong_base(f"misses the scores on its card by {off:.2f} logits")
        self._verified = True

    def _wrong_base(self, how: str) -> ModelError:
        given = self._base().name
        return ModelError(
            f"the head {self.name} was fitted on {self.card.base} ({self.card.base_version}); "
            f"{given} ({self._base().version}) {how}",
            f"use {self.card.base}, or fit a head on {given}: custodes experts fit",
        )


def load_expert(
    name: str | Path, model: ExchangeModel | None = None, *, domain: str = ""
) -> HeadExpert:
    """Open a head by name, or by the path of its .safetensors file.

    Args:
        name: One of `shipped`, or a file that ``custodes experts fit`` wrote.
        model: The frozen base, where it is loaded already.
        domain: What it must have been fitted to rate; any domain if not given.

    Raises:
        ConfigError: There is no head of that name, or it rates another domain.
        DataError: The file is missing, or no head with a card.
    """
    path = Path(name).expanduser()
    shipped_one = path.suffix != ".safetensors"
    if shipped_one and str(name) not in shipped():
        raise ConfigError(
            f"no Expert is called {str(name)!r}",
            f"{near_misses(str(name), shipped())}; or give the .safetensors file of a head",
        )
    head = HeadExpert(_SHIPPED / f"{name}.safetensors" if shipped_one else path, model)
    if domain and head.domain != domain:
        raise ConfigError(
            f"the head {name} rates {head.domain}, not {domain}", f"name a head of {domain}"
        )
    return head


def shipped() -> tuple[str, ...]:
    """Return the names of the heads that come with custodes; the gold ones end in "-gold"."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.safetensors")))


@cache
def _frozen(name: str) -> ExchangeModel:
    """Load a base once for all heads that read it."""
    from custodes.models.resolve import load_torch

    return load_torch(name)


def _open(path: Path) -> tuple[Card, HeadWeights]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    remedy = "fit the head again: custodes experts fit"
    if not path.is_file():
        raise DataError(f"there is no head at {path}", "check the path")
    card = read_card(path)
    if file_sha256(path) != card.weights_sha256:
        raise DataError(f"{path} is not the head that its card describes", remedy)
    try:
        return card, HeadWeights.from_tensors(load_file(path))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no head ({error})", remedy) from None
