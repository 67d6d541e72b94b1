"""Models behind an OpenAI-compatible HTTP server: vLLM, Ollama, llama.cpp, a vendor.

No request is paid for twice. Every reply is on disk before the next thing happens, under a key
made of the server's address, the model, its version, the messages, the sampling and the number of
the draw. A batch that was killed halfway pays only for the rest when it is run again.

**Version.** A server does not show its weights, so the version is its description of them: the
model's name and its entry in ``/v1/models`` (``id``, ``root``, ``parent``, ``owned_by``, ``meta``,
and ``created``, unless that is merely the time of the request, as with vLLM and llama.cpp). A
vendor may change weights behind an unchanged entry. The *revision*, a word that the user chooses,
replaces the description: ``endpoint:MODEL@URL#REVISION``. The ``system_fingerprint`` of the replies
is no part of the version, since it comes only with a reply and vendors rotate it. It is kept with
each reply, and two fingerprints in one process, cached or fresh, give a `CustodesWarning`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.conversation import Chat
from custodes.errors import ConfigError, CustodesError, CustodesWarning, EndpointError, ModelError
from custodes.models.base import Sampling, Usage
from custodes.models.cache import adapter_version, cache_dir
from custodes.models.chat import cut_at_stop
from custodes.models.draws import number_draws
from custodes.models.endpoint.replies import Reply, load_reply, read_completion, save_reply
from custodes.models.endpoint.server import Patience, Remote, run_async
from custodes.runs.store import Store
from custodes.seeds import derive
from custodes.text import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["EndpointModel", "parse_endpoint"]


def parse_endpoint(name: str) -> tuple[str, str, str | None]:
    """Take ``endpoint:MODEL@URL`` or ``endpoint:MODEL@URL#REVISION`` apart.

    >>> parse_endpoint("endpoint:org/model@http://localhost:8000/v1#may")
    ('org/model', 'http://localhost:8000/v1', 'may')

    Returns:
        Model, URL and revision (None where there is none).

    Raises:
        ConfigError: It is not of that form.
    """
    prefix, _, rest = name.partition(":")
    model, _, address = rest.rpartition("@")
    url, _, revision = address.partition("#")
    if prefix != "endpoint" or not model or not url:
        raise ConfigError(
            f"{name!r} names no endpoint", "write it as endpoint:MODEL@http://HOST:PORT/v1"
        )
    return model, url, revision or None


# One draw: a chat as canonical JSON, and the number of the draw from it.
_Draw = tuple[str, int]
# The content of one request: a chat and the numbers of one or several draws from it.
_Request = tuple[str, list[int]]

_MAX_SEED = 2**31 - 1


class EndpointModel:
    """A model on a server, called over HTTP with bounded concurrency.

    Attributes:
        model: The model's name on the server.
        url: Base URL of the server, mostly ending in ``/v1``.
        name, engine, version, usage: As in `custodes.models.base.LanguageModel`; usage counts the
            tokens the server reported, and replies out of the store as ``cache_hits``.
        fingerprints: Every ``system_fingerprint`` seen on a reply.
    """

    engine = "endpoint"

    def __init__(
        self,
        model: str,
        url: str,
        *,
        name: str = "",
        revision: str | None = None,
        concurrency: int = 8,
        patience: Patience | None = None,
        store: Path | None = None,
    ) -> None:
        """Ask the server for the model's version, unless there is a revision.

        Args:
            model: The model's name on the server.
            url: Base URL of the server.
            name: The model's name in custodes; ``endpoint:MODEL@URL`` by default.
            revision: A word that stands for these weights, in place of the server's description.
            concurrency: Largest number of requests in flight (>= 1).
            patience: Timeouts and number of tries.
            store: Folder of the replies; ``endpoint/`` in the cache by default.

        Raises:
            ConfigError: The URL is not one, or holds a key.
            EndpointError: The server cannot be reached.
        """
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}", "allow at least one request")
        self.model = model
        self.concurrency = concurrency
        self.usage = Usage()
        self.fingerprints: set[str] = set()
        self._remote = Remote(url, patience or Patience())
        self.url = self._remote.url
        self.name = name or f"endpoint:{model}@{self.url}"
        self._store = Store(store or cache_dir() / "endpoint")
        # Whether the server answers a request for n completions with n; the first reply shows it.
        self._gives_many = True
        self.version = f"{model}#{revision}" if revision else self._described()

    def __repr__(self) -> str:
        return f"EndpointModel({self.name!r}, version={self.version!r})"

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times; see `custodes.models.base.LanguageModel`.

        Only replies that are not in the store are requested. Every reply is stored as it comes,
        also when another request of the batch fails.

        Raises:
            EndpointError: A request got no usable answer; nothing new is started then.
            RunError: A reply cannot be stored.
        """
        started = time.perf_counter()
        keys = [_canonical(chat) for chat in chats]
        if sampling.temperature == 0:
            # All greedy draws of a chat are one draw, whatever the seed.
            numbers, repeats = [range(1)] * len(keys), sampling.n
        else:
            numbers, repeats = number_draws(keys, sampling.n), 1
        rows = [[(key, i) for i in row] for key, row in zip(keys, numbers, strict=True)]
        replies = self._fetch(list(dict.fromkeys(d for row in rows for d in row)), sampling)
        self._watch_fingerprints(replies.values())
        self.usage.seconds += time.perf_counter() - started
        return [
            [cut_at_stop(replies[draw].text, sampling.stop) for draw in row] * repeats
            for row in rows
        ]

    def with_adapter(self, folder: Path) -> EndpointModel:
        """Load a LoRA adapter on a vLLM server and return the model that it makes.

        The server must have been started with ``--enable-lora`` and
        ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True``, and must see the folder under the same path. The
        adapter's name there is made of the hash of its files, so that loading it again is no work
        and an adapter that changed is another model.

        Args:
            folder: A PEFT adapter, in safetensors.

        Raises:
            ModelError: The folder is no such adapter.
            EndpointError: The server cannot be reached, or will not load it.
        """
        digest = _adapter_digest(self.version, folder)
        name = f"custodes-{digest}"
        run_async(self._load_adapter(name, folder.resolve()))
        return EndpointModel(
            name,
            self.url,
            name=f"{self.name}+{digest}",
            revision=digest,
            concurrency=self.concurrency,
            patience=self._remote.patience,
            store=self._store.folder,
        )

    def _fetch(self, draws: Sequence[_Draw], sampling: Sampling) -> dict[_Draw, Reply]:
        replies: dict[_Draw, Reply] = {}
        missing: dict[str, list[int]] = {}
        for draw in draws:
            reply = load_reply(self._store, self._identity(draw, sampling))
            if reply is None:
                missing.setdefault(draw[0], []).append(draw[1])
            else:
                replies[draw] = reply
        self.usage.cache_hits += len(replies)
        if missing:
            replies |= run_async(self._ask(self._requests(missing), sampling))
        return replies

    def _requests(self, missing: dict[str, list[int]]) -> list[_Request]:
        if self._gives_many:
            return list(missing.items())
        return [(key, [i]) for key, numbers in missing.items() for i in numbers]

    async def _ask(self, requests: list[_Request], sampling: Sampling) -> dict[_Draw, Reply]:
        """Send requests, a bounded number at a time, and store each reply as it comes."""
        queue = iter(requests)
        replies: dict[_Draw, Reply] = {}
        failures: list[CustodesError] = []

        async def work(client: AsyncOpenAI) -> None:
            # After a failure no request is started. Those under way are waited for and stored:
            # the server is at work on them and will charge for them.
            for request in queue:
                try:
                    replies.update(await self._serve(client, request, sampling))
                except CustodesError as error:
                    failures.append(error)
                if failures:
                    return

        async with self._remote.connect() as client:
            workers = min(self.concurrency, len(requests))
            await asyncio.gather(*(work(client) for _ in range(workers)))
        if failures:
            raise failures[0]
        return replies

    async def _serve(
        self, client: AsyncOpenAI, request: _Request, sampling: Sampling
    ) -> dict[_Draw, Reply]:
        key, numbers = request
        served: dict[_Draw, Reply] = {}
        while numbers:
            wanted = numbers if self._gives_many else numbers[:1]
            replies = await self._complete(client, key, wanted, sampling)
            for i, reply in zip(wanted, replies, strict=False):
                save_reply(self._store, self._identity((key, i), sampling), reply)
                served[key, i] = reply
            numbers = numbers[len(replies) :]
        return served

    async def _complete(
        self, client: AsyncOpenAI, key: str, wanted: list[int], sampling: Sampling
    ) -> list[Reply]:
        """Send one request for draws of one chat; a server that ignores ``n`` returns fewer."""
        from openai import BadRequestError

        body: dict[str, Any] = {
            "model": self.model,
            "messages": json.loads(key),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Every chat and every draw has a seed of its own. vLLM numbers the completions of one
            # request in the same way, so single and multiple draws agree there.
            "seed": (derive(_seed(sampling), key) + wanted[0]) % _MAX_SEED,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if len(wanted) > 1:
            body["n"] = len(wanted)

        async def ask() -> list[Reply]:
            try:
                answer = await client.post("/chat/completions", cast_to=object, body=body)
            except BadRequestError:
                if len(wanted) == 1:
                    raise
                return []  # it may object to n: single draws will show
            self._charge(answer)
            return read_completion(answer)

        replies = await self._remote.persist(self.model, ask)
        if len(replies) < len(wanted):
            self._gives_many = False
        return replies[: len(wanted)]

    def _charge(self, answer: object) -> None:
        spent = answer.get("usage") if isinstance(answer, dict) else None
        self.usage.calls += 1
        if isinstance(spent, dict):
            self.usage.prompt_tokens += _count(spent.get("prompt_tokens"))
            self.usage.completion_tokens += _count(spent.get("completion_tokens"))

    def _identity(self, draw: _Draw, sampling: Sampling) -> dict[str, Any]:
        """Return everything that determines a reply; the reply is stored under it."""
        key, number = draw
        return {
            "url": self.url,
            "model": self.model,
            "version": self.version,
            "messages": key,
            "max_tokens": sampling.max_tokens,
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "stop": list(sampling.stop),
            "seed": _seed(sampling),
            "draw": number,
        }

    def _watch_fingerprints(self, replies: Iterable[Reply]) -> None:
        fresh = {reply.fingerprint for reply in replies} - {""} - self.fingerprints
        self.fingerprints |= fresh
        if fresh and len(self.fingerprints) > 1:
            warnings.warn(
                f"{self.name} answered under several fingerprints "
                f"({', '.join(sorted(map(one_line, self.fingerprints)))}): its weights may have "
                "changed; give the new ones a revision (endpoint:MODEL@URL#REVISION)",
                CustodesWarning,
                stacklevel=3,
            )

    def _described(self) -> str:
        """Return a version made of the server's description of the model."""
        entry = self._entry()
        stable: dict[str, Any] = {
            field: entry[field]
            for field in ("id", "root", "parent", "owned_by", "meta")
            if field in entry
        }
        created = entry.get("created")
        if created is not None and not self._is_time_of_asking(created):
            stable["created"] = created
        digest = hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()
        return f"{self.model}@{digest[:12]}" if stable else self.model

    def _entry(self) -> dict[str, Any]:
        listed = run_async(self._remote.list_models())
        # Ollama lists a model as NAME:latest and serves it as NAME too.
        names = (self.model, f"{self.model}:latest")
        return next((model for model in listed if model.get("id") in names), {})

    def _is_time_of_asking(self, created: object) -> bool:
        if not isinstance(created, int | float) or abs(time.time() - created) > 300:
            return False
        time.sleep(1.1)  # ``created`` is in whole seconds
        return self._entry().get("created") != created

    async def _load_adapter(self, name: str, folder: Path) -> None:
        if any(model.get("id") == name for model in await self._remote.list_models()):
            return
        body = {"lora_name": name, "lora_path": str(folder)}
        async with self._remote.connect() as client:

            async def ask() -> object:
                return await client.post("/load_lora_adapter", cast_to=object, body=body)

            try:
                await self._remote.persist("load_lora_adapter", ask)
            except EndpointError as error:
                raise EndpointError(
                    error.cause,
                    "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, "
                    f"where it sees {folder}",
                ) from None


def _canonical(chat: Chat) -> str:
    return json.dumps([{"role": m["role"], "content": m["content"]} for m in chat])


def _seed(sampling: Sampling) -> int:
    return 0 if sampling.temperature == 0 else sampling.seed


def _count(tokens: object) -> int:
    return tokens if isinstance(tokens, int) else 0


def _adapter_digest(base: str, folder: Path) -> str:
    try:
        return adapter_version(base, folder)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is no LoRA adapter ({one_line(str(error))})",
            "name a PEFT folder with adapter_config.json and adapter_model.safetensors",
        ) from error
