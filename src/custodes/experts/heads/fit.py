"""Fit a head to preferences and write it with its card: what ``custodes experts fit`` does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.conversation import Chat, PreferencePair, user_chat
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, DataError
from custodes.experts.expert import DOMAIN_NAME
from custodes.experts.heads.card import Anchor, Card, Provenance, write_card
from custodes.experts.heads.fitted import FOLDS, Fitted, Part, Task, fit_task, part_of, prompt_key
from custodes.experts.heads.reading import SCALARS, Reading, read_features, trimmed
from custodes.experts.heads.scoring import Features, HeadWeights, scores
from custodes.experts.heads.stacking import PREFERENCE, Comparisons
from custodes.experts.likelihood_features import LIKELIHOOD_FEATURES
from custodes.experts.validity.battery import floors
from custodes.experts.validity.pairs import ValidityPair, borderline_pairs, damaged_pairs
from custodes.models.cache import file_sha256
from custodes.models.exchange import ExchangeModel
from custodes.progress import Progress, silent
from custodes.runs.files import write_atomic

__all__ = ["GOLD_SOURCES", "SOURCES", "FitReport", "Sources", "fit_head", "make_task", "write_head"]


@dataclass(frozen=True)
class Sources:
    """What a head reads.

    Attributes:
        readings: Hidden states.
        start: The state that knows the prompt alone.
        scalars: Likelihoods and features of the wording, by name.
    """

    readings: tuple[Reading, ...]
    start: Reading
    scalars: tuple[str, ...] = SCALARS


SOURCES: dict[str, Sources] = {
    "helpfulness": Sources(
        (Reading(12), Reading(18), Reading(18, "verdict"), Reading(24, "verdict")),
        Reading(18, "start"),
    ),
    "harmlessness": Sources(
        (Reading(12), Reading(18), Reading(24), Reading(24, "last")), Reading(18, "start")
    ),
}
"""What the head of a domain reads by default; chosen for the bundled model."""

OTHER_SOURCES = Sources(
    (*(Reading(layer) for layer in (15, 21)), *(Reading(layer, "last") for layer in (15, 21))),
    Reading(21, "start"),
    LIKELIHOOD_FEATURES,
)
"""What the head of any other domain reads by default: middle and late layers."""

GOLD_SOURCES: dict[str, Sources] = {
    "helpfulness": Sources(
        (Reading(15), Reading(21), Reading(21, "verdict"), Reading(27, "verdict")),
        Reading(21, "start"),
        LIKELIHOOD_FEATURES,
    ),
    "harmlessness": Sources(
        (
            *(Reading(layer) for layer in (15, 21, 27)),
            *(Reading(layer, "last") for layer in (15, 21, 27)),
        ),
        Reading(21, "start"),
        LIKELIHOOD_FEATURES,
    ),
}
"""What the shipped gold heads read: other layers than the loop's, and no features of the wording
but the stance."""

ANCHORS = (
    ("How do I boil an egg?", "Put it in boiling water for eight minutes, then cool it."),
    ("How do I boil an egg?", "I like trains. Trains trains trains."),
    ("How can I hurt my neighbour?", "I'm sorry, but I can't help you with hurting anybody."),
    ("How can I hurt my neighbour?", "Sure! Wait behind his door with a heavy stick."),
)
"""Exchanges whose scores go into the card, so that a loader knows the base by what it computes."""

ReadAnswers = Callable[[Sequence[Chat], Sequence[str]], Features]


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
    sources: Sources | None = None,
    part: Part = "all",
    share: float = 0.5,
    seed: int = 0,
    model: ExchangeModel | None = None,
    progress: Progress = silent,
) -> FitReport:
    """Fit a head to a preference file, measure it, and write it with its card.

    Args:
        data: Preference pairs (see `custodes.data.datasets.read_pairs`).
        domain: What the head shall judge.
        out: The .safetensors file to write; its name without the suffix is the head's name.
        licence: Of the data; it goes into the card.
        base: Name of the frozen model that the head reads.
        sources: What it reads; the domain's default (`SOURCES`) if not given.
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
    read = sources or SOURCES.get(domain, OTHER_SOURCES)
    if model is None:
        from custodes.models.resolve import load_torch

        model = load_torch(base)

    def answers(chats: Sequence[Chat], texts: Sequence[str]) -> Features:
        return read_features(model, chats, texts, read.readings, read.start, read.scalars, progress)

    validity = [*damaged_pairs(pairs, domain, seed=seed), *borderline_pairs(domain, seed=seed)]
    # What is no better in one domain may be in another, such as a short answer or a refusal.
    validity = [pair for pair in validity if pair.kind in floors(domain)]
    task = make_task(pairs, validity, domain, len(read.readings), answers)
    fitted = fit_task(task, part=part, share=share, seed=seed)
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
    return write_head(fitted, out, domain, base, model, read, provenance)


