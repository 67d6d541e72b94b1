"""A real HTTP server on loopback that speaks the OpenAI protocol for any `LanguageModel`.

It is as wrong as a test wants it to be: each completion request takes the next of `faults`, and
answers as that says.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from custodes.models.base import LanguageModel, Sampling

Fault = Callable[["Handler"], None]


@dataclass
class Received:
    """A request that the server saw."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any] = field(default_factory=dict)


def answer(status: int, body: object, **headers: str) -> Fault:
    """Answer this instead: JSON, or bytes as they are."""

    def fault(handler: Handler) -> None:
        handler.send(status, body, {k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def refuse(status: int, message: str = "no", code: str | None = None, **headers: str) -> Fault:
    """Answer with an error in OpenAI's form."""
    return answer(status, {"error": {"message": message, "type": "x", "code": code}}, **headers)


def hang(seconds: float) -> Fault:
    """Say nothing for a while, then close the connection."""
    return lambda handler: time.sleep(seconds)


def drip(seconds: float) -> Fault:
    """Send a byte now and then, so that no single read takes long."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", "1000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            time.sleep(0.05)

    return fault


def torn(handler: Handler) -> None:
    """Promise more bytes than are sent."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')


TRUNCATED_JSON = answer(200, b'{"choices": [{"message": {"content": "he')
RUBBISH = answer(200, b"<html>gateway</html>", content_type="text/html")
NO_CHOICES = answer(200, {"choices": [], "usage": None})
NO_MESSAGE = answer(200, {"choices": [{"index": 0}]})


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `OpenAIServer` holds the state."""

    protocol_version = "HTTP/1.1"
    owner: OpenAIServer

    def do_GET(self) -> None:
        self.owner.see(Received(self.path, dict(self.headers)))
        if self.path != "/v1/models" or self.owner.hides_models:
            return self.fail(404, "Not Found")
        if not self.authorised():
            return None
        cards = [self.owner.card(name) for name in self.owner.models]
        return self.send(200, {"object": "list", "data": cards})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.see(Received(self.path, dict(self.headers), body))
        if not self.authorised():
            return None
        if self.path == "/v1/load_lora_adapter":
            return self.owner.load_adapter(self, body)
        if self.path != "/v1/chat/completions":
            return self.fail(404, "Not Found")
        if (fault := self.owner.next_fault()) is not None:
            self.close_connection = True
            return fault(self)
        return self.complete(body)

    def authorised(self) -> bool:
        given = self.headers.get("authorization")
        if self.owner.key is None or given == f"Bearer {self.owner.key}":
            return True
        self.fail(401, f"Incorrect API key provided: {given}")
        return False

    def complete(self, body: dict[str, Any]) -> None:
        model = self.owner.models.get(body["model"])
        if model is None:
            return self.fail(404, f"The model {body['model']} does not exist.")
        n = body.get("n", 1)
        if n > 1 and self.owner.many == "refused":
            return self.fail(400, "n > 1 is not supported")
        sampling = Sampling(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            n=n if self.owner.many == "given" else 1,
            seed=body["seed"],
            stop=tuple(body.get("stop", ())),
        )
        with self.owner.generating:
            (texts,) = model.generate([body["messages"]], sampling)
        prompt = sum(len(m["content"].split()) for m in body["messages"])
        completion = sum(len(text.split()) for text in texts)
        choices = [
            {
                "index": i,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
            for i, text in enumerate(texts)
        ]
        self.send(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "system_fingerprint": self.owner.fingerprint,
                "choices": choices,
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            },
        )
        return None

    def fail(self, status: int, message: str) -> None:
        refuse(status, message)(self)

    def send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


class OpenAIServer:
    """Serves models by name; use it as a context manager.

    Attributes:
        models: By the name the server calls them.
        many: What it does with ``n > 1``: "given", "ignored" (one choice, as Ollama does) or
            "refused".
        faults: What goes wrong with the next completion requests, in order; None for nothing.
        requests: Everything it saw, in order of arrival.
    """

    def __init__(
        self,
        models: Mapping[str, LanguageModel],
        *,
        key: str | None = None,
        many: str = "given",
        fingerprint: str | None = None,
        faults: Iterable[Fault | None] = (),
    ) -> None:
        self.models = dict(models)
        self.key = key
        self.many = many
        self.fingerprint = fingerprint
        self.faults = iter(faults)
        self.hides_models = False
        self.requests: list[Received] = []
        self.lock = threading.Lock()
        self.generating = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def completions(self) -> list[Received]:
        """The completion requests it saw."""
        with self.lock:
            return [r for r in self.requests if r.path == "/v1/chat/completions"]

    def see(self, request: Received) -> None:
        with self.lock:
            self.requests.append(request)

    def next_fault(self) -> Fault | None:
        with self.lock:
            return next(self.faults, None)

    def card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "tests"}

    def load_adapter(self, handler: Handler, body: dict[str, Any]) -> None:
        handler.fail(404, "Not Found")


class FakeVllm(OpenAIServer):
    """A fake of vLLM's extras: ``/v1/load_lora_adapter``, and ``created`` as the time of asking.

    Args:
        adapt: Makes the model for an adapter's path; raises OSError where there is none.
    """

    def __init__(
        self,
        models: Mapping[str, LanguageModel],
        adapt: Callable[[str], LanguageModel],
        **options: Any,
    ) -> None:
        super().__init__(models, **options)
        self.adapt = adapt
        self._ticks = itertools.count(int(time.time()))

    def card(self, name: str) -> dict[str, Any]:
        return {**super().card(name), "owned_by": "vllm", "created": next(self._ticks)}

    def load_adapter(self, handler: Handler, body: dict[str, Any]) -> None:
        name, path = body["lora_name"], body["lora_path"]
        if name in self.models:
            handler.fail(400, f"The lora adapter '{name}' has already been loaded.")
            return
        try:
            self.models[name] = self.adapt(path)
        except OSError:
            handler.fail(404, f"No adapter found for {path}")
            return
        handler.send(
            200, f"Success: LoRA adapter '{name}' added successfully.".encode(),
            {"content-type": "text/plain"},
        )  # fmt: skip
