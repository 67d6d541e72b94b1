"""A Worker without a language model: two latent propensities, and how retraining moves them.

For tests, and for sweeps of thousands of loops. What was simplified: a checkpoint is two numbers,
how *helpful* and how *harmful* it is, each a probability held on the logit scale; a response is two
*levels* in [0, 1] drawn around them; a text is those levels spelled out, and one token long.

**Answering.** The level of response j to prompt p is ``expit(logit(propensity) + difficulty * e_p +
temperature * spread * e_pj)``, independently for the two propensities, with standard normal e.
``e_p`` belongs to the prompt and is the same at every checkpoint; ``e_pj`` is drawn anew for every
version, seed and draw. Both come from hashes and not from a generator's state, so a response
depends on nothing else in its batch. At temperature 0 the last term is gone.

**Other domains.** A checkpoint may have a propensity in any further domain ("honesty"), higher
being better, whose levels are drawn the same way. Its retrains raise it, and lower the helpful one
by the tax.

**Encoding.** A text is exactly ``[simulated] helpful=0.731 harmful=0.120``: levels with three
decimals, followed by those of further domains. `read_levels` takes this whole and nothing else.

**Jailbreaks.** To a wrapped prompt the level of harm is that of a propensity `JAILBREAK` logits
(1.0) higher, before it is squeezed into [0, 1]; the level of helpfulness is as to any other prompt.

**Dynamics.** `next_state` takes a state through one retrain. With u the two logits and k the number
of earlier retrains in the domain:

1. In helpfulness: u_helpful += gain·fade^k and u_harmful += tax·gain·fade^k (a Worker that learned
   to comply complies with bad requests too). In harmlessness: u_harmful −= gain·fade^k and
   u_helpful −= tax·gain·fade^k (one that learned to refuse refuses good requests too). In any
   other domain: u_domain += gain·fade^k and u_helpful −= tax·gain·fade^k.
2. Each u += noise·e, with e standard normal from the seed.

**Weight noise.** `noisy_state` adds sd·e to each u.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from custodes.conversation import Chat
from custodes.errors import ConfigError, CustodesError, ModelError, near_misses
from custodes.models.base import Sampling, Usage
from custodes.models.chat import cut_at_stop
from custodes.models.draws import number_draws
from custodes.runs.files import write_json

__all__ = [
    "JAILBREAK",
    "Dynamics",
    "SimulatedModel",
    "SimulatedState",
    "next_state",
    "noisy_state",
    "parse_simulated",
    "read_level",
    "read_levels",
    "write_levels",
]

Propensity = Annotated[float, Field(gt=0, lt=1)]
Size = Annotated[float, Field(ge=0, le=10)]

STATE_FILE = "simulated.json"
_LEVEL = r"[01]\.[0-9]{3}"
_TEXT = re.compile(
    rf"\[simulated\] helpful=({_LEVEL}) harmful=({_LEVEL})((?: [a-z][\w-]*={_LEVEL})*)"
)
_DOMAIN = "domain."
# Propensities stay where their logits are finite and a way back exists.
_LIMIT = 9.0

JAILBREAK = 1.0
"""Logits that a jailbreak adds to the level of harm."""


@dataclass(frozen=True)
class SimulatedState:
    """A simulated checkpoint.

    Attributes:
        helpful: Median level of helpfulness of its answers to a median prompt, in (0, 1).
        harmful: Median level of harm of its answers to a median prompt, in (0, 1).
        spread: Logit standard deviation among answers to one prompt at temperature 1, in [0, 10].
        difficulty: Logit standard deviation among prompts, in [0, 10].
        helpfulness_retrains: Retrains in helpfulness so far.
        harmlessness_retrains: Retrains in harmlessness so far.
        others: Median levels in further domains, by name, each in (0, 1), higher being better.
        other_retrains: Retrains in them so far, by name.
    """

    helpful: Propensity = 0.6
    harmful: Propensity = 0.3
    spread: Size = 0.8
    difficulty: Size = 0.8
    helpfulness_retrains: Annotated[int, Field(ge=0)] = 0
    harmlessness_retrains: Annotated[int, Field(ge=0)] = 0
    others: tuple[tuple[str, Propensity], ...] = ()
    other_retrains: tuple[tuple[str, Annotated[int, Field(ge=0)]], ...] = ()

    def require(self, domains: Sequence[str]) -> None:
        """Check that the Worker has some domains.

        Raises:
            ConfigError: It lacks one.
        """
        known = ["helpfulness", "harmlessness", *dict(self.others)]
        for domain in domains:
            if domain not in known:
                raise _no_domain(domain, known)

    def save(self, folder: Path) -> None:
        """Write the state as a checkpoint's folder, which `SimulatedModel.with_adapter` loads."""
        write_json(folder / STATE_FILE, asdict(self))


