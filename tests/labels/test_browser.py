"""The labelling page in a real browser: keys, buttons, two tabs, and a server that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.label_process import LabelProcess
from support.labels import write_items

pytestmark = pytest.mark.browser


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context()
    # A slow machine is no failure; the whole suite's limit ends what hangs.
    context.set_default_timeout(0)
    yield context
    context.close()


def opened(context: Any, url: str) -> Any:
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("body[aria-busy=false]")
    return page


def press(page: Any, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_selector("body[aria-busy=false]")


def progress(page: Any) -> str:
    return str(page.inner_text("#progress"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_keys_answer_and_a_killed_server_loses_nothing(tmp_path: Path, context: Any) -> None:
    data, out = write_items(tmp_path / "data.jsonl", 8), tmp_path / "labels.jsonl"
    sides = {"a": "left", "ArrowLeft": "left", "1": "left"}
    sides |= {"b": "right", "ArrowRight": "right", "2": "right"}
    options = ("--annotator", "ann", "--repeats", "0")
    seen = []
    with LabelProcess(data, out, *options) as process:
        page = opened(context, process.urls[0])
        for key, side in sides.items():
            seen.append(page.inner_text(f"#{side}"))
            press(page, key)
        assert progress(page) == "6 of 8 done"
        assert [row["chosen"] for row in rows_of(out)] == seen
        press(page, "u")
        assert progress(page) == "5 of 8 done"
        assert page.inner_text("#right") == seen.pop()
        press(page, "t")
        assert rows_of(out)[-1]["choice"] == "tie"
        due = page.inner_text("#prompt")
        assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
        press(page, "a")
        assert "Not saved" in page.inner_text("#notice")
        assert progress(page) == "6 of 8 done"
    assert len(rows_of(out)) == 6
    with LabelProcess(data, out, *options) as process:
        page = opened(context, process.urls[0])
        assert progress(page) == "6 of 8 done"
        assert page.inner_text("#prompt") == due
        press(page, "s")
        press(page, "a")
        assert page.is_visible("#end")
        assert not page.is_visible("#item")
        press(page, "a")  # nothing is left to answer
        code, said, _ = process.end(signal.SIGINT)
    assert code == 0
    assert said.startswith("7 answers of 1 annotator to 7 items")
    rows = rows_of(out)
    assert len({row["item"] for row in rows}) == len(rows) == 8
    assert all(row["seconds"] > 0 for row in rows)


def test_two_tabs_and_two_annotators_lose_and_double_nothing(tmp_path: Path, context: Any) -> None:
    data, out = write_items(tmp_path / "data.jsonl", 3), tmp_path / "labels.jsonl"
    with LabelProcess(data, out, "--annotator", "ann", "bob", "--repeats", "0") as process:
        one, two = (opened(context, process.urls[0]) for _ in range(2))
        other = opened(context, process.urls[1])
        press(one, "a")
        press(two, "b")  # the same item, shown before the first tab answered it
        assert "another page" in two.inner_text("#notice")
        assert progress(two) == "1 of 3 done"
        press(other, "a")
        for page in (two, one, one, other, other):
            press(page, "b")
        assert one.is_visible("#end")
        assert other.is_visible("#end")
    keys = [(row["annotator"], row["item"]) for row in rows_of(out)]
    assert len(keys) == len(set(keys)) == 6


def test_a_key_that_is_held_down_answers_once(tmp_path: Path, context: Any) -> None:
    data, out = write_items(tmp_path / "data.jsonl", 4), tmp_path / "labels.jsonl"
    with LabelProcess(data, out, "--repeats", "0") as process:
        page = opened(context, process.urls[0])
        for _ in range(3):
            page.keyboard.down("a")
            page.wait_for_selector("body[aria-busy=false]")
        page.keyboard.up("a")
        page.keyboard.press("Control+b")
        assert progress(page) == "1 of 4 done"


def test_buttons_for_touch_and_a_phone(tmp_path: Path, chromium: Any) -> None:
    data, out = write_items(tmp_path / "data.jsonl", 3), tmp_path / "labels.jsonl"
    phone = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    phone.set_default_timeout(0)
    with LabelProcess(data, out, "--repeats", "0") as process:
        page = opened(phone, process.urls[0])
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.is_disabled("#undo")
        for name in ("left", "tie", "skip"):
            box = page.locator(f"[data-press={name}]").bounding_box()
            assert box["height"] >= 44
            page.locator(f"[data-press={name}]").tap()
            page.wait_for_selector("body[aria-busy=false]")
        page.locator("#undo").tap()
        page.wait_for_selector("body[aria-busy=false]")
        assert progress(page) == "2 of 3 done"
    phone.close()


def test_text_of_models_stays_text(tmp_path: Path, context: Any) -> None:
    evil = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
    row = {"prompt": evil, "response_a": evil + "a", "response_b": evil + "b" + "x" * 3000}
    data, out = tmp_path / "data.jsonl", tmp_path / "labels.jsonl"
    data.write_text(json.dumps(row) + "\n")
    tried: list[str] = []
    with LabelProcess(data, out) as process:
        page = context.new_page()
        page.on("console", lambda message: tried.append(message.text))
        page.on("pageerror", lambda error: tried.append(str(error)))
        page.on("request", lambda request: tried.append(request.url))
        page.goto(process.urls[0])
        page.wait_for_selector("body[aria-busy=false]")
        url = process.urls[0]
        assert [one for one in tried if one != "data:,"] == [
            url,
            url + "page.css",
            url + "page.js",
            url + "state",
        ]
        assert page.inner_text("#prompt") == evil
        assert page.title() == "Which answer is better?"
        assert page.locator("main img, main script").count() == 0
        width = page.evaluate("document.documentElement.clientWidth")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
