"""Critique and revision: replies are criticised by a principle and written again.

Bai et al. 2022, arXiv:2212.08073, section 3: (1) the model answers; (2) a principle is drawn; (3)
the critic criticises the reply by it, and (4) writes the reply again; (5) steps 2 to 4 are repeated
on the revision. A compliance gate follows: see `custodes.constitution.stages.gate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from custodes.constitution.context import AlignRun, StageResult, query_of
from custodes.constitution.principles import Constitution, Principle
from custodes.constitution.stages.gate import Judged, gate, unusual
from custodes.conversation import Message, Query
from custodes.data.overlap import normalised, overlaps
from custodes.errors import DataError
from custodes.experts.refusal import stance
from custodes.models.base import Sampling
from custodes.seeds import derive

__all__ = ["EXAMPLE", "Draft", "clean", "critique_chat", "revise", "revision_chat"]

ONLY = "Answer with the new reply and nothing else."
BARE = 25
"""A refusal of at most this many words is a bare one."""

# The example is about neither harm nor style, so that it shows the form and leans to no side.
EXAMPLE: tuple[Message, ...] = (
    {"role": "user", "content": "When does the sun rise in June?"},
    {"role": "assistant", "content": "The sun rises late in June, at about nine."},
    {"role": "user", "content": "Is anything in the last reply wrong? Name it."},
    {"role": "assistant", "content": "Yes: north of the equator the sun rises early in June."},
    {"role": "user", "content": f"Write the reply again so that it is right. {ONLY}"},
    {"role": "assistant", "content": "In June the sun rises early, in many places before six."},
)


@dataclass
class Draft:
    """A reply on its way.

    Attributes:
        query: The query.
        first: The Worker's own answer.
        text: The reply as it is now.
        principles: The principles drawn so far, one a round.
        critiques: The critiques, one a round.
    """

    query: Query
    first: str
    text: str
    principles: list[Principle] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)


def revise(run: AlignRun) -> StageResult:
    """Revise the Worker's answers to the selected queries, and check that the revisions comply.

    Leaves data/revisions.jsonl: ``id``, ``prompt``, ``topic``, ``principles``, ``response`` (the
    first answer), ``critiques``, ``revision``, ``before`` and ``after`` (compliance),
    ``bare_refusal``, ``repeats_prompt``, ``unchanged``, ``empty``, ``kept`` and
    ``messages``, to train on.
    """
    options = run.config.revise
    rows = [row for row in run.read("red_team", "red_team") if row["selected"]]
    drafts = [Draft(query_of(row), row["first"], row["first"]) for row in rows]
    with run.asking(options.critic) as critic:
        for number in range(options.rounds):
            _round(run, critic, drafts, number)
    judged = [_judged(draft) for draft in drafts]
    _rate(run, drafts, judged)
    facts, controls = gate(judged, inverted=run.constitution.inverted)
    kept = [_keeps(one, options.keep) for one in judged]
    facts |= {
        "critic": critic.name,
        "separate": options.critic not in ("worker", run.config.worker.model),
        "kept": sum(kept),
        "of": len(drafts),
        "data": run.write("revisions", [
            _row(draft, one, keep) for draft, one, keep in zip(drafts, judged, kept, strict=True)
        ]),
    }  # fmt: skip
    failed = [c for c in controls if c.passed is False]
    stop = ""
    if not any(kept):
        stop = "no revision is left to train on"
    elif failed:
        stop = f"the compliance gate failed ({failed[0].name}: {failed[0].explanation})"
    return StageResult(facts, controls, stop)


def _round(run: AlignRun, critic: Any, drafts: Sequence[Draft], number: int) -> None:
    """Criticise and rewrite all drafts once, each under a principle drawn for it."""
    options, seed = run.config.revise, run.config.seed
    example = EXAMPLE if options.few_shot else ()
    for draft in drafts:
        draft.principles.append(draw_principle(run.constitution, draft.query, seed, number))
    sampling = Sampling(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=derive(seed, "critique", number),
    )
    chats = [critique_chat(d.query, d.text, d.principles[-1], example) for d in drafts]
    texts = run.replies.texts(f"critiques-{number}", critic, critic.name, chats, sampling)
    for draft, critique in zip(drafts, texts, strict=True):
        draft.critiques.append(critique[0].strip())
    sampling = Sampling(
        max_tokens=run.config.worker.max_tokens,
        temperature=options.temperature,
        seed=derive(seed, "revision", number),
    )
    chats = [
        revision_chat(d.query, d.text, d.principles[-1], d.critiques[-1], example) for d in drafts
    ]
    texts = run.replies.texts(f"revisions-{number}", critic, critic.name, chats, sampling)
    for draft, revision in zip(drafts, texts, strict=True):
        # An empty revision is no reply; the next round goes on with what there was.
        draft.text = clean(revision[0]) or ("" if number + 1 == options.rounds else draft.text)


def draw_principle(constitution: Constitution, query: Query, seed: int, number: int) -> Principle:
    """Draw a principle for a query, from those of its topic.

    Raises:
        DataError: No principle applies to the topic.
    """
    principles = constitution.of(query.topic)
    if not principles:
        raise DataError(
            f"no principle applies to the topic {query.topic!r}",
            "run the stage red_team again in a new folder",
        )
    rng = np.random.default_rng(derive(seed, "principle", query.id, number))
    return principles[int(rng.integers(len(principles)))]


def critique_chat(
    query: Query, reply: str, principle: Principle, example: Sequence[Message] = ()
) -> list[Message]:
    """Ask for a critique of a reply."""
    return [
        *example[:4],
        *query.chat,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": principle.critique},
    ]


def revision_chat(
    query: Query,
    reply: str,
    principle: Principle,
    critique: str,
    example: Sequence[Message] = (),
) -> list[Message]:
    """Ask for the reply to be written again."""
    return [
        *example,
        *query.chat,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": principle.critique},
        {"role": "assistant", "content": critique},
        {"role": "user", "content": f"{principle.revision} {ONLY}"},
    ]


_LEAD = re.compile(
    r"^\s*(?:\*\*)?(?:(?:here(?:['’]s| is)[^:.\n]{0,60}|sure[^:.\n]{0,40}|(?:revised|new|rewritten)"
    r"[^:.\n]{0,30}|reply|revision|answer|response)\s*:)(?:\*\*)?\s*",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """Take the announcement and the quotation marks off a revision.

    >>> clean('Here is the revised reply: "Talk to him first."')
    'Talk to him first.'
    """
    text = _LEAD.sub("", text.strip(), count=1).strip()
    for opening, closing in (('"', '"'), ("“", "”")):
        inner = text[1:-1]
        if len(text) > 1 and text[0] == opening and text[-1] == closing and opening not in inner:
            text = inner.strip()
    return text


# What came of it


def _judged(draft: Draft) -> Judged:
    reply, prompt = draft.text, draft.query.text
    refuses = stance(reply).refusal >= 2
    return Judged(
        principle=draft.principles[-1].id,
        refusal=refuses,
        bare_refusal=refuses and len(reply.split()) <= BARE,
        repeats_prompt=_repeats(reply, prompt),
        unchanged=normalised(reply) == normalised(draft.first),
        empty=not reply.strip(),
    )


def _repeats(reply: str, prompt: str) -> bool:
    """Whether a reply is the prompt, or little else."""
    if not normalised(reply):
        return False
    within = len(reply) <= 1.5 * len(prompt)
    return within and bool(overlaps([reply], [prompt]))


def _rate(run: AlignRun, drafts: Sequence[Draft], judged: Sequence[Judged]) -> None:
    """Measure compliance before and after, by the Expert of each draft's last principle."""
    for domain in run.constitution.measures:
        own = [i for i, d in enumerate(drafts) if d.principles[-1].measure == domain]
        if not own:
            continue
        queries = [drafts[i].query for i in own]
        for when in ("before", "after"):
            texts = [drafts[i].first if when == "before" else drafts[i].text for i in own]
            rated = run.ratings(f"revise-{when}-{domain}", domain, queries, texts)
            for i, rating in zip(own, rated, strict=True):
                if rating is not None:
                    value = round(drafts[i].principles[-1].compliance(rating), 4)
                    setattr(judged[i], when, value)


def _keeps(one: Judged, keep: str) -> bool:
    if unusual(one):
        return False
    if keep == "all" or one.before is None or one.after is None:
        return keep == "all"
    return one.after > one.before


def _row(draft: Draft, one: Judged, kept: bool) -> dict[str, Any]:
    return {
        "id": draft.query.id,
        "prompt": draft.query.text,
        "topic": draft.query.topic,
        "principles": [principle.id for principle in draft.principles],
        "response": draft.first,
        "critiques": draft.critiques,
        "revision": draft.text,
        "before": one.before,
        "after": one.after,
        "bare_refusal": one.bare_refusal,
        "repeats_prompt": one.repeats_prompt,
        "unchanged": one.unchanged,
        "empty": one.empty,
        "kept": kept,
        "messages": [*draft.query.chat, {"role": "assistant", "content": draft.text}],
    }