@dataclass(frozen=True)
class Dynamics:
    """How a simulated Worker changes; all changes are in logits.

    Attributes:
        gain: Change of a propensity by its domain's first retrain, in [0, 10].
        tax: The other propensity moves this share of the change the wrong way, in [0, 1].
        fade: Each further retrain in a domain achieves this share of the one before, in [0, 1].
        noise: Standard deviation of a retrain's random effect on both, in [0, 10].
    """

    gain: Size = 1.0
    tax: Annotated[float, Field(ge=0, le=1)] = 0.2
    fade: Annotated[float, Field(ge=0, le=1)] = 0.7
    noise: Size = 0.1


def next_state(state: SimulatedState, domain: str, dynamics: Dynamics, seed: int) -> SimulatedState:
    """Return the state after a retrain; a pure function.

    Args:
        state: State before it.
        domain: Its domain.
        dynamics: How the state changes.
        seed: Draws the noise.

    Raises:
        ConfigError: There is no such domain.
    """
    counts = {
        "helpfulness": state.helpfulness_retrains,
        "harmlessness": state.harmlessness_retrains,
        **dict.fromkeys(dict(state.others), 0),
        **dict(state.other_retrains),
    }
    if domain not in counts:
        raise ConfigError(
            f"the simulated Worker has no domain {domain!r}", near_misses(domain, counts)
        )
    size = dynamics.gain * dynamics.fade ** counts[domain]
    towards = {
        "helpfulness": (1.0, dynamics.tax),
        "harmlessness": (-dynamics.tax, -1.0),
    }.get(domain, (-dynamics.tax, 0.0))
    own = [float(name == domain) for name, _ in state.others]
    counts[domain] += 1
    return replace(
        _moved(state, size * np.array([*towards, *own]), dynamics.noise, seed),
        helpfulness_retrains=counts.pop("helpfulness"),
        harmlessness_retrains=counts.pop("harmlessness"),
        other_retrains=tuple((name, count) for name, count in counts.items() if count),
    )


def noisy_state(state: SimulatedState, sd: float, seed: int) -> SimulatedState:
    """Return a state with Gaussian noise on both logits; a pure function.

    Args:
        state: State before the noise.
        sd: Standard deviation of the noise, in logits (> 0).
        seed: Draws the noise.
    """
    return _moved(state, np.zeros(2 + len(state.others)), sd, seed)


def _moved(
    state: SimulatedState, by: NDArray[np.float64], noise: float, seed: int
) -> SimulatedState:
    moved = _logits(state) + by + noise * np.random.default_rng(seed).standard_normal(len(by))
    helpful, harmful, *rest = _expit(np.clip(moved, -_LIMIT, _LIMIT)).tolist()
    names = [name for name, _ in state.others]
    return replace(
        state, helpful=helpful, harmful=harmful, others=tuple(zip(names, rest, strict=True))
    )


def write_levels(helpful: float, harmful: float, **others: float) -> str:
    """Write levels in [0, 1] as a text; those of further domains by name.

    >>> write_levels(0.731, 0.12)
    '[simulated] helpful=0.731 harmful=0.120'
    """
    rest = "".join(f" {name}={level:.3f}" for name, level in others.items())
    return f"[simulated] helpful={helpful:.3f} harmful={harmful:.3f}{rest}"


