"""The labelling server answers its own page, and nobody else."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from custodes.errors import RunError
from custodes.labels import Item, LabelServer, Session
from support.labels import items


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    with (
        Session(items(3), tmp_path / "labels.jsonl", repeats=0) as session,
        LabelServer(session, ["ann", "bob"]) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: LabelServer,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    annotator: str = "ann",
    **headers: str | None,
) -> tuple[int, Any, http.client.HTTPResponse]:
    address = f"127.0.0.1:{server.server_port}"
    sent: dict[str, str | None] = {"Host": address}
    if method == "POST":
        sent |= {"Origin": f"http://{address}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(address, timeout=30)
    prefix = urlsplit(server.urls[annotator]).path
    connection.putrequest(method, prefix + path, skip_host=True)
    for name, value in ({"Content-Length": str(len(body or b""))} | sent).items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    is_json = response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(content) if is_json else content, response


def answer(
    server: LabelServer, key: object, press: object = "left", **more: Any
) -> tuple[int, Any]:
    body = json.dumps({"key": key, "press": press, "seconds": 1.5})
    status, content, _ = ask(server, "POST", "answer", body.encode(), **more)
    return status, content


def test_it_listens_on_this_computer_only(server: LabelServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_and_its_parts(server: LabelServer) -> None:
    for path, kind in (("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        status, content, response = ask(server, "GET", path)
        assert status == 200
        assert response.headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert b"innerHTML" not in content
    assert ask(server, "GET", "page.py")[0] == 404
    assert ask(server, "GET", "../items.py")[0] == 404


def test_an_answer_is_on_disk_before_the_next_item_is_given_out(server: LabelServer) -> None:
    _, state, _ = ask(server, "GET", "state")
    status, after = answer(server, state["item"]["key"])
    assert (status, after["done"]) == (200, 1)
    assert after["item"]["key"] != state["item"]["key"]
    (line,) = server.session.path.read_text().splitlines()
    assert json.loads(line)["seconds"] == 1.5


def test_two_annotators_have_addresses_of_their_own(server: LabelServer) -> None:
    key = ask(server, "GET", "state")[1]["item"]["key"]
    assert answer(server, key)[0] == answer(server, key, annotator="bob")[0] == 200
    assert [label.annotator for label in server.session.labels] == ["ann", "bob"]


def test_a_stale_answer_gets_the_current_state(server: LabelServer) -> None:
    key = ask(server, "GET", "state")[1]["item"]["key"]
    assert answer(server, key)[0] == 200
    status, state = answer(server, key, "right")
    assert (status, state["done"]) == (409, 1)
    body = json.dumps({"key": "i9|0"}).encode()
    assert ask(server, "POST", "undo", body)[0] == 409
    body = json.dumps({"key": state["undo"]}).encode()
    assert ask(server, "POST", "undo", body)[1]["done"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": None}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Content_Type": "text/plain"}, 400),
        ({"Content_Length": "99999999"}, 413),
        ({"Content_Length": "-1"}, 413),
        ({}, 200),
    ],
)
def test_strangers_are_refused(
    headers: dict[str, str | None], status: int, server: LabelServer
) -> None:
    key = ask(server, "GET", "state")[1]["item"]["key"]
    assert answer(server, key, **headers)[0] == status
    assert len(server.session.labels) == (status == 200)


@pytest.mark.parametrize("token", ["", "x" * 22, "%00", "ann"])
def test_without_the_token_there_is_nothing(token: str, server: LabelServer) -> None:
    server.urls["ann"] = f"http://127.0.0.1/{token}/"
    for path in ("", "state", "page.js"):
        status, content, _ = ask(server, "GET", path)
        assert status == 404
        assert "item" not in content
    assert answer(server, "i0|0")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 5000,
        b'{"key": 1, "press": "left"}',
        b'{"key": "i0|0", "press": "a"}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes, server: LabelServer) -> None:
    assert ask(server, "POST", "answer", body)[0] == 400
    assert server.session.labels == []


@pytest.mark.parametrize("seconds", ["NaN", "-1", '"soon"', "null", "Infinity"])
def test_impossible_seconds_are_none(seconds: str, server: LabelServer) -> None:
    key = ask(server, "GET", "state")[1]["item"]["key"]
    body = f'{{"key": {json.dumps(key)}, "press": "tie", "seconds": {seconds}}}'.encode()
    assert ask(server, "POST", "answer", body)[0] == 200
    assert server.session.labels[0].seconds == 0


def test_model_text_is_data_and_not_markup(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    item = Item("x", ({"role": "user", "content": evil},), evil + "a", evil + "b")
    with (
        Session([item], tmp_path / "x.jsonl") as session,
        LabelServer(session, ["ann"]) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert evil.encode() not in ask(server, "GET", "")[1]
            status, state, response = ask(server, "GET", "state")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert state["item"]["prompt"][0]["content"] == evil
        finally:
            server.shutdown()
            thread.join()
    assert status == 200


def test_a_port_in_use_is_one_line(server: LabelServer) -> None:
    with pytest.raises(RunError, match="cannot listen on port"):
        LabelServer(server.session, ["ann"], server.server_port)
