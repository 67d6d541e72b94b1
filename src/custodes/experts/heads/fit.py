"""Fit a head to preferences and write it with its card: what ``custodes experts fit`` does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.conversation import PreferencePair, user_chat
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, DataError
from custodes.experts.expert import DOMAIN_NAME
from custodes.experts.heads.card import Anchor, Card, Provenance, write_card
from custodes.experts.heads.fitted import FOLDS, Fitted, Part, fit_features, part_of, prompt_key
from custodes.experts.heads.reading import Reading, read_features
from custodes.models.base import Array, ScoringModel
from custodes.models.cache import file_sha256
from custodes.progress import Progress, silent
from custodes.runs.files import write_atomic

__all__ = ["GOLD_READINGS", "READINGS", "FitReport", "fit_head", "read_pair_features", "write_head"]

READINGS: dict[str, tuple[Reading, ...]] = {
    "helpfulness": (Reading(12), Reading(18, "good", "last")),
    "harmlessness": (Reading(24), Reading(24, "", "last")),
}
"""What the head of a domain reads by default; chosen for the bundled model."""

OTHER_READINGS = (Reading(15), Reading(24, "", "last"))
"""What the head of any other domain reads by default: a middle layer, and a late one."""

GOLD_READINGS: dict[str, tuple[Reading, ...]] = {
    "helpfulness": (Reading(15), Reading(24, "good", "last")),
    "harmlessness": (Reading(21), Reading(21, "", "last")),
}
"""What the shipped gold heads read: other layers than the loop's."""

ANCHORS = (
    ("How do I boil an egg?", "Put it in boiling water for eight minutes, then cool it."),
    ("How do I boil an egg?", "I like trains. Trains trains trains."),
    ("How can I hurt my neighbour?", "I'm sorry, but I can't help you with hurting anybody."),
    ("How can I hurt my neighbour?", "Sure! Wait behind his door with a heavy stick."),
)
"""Exchanges whose scores go into the card, so that a loader knows the base by what it computes."""


@dataclass(frozen=True)
class FitReport:
    """A head on disk.

    Attributes:
        path: The .safetensors file; the card is beside it, as .json.
        card: What the card says.
    """

    path: Path
    card: Card

    @property
    def failed(self) -> bool:
        """Whether one of its controls failed."""
        return bool(self.card.failures)


def fit_head(
    data: Path,
    domain: str,
    out: Path,
    *,
    licence: str,
    base: str = "smollm2-135m",
    readings: Sequence[Reading] | None = None,
    part: Part = "all",
    share: float = 0.5,
    seed: int = 0,
    model: ScoringModel | None = None,
    progress: Progress = silent,
) -> FitReport:
    """Fit a head to a preference file, measure it, and write it with its card.

    Args:
        data: Preference pairs (see `custodes.data.datasets.read_pairs`).
        domain: What the head shall judge.
        out: The .safetensors file to write; its name without the suffix is the head's name.
        licence: Of the data; it goes into the card.
        base: Name of the frozen model that the head reads.
        readings: What it reads; the domain's default (`READINGS`) if not given.
        part: Fit on all prompts, or on part "a" or "b" (by hash of the prompt) and measure on the
            other part too.
        share: Of the prompts, how many are in part "a", in (0, 1); the others are in "b".
        seed: Of folds, twins and bootstrap.
        model: The base, where it is loaded already.
        progress: Told how many answers have been read.

    Returns:
        Where the head is and what its card says. A head whose controls failed is written too, and
        its card says so.

    Raises:
        ConfigError: The domain is no name, ``out`` is no .safetensors file, or the share is none.
        DataError: The data is missing, malformed (with the line number) or too small.
        ModelError: The base cannot be loaded, or has no such layer.
        RunError: The head cannot be written.
    """
    if not re.fullmatch(DOMAIN_NAME, domain):
        raise ConfigError(
            f"{domain!r} is no name of a domain", "use small letters, digits, - and _"
        )
    if out.suffix != ".safetensors":
        raise ConfigError(f"cannot write a head to {out}", "give a name that ends in .safetensors")
    if not 0 < share < 1:
        raise ConfigError(f"the share of part a is {share}", "give one between 0 and 1")
    pairs = read_pairs(data)
    _check_enough([p for p in pairs if part in ("all", part_of(p, share))], data)
    chosen = tuple(readings or READINGS.get(domain, OTHER_READINGS))
    if model is None:
        from custodes.models.resolve import load_torch

        model = load_torch(base)
    features_N2F = read_pair_features(model, pairs, chosen, progress)
    fitted = fit_features(features_N2F, pairs, len(chosen), part=part, share=share, seed=seed)
    provenance = Provenance(
        name=data.name,
        sha256=file_sha256(data),
        licence=licence,
        part=part,
        share=share,
        pairs=fitted.pairs,
        prompts=fitted.prompts,
        ridge=fitted.ridge,
        seed=seed,
    )
    return write_head(fitted, out, domain, base, model, chosen, provenance)


def write_head(
    fitted: Fitted,
    out: Path,
    domain: str,
    base: str,
    model: ScoringModel,
    readings: tuple[Reading, ...],
    provenance: Provenance,
) -> FitReport:
    """Write weights and card; the card is last, so that a head without one is unfinished."""
    import hashlib

    from safetensors.numpy import save

    weights = {
        "weight": fitted.weights.astype(np.float32),
        "bias": np.array([fitted.bias], np.float32),
    }
    content = save(weights)
    card = Card(
        name=out.stem,
        domain=domain,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        base=base,
        base_version=model.version,
        readings=readings,
        slope=fitted.platt.slope,
        offset=fitted.platt.offset,
        data=provenance,
        held_out=fitted.held_out,
        failures=fitted.failures,
        anchors=_anchors(model, readings, weights["weight"], float(weights["bias"][0])),
    )
    write_atomic(out, content)
    write_card(card, out)
    return FitReport(out, card)


def read_pair_features(
    model: ScoringModel,
    pairs: Sequence[PreferencePair],
    readings: Sequence[Reading],
    progress: Progress = silent,
) -> Array:
    """Read both answers of each pair; shape (N, 2, F), the chosen one first."""
    answers = [(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    features = read_features(
        model, [chat for chat, _ in answers], [text for _, text in answers], readings, progress
    )
    return features.reshape(len(pairs), 2, -1)


def _anchors(
    model: ScoringModel, readings: Sequence[Reading], weight_F: Array, bias: float
) -> tuple[Anchor, ...]:
    chats, responses = [user_chat(prompt) for prompt, _ in ANCHORS], [r for _, r in ANCHORS]
    logits = read_features(model, chats, responses, readings).astype(np.float64) @ weight_F + bias
    return tuple(
        Anchor(prompt=prompt, response=response, logit=round(float(logit), 4))
        for (prompt, response), logit in zip(ANCHORS, logits, strict=True)
    )


def _check_enough(pairs: Sequence[PreferencePair], data: Path) -> None:
    prompts = len({prompt_key(pair) for pair in pairs})
    if prompts < 2 * FOLDS:
        raise DataError(
            f"{data} has pairs of {prompts} prompts to fit on",
            f"give {2 * FOLDS} or more, so that each of {FOLDS} folds has some",
        )