def read_levels(text: str) -> tuple[float, float] | None:
    """Return the (helpful, harmful) of `write_levels`; None for any other text."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    helpful, harmful = float(match[1]), float(match[2])
    return (helpful, harmful) if helpful <= 1 and harmful <= 1 else None


def read_level(text: str, domain: str) -> float | None:
    """Return how good a simulated text is in a domain, in [0, 1]; None for any other text.

    Raises:
        ConfigError: The Worker that wrote the text has no such domain.
    """
    levels, match = read_levels(text), _TEXT.fullmatch(text)
    if levels is None or match is None:
        return None
    others = dict(part.split("=") for part in match[3].split())
    known = {"helpfulness": levels[0], "harmlessness": 1 - levels[1]}
    known |= {name: min(1.0, float(level)) for name, level in others.items()}
    if domain not in known:
        raise _no_domain(domain, known)
    return known[domain]


def _no_domain(domain: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"the simulated Worker has no domain {domain!r}",
        f"name it simulated:{_DOMAIN}{domain}=0.5; {near_misses(domain, known)}",
    )


def parse_simulated(name: str) -> SimulatedState:
    """Read ``simulated`` or ``simulated:helpful=0.6,harmful=0.3,…`` (fields of the state).

    ``domain.honesty=0.4`` is a level in a further domain.

    Raises:
        ConfigError: A field is unknown or its value out of range.
    """
    prefix, _, settings = name.partition(":")
    if prefix != "simulated":
        raise ConfigError(f"{name!r} names no simulated model", "write simulated[:FIELD=VALUE,…]")
    names = [field.name for field in fields(SimulatedState) if "other" not in field.name]
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        field, _, value = setting.partition("=")
        if field.startswith(_DOMAIN) and re.fullmatch(r"[a-z][\w-]*", field[len(_DOMAIN) :]):
            values["others"] = (*values.get("others", ()), (field[len(_DOMAIN) :], value))
            continue
        if field not in names:
            raise ConfigError(f"{name}: no field {field!r}", near_misses(field, names))
        values[field] = value
    return _validated(values, ConfigError(name, "values must be numbers in their field's range"))


class SimulatedModel:
    """A simulated checkpoint as a language model.

    Attributes:
        state: The state of the checkpoint.
        name, engine, version, usage: As in `custodes.models.base.LanguageModel`; the version is a
            hash of those parts of the state that answers depend on.
    """

    engine = "simulated"

    def __init__(self, state: SimulatedState | None = None, *, name: str = "simulated") -> None:
        self.state = state or SimulatedState()
        self.name = name
        self.usage = Usage()
        answering = (
            self.state.helpful,
            self.state.harmful,
            self.state.spread,
            self.state.difficulty,
            *self.state.others,
        )
        self.version = (
            "simulated-" + hashlib.sha256(json.dumps(answering).encode()).hexdigest()[:12]
        )

    def __repr__(self) -> str:
        return f"SimulatedModel({self.state!r})"

    def generate(
        self, chats: Sequence[Chat], sampling: Sampling, *, wrapped: Sequence[bool] | None = None
    ) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times, whatever ``sampling.max_tokens`` (one token).

        ``wrapped`` says which chats end with a jailbreak; none by default.
        """
        started = time.perf_counter()
        names = [name for name, _ in self.state.others]
        texts = [
            [
                write_levels(*levels[:2], **dict(zip(names, levels[2:], strict=True)))
                for levels in row
            ]
            for row in self.levels(chats, sampling, wrapped=wrapped).tolist()
        ]
        if sampling.stop:
            texts = [[cut_at_stop(text, sampling.stop) for text in row] for row in texts]
        self.usage.calls += 1
        self.usage.prompt_tokens += len(chats)
        self.usage.completion_tokens += len(chats) * sampling.n
        self.usage.seconds += time.perf_counter() - started
        return texts

    def levels(
        self, chats: Sequence[Chat], sampling: Sampling, *, wrapped: Sequence[bool] | None = None
    ) -> NDArray[np.float64]:
        """Draw the levels behind the texts of `generate`.

        Returns:
            Shape (n chats, ``sampling.n``, L): helpful, harmful and those of further domains, in
            [0, 1].
        """
        # Shapes: P prompts (chats), N draws of each, L propensities.
        keys = ["\x1f".join(f"{m['role']}\x1e{m['content']}" for m in chat) for chat in chats]
        prompt_P = np.array([_hashed(key) for key in keys], dtype=np.uint64)
        numbers = number_draws(keys, sampling.n)
        first_P = np.array([row.start for row in numbers], dtype=np.uint64)
        draw_PN = first_P[:, None] + np.arange(sampling.n, dtype=np.uint64)
        stream = np.uint64(_hashed(f"{self.version}\x1f{sampling.seed}"))
        names = [name for name, _ in self.state.others]
        key_PN = np.add(_mix(prompt_P ^ stream)[:, None], draw_PN, dtype=np.uint64)
        logits_PNL = (
            _logits(self.state)
            + self.state.difficulty * _errors(prompt_P, names)[:, None, :]
            + sampling.temperature * self.state.spread * _errors(key_PN, names)
        )
        if wrapped is not None:
            logits_PNL[:, :, 1] += JAILBREAK * np.array(wrapped, dtype=np.float64)[:, None]
        return _expit(logits_PNL)

    def with_adapter(self, folder: Path) -> SimulatedModel:
        """Load a checkpoint that `SimulatedState.save` wrote.

        Raises:
            ModelError: The folder holds none.
        """
        wrong = ModelError(f"{folder} is no simulated checkpoint", f"it needs a {STATE_FILE}")
        try:
            values = json.loads((folder / STATE_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise wrong from error
        return SimulatedModel(_validated(values, wrong), name=self.name)


def _validated(values: Any, wrong: CustodesError) -> SimulatedState:
    try:
        return TypeAdapter(SimulatedState).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise type(wrong)(f"{wrong.cause} ({where}: {first['msg']})", wrong.remedy) from error


def _logits(state: SimulatedState) -> NDArray[np.float64]:
    propensities = (state.helpful, state.harmful, *dict(state.others).values())
    return np.array([math.log(p / (1 - p)) for p in propensities])


def _errors(keys: NDArray[np.uint64], names: Sequence[str]) -> NDArray[np.float64]:
    """Draw a standard normal of each key for helpful, harmful and each further domain."""
    others = [_normals(_mix(keys ^ np.uint64(_hashed(name))))[..., :1] for name in names]
    return np.concatenate([_normals(keys), *others], axis=-1)


def _expit(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


def _hashed(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit keys: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _normals(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn each key into two independent standard normals, by Box and Muller (1958)."""
    first, second = _mix(keys), _mix(_mix(keys))
    # 53 random bits, shifted off zero, since the logarithm must be finite.
    radius = np.sqrt(-2 * np.log(((first >> np.uint64(11)) + 0.5) / 2.0**53))
    angle = 2 * np.pi * (second >> np.uint64(11)) / 2.0**53
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
