"""A fake of the Hugging Face hub on loopback: as much as it takes to receive a model.

It keeps what it was sent. It is no hub: it checks nothing but the token.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TOKEN = "hf_fake"


class FakeHub:
    """The fake, serving while it is entered.

    Attributes:
        created: Bodies of the requests to make a repository.
        commits: The messages of the commits.
        files: By path, what was committed.
        refuse: Status to answer everything with, None to serve.
    """

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.commits: list[str] = []
        self.files: dict[str, bytes] = {}
        self.refuse: int | None = None
        self._large: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                status, reply = hub.reply(self.path, self.headers, self.rfile.read(length))
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if path.startswith("/large/"):
            self._large[path.removeprefix("/large/")] = body
            return 200, {}
        if self.refuse or headers.get("authorization") not in (None, f"Bearer {TOKEN}"):
            return self.refuse or 401, {"error": "no"}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.url}/me/mine"}
        if "/preupload/" in path:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": modes}
        if path.endswith("/info/lfs/objects/batch"):
            places = [
                {**item, "actions": {"upload": {"href": f"{self.url}/large/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": places}
        if "/commit/" in path:
            self._commit([json.loads(line) for line in body.splitlines()])
            return 200, {"commitUrl": f"{self.url}/me/mine/commit/1", "commitOid": "1"}
        return 200, {}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits.append(value["summary"])
            elif line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            else:
                self.files[value["path"]] = self._large[value["oid"]]
