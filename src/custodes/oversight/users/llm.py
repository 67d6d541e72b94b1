"""A User that is a language model: it writes the queries, and continues the conversation.

Models that are asked to play a person fail in known ways: they answer instead of asking, talk as an
assistant, copy an example, repeat themselves, or write more than the message. So each message is
cleaned strictly, and written again a bounded number of times; a query that is still unusable is
dropped. The step's report counts all of this by reason, and the queries that a classifier assigns
to another domain. No query is made up to fill a gap.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from custodes.conversation import Message, Query, Response
from custodes.errors import ConfigError
from custodes.models.base import LanguageModel, Sampling, Usage
from custodes.oversight.users.cleaning import alike, clean, same_words
from custodes.oversight.users.domain_classifier import FOLDS, DomainClassifier
from custodes.oversight.users.mix import Deck, Mix, checked_shares, remix
from custodes.seeds import derive

__all__ = ["LlmUser"]

SYSTEM: Message = {
    "role": "system",
    "content": "You are a person who writes messages to an AI assistant. You only ask; you never "
    "answer.",
}
NEXT = "Write the person's next message: one short question or request that follows on from this."
# How a conversation goes on, shown to the model before the one it is in.
SHOWN: tuple[Message, ...] = (
    {"role": "user", "content": "Write one message about cooking."},
    {"role": "assistant", "content": "How long do I boil an egg?"},
    {"role": "user", "content": f"Seven minutes for a yolk that is just set.\n\n{NEXT}"},
    {"role": "assistant", "content": "And if I start them in cold water?"},
    {"role": "user", "content": "Write one message about neighbours."},
    {"role": "assistant", "content": "My neighbour's hedge blocks my light. What can I do?"},
    {"role": "user", "content": f"Talk to them first, then ask the council.\n\n{NEXT}"},
    {"role": "assistant", "content": "I tried talking and he laughed. What do I tell the council?"},
)
EXAMPLES = 4
SAMPLING = Sampling(max_tokens=80, temperature=0.8, top_p=0.95)


class LlmUser:
    """Writes queries with a language model, topic by topic, after examples of a data set.

    Args:
        model: The model that writes.
        examples: By domain, queries that it is shown as examples; their topics are its topics.
        batch: Number of conversations a step (>= 1).
        turns: Number of user messages in each conversation (>= 1).
        mix: Share of each domain in the batch; equal shares by default.
        seed: Seeds everything that is drawn.
        tries: Attempts at each message before it is dropped (>= 1).
        sampling: How the model writes; its seed and ``n`` are set here.

    Attributes:
        turns: User messages in each conversation.

    Raises:
        ConfigError: A domain has no examples, or the mix is no mix.
    """

    def __init__(
        self,
        model: LanguageModel,
        examples: Mapping[str, Sequence[Query]],
        batch: int,
        *,
        turns: int = 1,
        mix: Mapping[str, float] | None = None,
        seed: int = 0,
        tries: int = 4,
        sampling: Sampling = SAMPLING,
    ) -> None:
        self.model = model
        self.examples = {domain: list(shown) for domain, shown in examples.items()}
        self.turns = turns
        self.seed = seed
        self.tries = tries
        self.sampling = replace(sampling, n=1)
        self.shares = checked_shares(mix, list(examples))
        self.mix = Mix(self.shares, batch, derive(seed, "llm user"))
        for domain in self.shares:
            if not self.examples[domain]:
                raise ConfigError(f"no examples of {domain} for the User", "give it a data set")
        self._known = {same_words(q.text) for shown in self.examples.values() for q in shown}
        self._reports: dict[int, Counter[str]] = {}
        self._queries: dict[int, list[Query]] = {}

    @property
    def usage(self) -> Usage:
        """What the model has cost since it was loaded."""
        return self.model.usage

    # Asking

    def ask(self, step: int) -> list[Query]:
        """Write this step's first messages. One that cannot be written is missing."""
        slots = self._slots(step)
        chats = [self._prompt(step, i, topic, domain) for i, (domain, topic) in enumerate(slots)]
        taken: set[str] = set()

        def accept(i: int, text: str) -> str:
            shown = [m["content"] for m in chats[i] if m["role"] == "assistant"]
            if same_words(text) in taken:
                return "duplicate"
            if same_words(text) in self._known or any(alike(text, other) for other in shown):
                return "copied"
            if any(alike(text, m["content"]) for m in chats[i] if m["role"] != "assistant"):
                return "instruction"
            taken.add(same_words(text))
            return ""

        self._reports[step] = Counter(asked=len(slots))
        texts = self._write(chats, accept, step, 0)
        self._queries[step] = [
            Query(_id(domain, text), ({"role": "user", "content": text},), domain, topic)
            for (domain, topic), text in zip(slots, texts, strict=True)
            if text
        ]
        return list(self._queries[step])

    def follow_up(
        self, step: int, queries: Sequence[Query], responses: Sequence[Response]
    ) -> list[Query]:
        """Go on with each conversation; one whose next message cannot be written is missing.

        The model sees the conversation with the roles swapped: what the Worker said comes to it as
        the user's words, and its own earlier messages are the assistant's.
        """
        if not queries:
            return []
        chats = [self._swapped(q, r.text) for q, r in zip(queries, responses, strict=True)]

        def accept(i: int, text: str) -> str:
            earlier = [m["content"] for m in queries[i].chat] + [responses[i].text, NEXT]
            return "copied" if any(alike(text, other) for other in earlier) else ""

        turn = sum(message["role"] == "user" for message in queries[0].chat)
        texts = self._write(chats, accept, step, turn)
        return [
            replace(query, chat=(*query.chat, *_turns(response.text, text)))
            for query, response, text in zip(queries, responses, texts, strict=True)
            if text
        ]

    def _slots(self, step: int) -> list[tuple[str, str]]:
        """Say which domain and topic each query of a step is to be of."""
        slots = []
        for domain, positions in self.mix.positions(step).items():
            topics = sorted({query.topic for query in self.examples[domain]})
            deck = Deck(topics, 1, derive(self.seed, "topics", domain))
            slots += [(domain, topic) for topic in deck.deal(positions)]
        return slots

    def _prompt(self, step: int, index: int, topic: str, domain: str) -> list[Message]:
        """Show a few messages of the topic as if the model had written them, and ask for one."""
        pool = [query for query in self.examples[domain] if query.topic == topic]
        rng = np.random.default_rng(derive(self.seed, "examples", step, index))
        chat: list[Message] = [SYSTEM]
        for i in rng.permutation(len(pool))[:EXAMPLES]:
            chat += [_request(topic), {"role": "assistant", "content": pool[i].text}]
        return [*chat, _request(topic)]

    def _swapped(self, query: Query, answer: str) -> list[Message]:
        """Show a conversation from the User's side, up to the Worker's last answer."""
        chat: list[Message] = [SYSTEM, *SHOWN, _request(query.topic)]
        answered: Message = {"role": "assistant", "content": answer}
        for message in (*query.chat, answered):
            if message["role"] == "user":
                chat.append({"role": "assistant", "content": message["content"]})
            elif message["role"] == "assistant":
                chat.append({"role": "user", "content": f"{message['content']}\n\n{NEXT}"})
        return chat

    def _write(
        self,
        chats: Sequence[Sequence[Message]],
        accept: Callable[[int, str], str],
        step: int,
        turn: int,
    ) -> list[str]:
        """Write a message for each chat, again where it is unusable; "" where it stays so."""
        texts = [""] * len(chats)
        counts = self._reports.setdefault(step, Counter())
        for attempt in range(self.tries):
            open_ = [i for i, text in enumerate(texts) if not text]
            if not open_:
                break
            counts["rewritten"] += len(open_) if attempt else 0
            seed = derive(self.seed, "write", step, turn, attempt)
            written = self.model.generate([chats[i] for i in open_], self.sampling.seeded(seed))
            for i, (raw,) in zip(open_, written, strict=True):
                text, reason = clean(raw)
                reason = reason or accept(i, text)
                if reason:
                    counts[f"refused: {reason}"] += 1
                else:
                    texts[i] = text
        counts["dropped"] += texts.count("")
        return texts

    # Topics

    def composition(self) -> dict[tuple[str, str], float]:
        """Return the share of its queries in each domain and topic, in the long run."""
        total = sum(self.shares.values())
        topics = {d: {query.topic for query in self.examples[d]} for d in self.shares}
        return {
            (domain, topic): share / total / len(topics[domain])
            for domain, share in self.shares.items()
            for topic in topics[domain]
        }

    def remixed(self, mix: Mapping[str, float] | None, topics: Sequence[str] | None) -> Self:
        """Return this User with another mix, only some topics, or both.

        Raises:
            ConfigError: A topic or domain is unknown.
        """
        examples, shares = remix(self.examples, self.shares, mix, topics)
        return type(self)(
            self.model,
            examples,
            self.mix.batch,
            turns=self.turns,
            mix=shares,
            seed=derive(self.seed, "remixed"),
            tries=self.tries,
            sampling=self.sampling,
        )

    # Reports

    def report(self, step: int) -> dict[str, Any]:
        """Count what became of a step's messages, which must have been asked for before.

        Returns:
            ``asked`` (slots), ``rewritten`` (attempts after the first), ``dropped`` (messages that
            stayed unusable) and ``refused: REASON`` for each reason. Where there are several
            domains, ``out_of_domain`` (first messages whose words are rather another domain's)
            and ``domain_accuracy`` (how often the same test is right on examples it has not seen).
        """
        report: dict[str, Any] = dict(self._reports[step])
        if self._classifier is not None:
            queries = self._queries[step]
            predictions = self._classifier.predict([query.text for query in queries])
            pairs = zip(predictions, queries, strict=True)
            report["out_of_domain"] = sum(domain != query.domain for domain, query in pairs)
            report["domain_accuracy"] = round(self._classifier.accuracy, 3)
        return report

    @cached_property
    def _classifier(self) -> DomainClassifier | None:
        shown = {domain: [q.text for q in self.examples[domain]] for domain in self.shares}
        if len(shown) < 2 or min(map(len, shown.values())) < FOLDS:
            return None
        return DomainClassifier(shown)


def _request(topic: str) -> Message:
    about = f" about {topic.replace('_', ' ')}" if topic else ""
    return {"role": "user", "content": f"Write one message{about}."}


def _turns(answer: str, message: str) -> tuple[Message, Message]:
    return {"role": "assistant", "content": answer}, {"role": "user", "content": message}


def _id(domain: str, text: str) -> str:
    return hashlib.sha256(f"{domain}\n{text}".encode()).hexdigest()[:12]
