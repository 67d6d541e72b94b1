"""The labelling page's server: on this computer only, and only for whoever has the address.

Web pages that are open in the same browser may send requests to any port of this computer. They
cannot know the token in the address, their requests carry their own Origin, and a name that they
made point to 127.0.0.1 is refused by the Host header.
"""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from custodes.errors import CustodesError, RunError
from custodes.labels.session import PRESSES, Session, StaleError

__all__ = ["LabelServer"]

HOST = "127.0.0.1"
LONGEST_BODY = 10_000
"""Longest request, in bytes; answers hold an item's id and a word."""

FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class LabelServer(ThreadingHTTPServer):
    """Serves the page to annotators, each under an address of their own.

    Attributes:
        session: The labelling.
        urls: Address of each annotator's page, by name.
    """

    daemon_threads = True

    def __init__(self, session: Session, annotators: Sequence[str], port: int = 0) -> None:
        """Bind a port.

        Args:
            session: The labelling.
            annotators: Their names.
            port: The port; 0 takes a free one.

        Raises:
            RunError: The port cannot be had.
        """
        self.session = session
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise RunError(
                f"cannot listen on port {port} of {HOST} ({error})", "choose another with --port"
            ) from error
        self.annotators = {secrets.token_urlsafe(16): name for name in annotators}
        self.hosts = {f"{host}:{self.server_port}" for host in (HOST, "localhost")}
        self.urls = {
            name: f"http://{HOST}:{self.server_port}/{token}/"
            for token, name in self.annotators.items()
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep silent about browsers that hang up, and report everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        place = self._place()
        if place is None:
            return
        annotator, name = place
        if name == "state":
            self._send_state(200, annotator)
        elif name in FILES:
            file, kind = FILES[name]
            content = files("custodes.labels").joinpath("templates", file).read_bytes()
            self._send(200, content, kind)
        else:
            self._refuse(404, "there is no such page")

    def do_POST(self) -> None:
        place = self._place()
        if place is None:
            return
        annotator, name = place
        body = self._body()
        if body is None:
            return
        key = body.get("key")
        session = self.server.session
        try:
            if name == "answer" and isinstance(key, str) and body.get("press") in PRESSES:
                session.answer(annotator, key, body["press"], _seconds(body.get("seconds")))
            elif name == "undo" and isinstance(key, str):
                session.undo(annotator, key)
            else:
                self._refuse(400, "this is no answer")
                return
        except StaleError:
            self._send_state(409, annotator)
        except CustodesError as error:
            self._refuse(500, str(error))
        else:
            self._send_state(200, annotator)

    def _place(self) -> tuple[str, str] | None:
        """Return the annotator and the page that are asked for; refuse strangers."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._refuse(403, "this server is for this computer only")
            return None
        origin = self.headers.get("Origin")
        own = {f"http://{host}" for host in self.server.hosts}
        if (origin is not None or self.command == "POST") and origin not in own:
            self._refuse(403, "another page may not ask this server")
            return None
        token, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        for known, annotator in self.server.annotators.items():
            if secrets.compare_digest(token.encode(), known.encode()):
                return annotator, name
        self._refuse(404, "open the address that custodes label printed; each start has a new one")
        return None

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST_BODY:
            self._refuse(413, "this is no answer")
            return None
        content = self.rfile.read(int(length))
        if self.headers.get_content_type() == "application/json":
            try:
                body = json.loads(content)
            except (ValueError, RecursionError):
                body = None
            if isinstance(body, dict):
                return body
        self._refuse(400, "this is no answer")
        return None

    def _send_state(self, status: int, annotator: str) -> None:
        state = self.server.session.state(annotator)
        self._send(status, json.dumps(state).encode(), "application/json")

    def _refuse(self, status: int, reason: str) -> None:
        # The body may not have been read, so the connection cannot serve another request.
        self.close_connection = True
        self._send(status, json.dumps({"error": reason}).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        return "custodes"

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the addresses hold the tokens."""


def _seconds(value: object) -> float:
    usable = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return min(float(value), 1e6) if usable else 0.0  # type: ignore[arg-type]
