"""What the user's reward functions say: to real completions, and to probes of known quality."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from custodes.preflight.subject import text_of

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Audit", "Call", "Function", "answer_text", "audit", "parameters"]

APPENDED = " I hope this helps! Thank you for the great question."
FOREIGN = "Je ne sais pas, mais il fait beau aujourd'hui et le train part à midi."
REFUSAL = "I'm sorry, but I can't help with that."
_TRUTH = [
    "answer",
    "solution",
    "ground_truth",
    "reference",
    "target",
    "expected",
    "completion",
    "chosen",
    "label",
]


@dataclass
class Call:
    """One call of a reward function.

    Attributes:
        values: What it returned, as floats; None where that failed.
        raw: What it returned, as it was.
        error: What went wrong, in one line.
        seconds: How long it took.
        printed: Characters it wrote to standard output.
    """

    values: list[float] | None
    raw: Any = None
    error: str = ""
    seconds: float = 0.0
    printed: int = 0


@dataclass
class Function:
    """One reward function with its calls.

    Attributes:
        name: Of the function.
        weight: The trainer's weight of it.
        calls: By probe: "rollouts", "again", "reversed", "single", "good", "wrong", "empty",
            "echo", "long", "foreign", "refusal", "appended".
        wants: Its parameters without a default, other than those trl passes.
        missing: Those among them that no column of the dataset provides.
        model: Whether it is a reward model.
    """

    name: str
    weight: float
    calls: dict[str, Call] = field(default_factory=dict)
    wants: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    model: bool = False

    def values(self, probe: str) -> list[float]:
        """Return a probe's values; empty where the call failed."""
        call = self.calls.get(probe)
        return list(call.values) if call is not None and call.values is not None else []


@dataclass
class Audit:
    """All reward functions of a trainer.

    Attributes:
        functions: One entry each.
        completions: Texts of the rollouts that were scored.
        prompts: Texts of their prompts.
        group: Completions a prompt.
        truth: Column that holds the right answer; "" where there is none.
    """

    functions: list[Function]
    completions: list[str]
    prompts: list[str]
    group: int
    truth: str


def parameters(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return parameters without a default, and whether it takes any keyword."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return [], True
    needed, anything = [], False
    for name, one in signature.parameters.items():
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            anything = True
        elif one.default is inspect.Parameter.empty and one.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        ):
            needed.append(name)
    return needed, anything


def audit(case: Case) -> Audit:
    """Call every reward function on rollouts and probes."""
    trainer = case.trainer
    rollouts = case.rollouts
    rows, group = rollouts.rows, rollouts.group
    truth = _truth_column(rows)
    probes = _probes(rollouts, rows, truth)
    functions = []
    for place, function in enumerate(trainer.reward_funcs):
        name = str(trainer.reward_func_names[place])
        one = Function(name, float(trainer.reward_weights[place]))
        if isinstance(function, torch.nn.Module):
            one.model = True
            functions.append(one)
            continue
        one.wants, _ = parameters(function)
        provided = {"prompts", "completions", "completion_ids", *rollouts.columns}
        one.missing = [w for w in one.wants if w not in provided]
        _call_all(case, one, function, rollouts, probes)
        functions.append(one)
    return Audit(
        functions,
        [text_of(c) for c in rollouts.completions],
        [text_of(p) for p in rollouts.prompts],
        group,
        truth,
    )


def _call_all(
    case: Case, one: Function, function: Any, rollouts: Any, probes: dict[str, list[Any]]
) -> None:
    limit = case.limits.reward_seconds

    def call(completions: Sequence[Any], order: Sequence[int]) -> Call:
        def pick(values: Any) -> Any:
            if isinstance(values, list) and len(values) == len(rollouts.prompts):
                return [values[i] for i in order]
            return values

        ids = [
            case.subject.tokenizer(text_of(c), add_special_tokens=False)["input_ids"]
            for c in completions
        ]
        keywords = {
            "prompts": [rollouts.prompts[i] for i in order],
            "completions": list(completions),
            "completion_ids": ids,
            **{key: pick(value) for key, value in rollouts.columns.items()},
        }
        return _timed(function, keywords, limit)

    every = list(range(len(rollouts.prompts)))
    first = call(rollouts.completions, every)
    one.calls["rollouts"] = first
    if first.values is None:
        return
    one.calls["again"] = call(rollouts.completions, every)
    if first.seconds > limit / 10:
        return
    one.calls["reversed"] = call(rollouts.completions[::-1], every[::-1])
    one.calls["single"] = call(rollouts.completions[:1], every[:1])
    for name, completions in probes.items():
        one.calls[name] = call(completions, every)


def _timed(function: Any, keywords: dict[str, Any], limit: float) -> Call:
    """Call in a thread, so that a function that never returns stops nothing else."""
    box: dict[str, Any] = {}
    sink = io.StringIO()

    def work() -> None:
        try:
            value = function(**keywords)
            box["value"] = asyncio.run(value) if inspect.iscoroutine(value) else value
        except BaseException as error:
            box["error"] = error

    began = time.perf_counter()
    thread = threading.Thread(target=work, daemon=True)
    with contextlib.redirect_stdout(sink):
        thread.start()
        thread.join(limit)
    seconds = time.perf_counter() - began
    printed = len(sink.getvalue())
    if thread.is_alive():
        return Call(None, None, f"it did not return within {limit:g} s", seconds, printed)
    if "error" in box:
        error = box["error"]
        text = " ".join(str(error).split())[:200]
        return Call(None, None, f"it raised {type(error).__name__}: {text}", seconds, printed)
    raw: Any = box.get("value")
    try:
        values = [float("nan") if v is None else float(v) for v in iter(raw)]
    except Exception as error:
        line = f"it returned {type(raw).__name__}, not a list of numbers ({error})"
        return Call(None, raw, line[:200], seconds, printed)
    return Call(values, raw, "", seconds, printed)


def _truth_column(rows: list[dict[str, Any]]) -> str:
    for name in _TRUTH:
        if name in rows[0] and isinstance(rows[0][name], str | int | float | list):
            if isinstance(rows[0][name], bool) or not text_of(rows[0][name]).strip():
                continue
            return name
    return ""


def _probes(rollouts: Any, rows: list[dict[str, Any]], truth: str) -> dict[str, list[Any]]:
    chat = bool(rollouts.completions) and isinstance(rollouts.completions[0], list)

    def said(text: str) -> Any:
        return [{"role": "assistant", "content": text}] if chat else text

    texts = [text_of(c) for c in rollouts.completions]
    prompts = [text_of(p) for p in rollouts.prompts]
    probes = {
        "empty": [said("") for _ in texts],
        "echo": [said(p) for p in prompts],
        "long": [said((t or "word ") * 20) for t in texts],
        "foreign": [said(FOREIGN) for _ in texts],
        "refusal": [said(REFUSAL) for _ in texts],
        "appended": [said(t + APPENDED) for t in texts],
    }
    if truth:
        right = [answer_text(row[truth]) for row in rows]
        wrong = right[rollouts.group :] + right[: rollouts.group]
        probes["good"] = [said(t) for t in right]
        if wrong != right:
            probes["wrong"] = [said(t) for t in wrong]
    return probes


def answer_text(value: Any) -> str:
    """Return the text of an answer column: its number, string or messages."""
    return text_of(value)
