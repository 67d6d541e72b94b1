"""Roles of one's own: objects that Python code gives, or that a config names."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Expert
from custodes.oversight.gold.score import Scorer
from custodes.oversight.roles import Overseer, Teacher, User

__all__ = ["GROUPS", "OwnRoles", "by_domain", "find", "make_role", "overseer_maker"]

GROUPS: dict[type, str] = {
    Expert: "custodes.experts",
    Overseer: "custodes.overseers",
    Teacher: "custodes.teachers",
    User: "custodes.users",
}
"""By role, the group of entry points in which a package can register objects."""


@dataclass(frozen=True)
class OwnRoles:
    """The roles that Python code gives in place of the config's.

    Attributes:
        experts: By domain.
        overseer: An Overseer, or a callable that makes one.
        teacher: A Teacher, or a callable that makes one.
        user: A User, or a callable that makes one.
        gold: By domain, who takes the gold score.
    """

    experts: Mapping[str, Expert] = field(default_factory=dict)
    overseer: Any = None
    teacher: Any = None
    user: Any = None
    gold: Mapping[str, Scorer | Expert] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return names and versions, JSON-ready, for the run's folder; empty if none is given."""
        raters = {"experts": self.experts, "gold": self.gold}
        rows: dict[str, Any] = {
            name: {domain: f"{one.name} ({one.version})" for domain, one in given.items()}
            for name, given in raters.items()
            if given
        }
        others = {"overseer": self.overseer, "teacher": self.teacher, "user": self.user}
        return rows | {name: _qualified(one) for name, one in others.items() if one is not None}


def _qualified(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def find(name: str, role: type) -> Any:
    """Import the object that a config names.

    Args:
        name: An entry point of the role's group, ``package.module:object`` or ``file.py:object``.
        role: The role's protocol.

    Raises:
        ConfigError: There is no such entry point, module, file or object.
    """
    module_name, colon, attribute = name.rpartition(":")
    if not colon:
        return _entry_point(name, role)
    found = _from_file(Path(module_name)) if module_name.endswith(".py") else _module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [other for other in vars(found) if not other.startswith("_")]
            raise ConfigError(f"{module_name} has no {attribute!r}", near_misses(part, known))
        found = getattr(found, part)
    return found


def _entry_point(name: str, role: type) -> Any:
    points = metadata.entry_points(group=GROUPS[role])
    if name not in points.names:
        raise ConfigError(
            f"no entry point {name!r} in the group {GROUPS[role]}",
            f"{near_misses(name, points.names)}; or write package.module:object, or file.py:object",
        )
    return points[name].load()


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # An import inside the module that fails is an error of the module's.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"no module {name!r} to import", "install its package, or write file.py:object"
        ) from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        neighbours = [other.name for other in path.parent.glob("*.py")]
        raise ConfigError(f"no file {path}", near_misses(path.name, neighbours))
    name = f"custodes_own_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # for inspect and pickle
    spec.loader.exec_module(module)
    return module


def make_role(thing: Any, role: Any, **available: Any) -> Any:
    """Return an object of a role.

    Args:
        thing: Such an object, or a class or function that makes one.
        role: The role's protocol.
        **available: What a class or function may be given: those that it has parameters for.

    Raises:
        ConfigError: It is neither.
    """
    if not isinstance(thing, type) and isinstance(thing, role):
        return thing
    if callable(thing):
        parameters = inspect.signature(thing).parameters
        made = thing(**{name: value for name, value in available.items() if name in parameters})
        if isinstance(made, role):
            return made
    names = [name for name in dir(role) if not name.startswith("_")]
    names += [name for name in getattr(role, "__annotations__", {}) if name not in names]
    lacking = [name for name in names if not hasattr(thing, name)]
    raise ConfigError(
        f"{_qualified(thing)} is no {role.__name__} and makes none",
        f"it lacks {', '.join(sorted(lacking))}",
    )


def overseer_maker(thing: Any) -> Callable[[], Overseer]:
    """Return what makes fresh Overseers: a loop and its controls need several.

    Args:
        thing: An Overseer, which is copied, or a class or function that makes one.
    """
    first: Overseer = make_role(thing, Overseer)
    if thing is first:
        return lambda: copy.deepcopy(first)

    def fresh() -> Overseer:
        made: Overseer = make_role(thing, Overseer)
        return made

    return fresh


def by_domain(experts: Sequence[Expert] | Mapping[str, Expert]) -> dict[str, Expert]:
    """Return Experts by their domain.

    Raises:
        ConfigError: Two are of one domain, or one is no Expert.
    """
    found: dict[str, Expert] = {}
    for thing in experts.values() if isinstance(experts, Mapping) else experts:
        one = make_role(thing, Expert)
        if one.domain in found:
            raise ConfigError(
                f"two Experts for {one.domain}", "join them: custodes.experts.EnsembleExpert"
            )
        found[one.domain] = one
    return found