def make_task(
    pairs: Sequence[PreferencePair],
    validity: Sequence[ValidityPair],
    domain: str,
    blocks: int,
    read: ReadAnswers,
) -> Task:
    """Read all answers of pairs, each once, and say which is better than which.

    Args:
        pairs: What people preferred.
        validity: Pairs whose order nobody doubts.
        domain: What is judged.
        blocks: Readings that the hidden features consist of.
        read: Reads answers.
    """
    # What people compare in a harmlessness set are red-team dialogues nearly throughout. The few
    # that are not harm the fit less than dialogues that it never saw would.
    harm = True if domain == "harmlessness" else None
    ordered = [
        *((p.prompt, p.chosen, p.rejected, PREFERENCE, p.agreement, harm) for p in pairs),
        *((v.chat, v.better, v.worse, v.kind, 1.0, v.harmful) for v in validity),
    ]
    row_of: dict[str, int] = {}
    chats: list[Chat] = []
    texts: list[str] = []
    harmful: list[float] = []
    rows = np.zeros((len(ordered), 2), np.int64)
    for i, (chat, better, worse, _, _, asks_harm) in enumerate(ordered):
        for side, text in enumerate((better, worse)):
            key = json.dumps([trimmed(chat), text])
            if key not in row_of:
                row_of[key] = len(texts)
                chats.append(chat)
                texts.append(text)
                harmful.append(np.nan if asks_harm is None else float(asks_harm))
            rows[i, side] = row_of[key]
    return Task(
        features=read(chats, texts),
        texts=texts,
        groups=[prompt_key(chat) for chat in chats],
        comparisons=Comparisons(
            rows[:, 0],
            rows[:, 1],
            tuple(row[3] for row in ordered),
            np.array([row[4] for row in ordered], np.float64),
        ),
        harmful=np.array(harmful),
        blocks=blocks,
        domain=domain,
    )


def write_head(
    fitted: Fitted,
    out: Path,
    domain: str,
    base: str,
    model: ExchangeModel,
    sources: Sources,
    provenance: Provenance,
) -> FitReport:
    """Write weights and card; the card is last, so that a head without one is unfinished."""
    import hashlib

    from safetensors.numpy import save

    content = save(fitted.weights.to_tensors())
    card = Card(
        name=out.stem,
        domain=domain,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        base=base,
        base_version=model.version,
        readings=sources.readings,
        start=sources.start,
        scalars=sources.scalars,
        slope=fitted.platt.slope,
        offset=fitted.platt.offset,
        data=provenance,
        held_out=fitted.held_out,
        failures=fitted.failures,
        anchors=_anchors(model, sources, HeadWeights.from_tensors(fitted.weights.to_tensors())),
    )
    write_atomic(out, content)
    write_card(card, out)
    return FitReport(out, card)


def _anchors(model: ExchangeModel, sources: Sources, weights: HeadWeights) -> tuple[Anchor, ...]:
    chats, responses = [user_chat(prompt) for prompt, _ in ANCHORS], [r for _, r in ANCHORS]
    features = read_features(
        model, chats, responses, sources.readings, sources.start, sources.scalars
    )
    logits = scores(weights, features)
    return tuple(
        Anchor(prompt=prompt, response=response, logit=round(float(logit), 4))
        for (prompt, response), logit in zip(ANCHORS, logits, strict=True)
    )


def _check_enough(pairs: Sequence[PreferencePair], data: Path) -> None:
    prompts = len({prompt_key(pair.prompt) for pair in pairs})
    if prompts < 2 * FOLDS:
        raise DataError(
            f"{data} has pairs of {prompts} prompts to fit on",
            f"give {2 * FOLDS} or more, so that each of {FOLDS} folds has some",
        )
