"""The card of a head: what it was fitted on, how good it is, and what a loader has to know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from custodes.control import Control
from custodes.errors import DataError
from custodes.experts.heads.reading import Reading
from custodes.experts.validity.battery import validity_control
from custodes.runs.files import write_json

__all__ = [
    "Anchor",
    "Bounds",
    "Card",
    "HeldOut",
    "KindBounds",
    "Provenance",
    "Twins",
    "card_path",
    "read_card",
    "write_card",
]

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(_Part):
    """A share with its 95% interval, by bootstrap over prompts.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        pairs: Pairs it rests on.
        prompts: Prompts these belong to: the unit of the bootstrap.
    """

    value: Share
    low: Share
    high: Share
    pairs: Count
    prompts: Count


class KindBounds(Bounds):
    """How often the better answer of a validity pair is put above the worse one.

    Attributes:
        kind: What makes the worse one worse (see `custodes.experts.validity.battery.FLOORS`).
    """

    kind: str


class Twins(_Part):
    """Held-out accuracy of twins: the same fit to labels that were shuffled within each pair.

    Attributes:
        mean: Over the twins; 0.5 where nothing leaks.
        low: The lowest.
        high: The highest.
        twins: How many.
    """

    mean: Share
    low: Share
    high: Share
    twins: Count


class HeldOut(_Part):
    """What the head is worth on pairs of prompts that it was not fitted on.

    Attributes:
        accuracy: Pair accuracy, nested cross-validation by prompt.
        other_part: Pair accuracy on the prompts that the fit left alone, if it did.
        length_matched: Accuracy on the pairs whose lengths differ by a quarter or less.
        longer: How often the longer answer was the chosen one.
        shuffled: What twins fitted to shuffled labels reach.
        brier: Of the ratings (0.25 is what a constant 0.5 gets).
        calibration_error: Of the ratings: expected, over ten bins of equal count.
        validity: The validity battery, by kind of damage.
    """

    accuracy: Bounds
    other_part: Bounds | None
    length_matched: Bounds | None
    longer: Share
    shuffled: Twins
    brier: Share
    calibration_error: Share
    validity: tuple[KindBounds, ...] = ()


class Provenance(_Part):
    """What the head was fitted on, and how.

    Attributes:
        name: Of the data.
        sha256: Of the file.
        licence: As the user gave it.
        part: Which prompts: all of them, or part "a" or "b" by hash of the prompt.
        share: Of the prompts, how many are in part "a"; the others are in "b".
        pairs: Pairs it was fitted on.
        prompts: Prompts these belong to.
        ridge: Strength, chosen by cross-validation.
        seed: Of folds, twins and bootstrap.
    """

    name: str
    sha256: str
    licence: str
    part: Literal["all", "a", "b"]
    share: Share
    pairs: Count
    prompts: Count
    ridge: Annotated[float, Field(gt=0)]
    seed: int


class Anchor(_Part):
    """An answer with its score, by which a loader knows that it has the right base.

    Attributes:
        prompt: A user's question.
        response: An answer to it.
        logit: Its raw score.
    """

    prompt: str
    response: str
    logit: float


class Card(_Part):
    """Everything about a head but its weights.

    Attributes:
        format: Of this card.
        name: What reports call the head.
        domain: What it judges.
        weights_sha256: Of the safetensors file beside the card.
        base: Name of the frozen model it reads.
        base_version: That model's version where the head was fitted, to know it by.
        readings: Hidden states that it reads, in the order of the weights.
        start: The state from which it reads whether the prompt asks for harm.
        scalars: Names of the likelihoods and of the wording's features that it reads.
        slope: Of the curve from scores to ratings.
        offset: Of the same curve.
        data: What it was fitted on.
        held_out: What it is worth.
        failures: Which of its controls failed, in words; none is a pass.
        anchors: Scores by which a loader knows the base.
    """

    format: Literal[2] = 2
    name: str
    domain: str
    weights_sha256: str
    base: str
    base_version: str
    readings: tuple[Reading, ...]
    start: Reading
    scalars: tuple[str, ...]
    slope: Annotated[float, Field(ge=0)]
    offset: float
    data: Provenance
    held_out: HeldOut
    failures: tuple[str, ...]
    anchors: tuple[Anchor, ...]

    @property
    def controls(self) -> list[dict[str, Any]]:
        """The controls, JSON-ready (`custodes.control.Control.to_dict`)."""
        held, twins = self.held_out, self.held_out.shuffled
        seen = held.accuracy
        failed = set(self.failures)
        controls = (
            Control(
                "held-out accuracy",
                "held-out accuracy" not in failed,
                f"{seen.value:.3f} [{seen.low:.3f}, {seen.high:.3f}] on {seen.pairs} pairs "
                f"of {seen.prompts} prompts it was not fitted on (must exclude 0.5); the longer "
                f"answer is the chosen one in {held.longer:.3f}",
                {"accuracy": seen.value, "ci95": [seen.low, seen.high], "pairs": seen.pairs},
            ),
            Control(
                "shuffled labels",
                "shuffled labels" not in failed,
                f"{twins.twins} twins fitted to shuffled labels reach {twins.mean:.3f} on "
                f"average, {twins.high:.3f} at best (the mean must be 0.5 within 0.02)",
                {"mean": twins.mean, "high": twins.high, "twins": twins.twins},
            ),
            *self.battery,
        )
        return [control.to_dict() for control in controls]

    @property
    def battery(self) -> list[Control]:
        """The validity battery as controls; a kind with too few prompts is not tested."""
        return [
            validity_control(k.kind, self.domain, k.value, k.low, k.high, k.prompts)
            for k in self.held_out.validity
        ]


def card_path(head: Path) -> Path:
    """Return where the card of a head is: beside its weights."""
    return head.with_suffix(".json")


def write_card(card: Card, head: Path) -> Path:
    """Write the card beside the head's weights.

    Raises:
        RunError: The disk is full, or the place cannot be written.
    """
    path = card_path(head)
    write_json(path, card.model_dump(mode="json"))
    return path


def read_card(head: Path) -> Card:
    """Read the card that is beside the head's weights.

    Raises:
        DataError: There is none, or it is malformed.
    """
    path = card_path(head)
    remedy = "fit the head again: custodes experts fit"
    try:
        return Card.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{head} has no card {path.name} beside it", remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}", remedy) from None
