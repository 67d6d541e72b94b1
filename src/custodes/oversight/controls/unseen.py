"""Is the gold score unseen? By the texts of prompts, not by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from custodes.control import Control
from custodes.conversation import PreferencePair, Query
from custodes.data.overlap import overlaps
from custodes.experts.expert import Expert
from custodes.oversight.log import History
from custodes.text import one_line

__all__ = ["gold_unseen_in_log", "gold_unseen_in_training", "shared_with", "versions_of"]


def shared_with(gold: Sequence[Query], texts: Sequence[str]) -> int:
    """Count the gold prompts that are among other texts, equal or nearly so."""
    return len(overlaps([query.text for query in gold], list(dict.fromkeys(texts))))


def versions_of(experts: Mapping[str, Expert]) -> set[str]:
    """Return the versions of all Experts, the members of ensembles included."""
    return {
        one.version
        for expert in experts.values()
        for one in (expert, *getattr(expert, "members", ()))
    }


def gold_unseen_in_training(
    pairs: Sequence[PreferencePair], gold: Mapping[str, Sequence[Query]]
) -> Control:
    """Check that no prompt of a retrain is a gold prompt."""
    texts = list(dict.fromkeys(pair.prompt[-1]["content"] for pair in pairs))
    prompts = [query.text for queries in gold.values() for query in queries]
    return _control("gold unseen in training", prompts, texts)


def gold_unseen_in_log(history: History, gold: Mapping[str, Sequence[Query]]) -> Iterator[Control]:
    """Check that nothing that the User asked is a gold prompt."""
    texts = list(dict.fromkeys(query.text for e in history.steps for query in e.queries))
    for domain, queries in gold.items():
        prompts = [query.text for query in queries]
        yield _control(f"gold unseen by the Worker: {domain}", prompts, texts)


def _control(name: str, prompts: Sequence[str], texts: Sequence[str]) -> Control:
    if not texts:
        return Control.not_tested(name, "there was no other prompt")
    shared = overlaps(prompts, texts)
    text = f"{len(shared)} of {len(prompts)} gold prompts are among {len(texts)} other prompts"
    if shared:
        text += f", such as “{one_line(prompts[shared[0].first], 60)}”"
    return Control(name, not shared, text, {"shared": len(shared), "prompts": len(prompts)})
