"""The report in a real browser: nothing runs, nothing is asked of the network, and it fits."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, and the paths it was asked for."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


class Visit:
    """A page, and what it tried."""

    def __init__(self, chromium: Any, report: Path, **options: Any) -> None:
        self.context = chromium.new_context(**options)
        # A slow machine is no failure; the whole suite's limit ends what hangs.
        self.context.set_default_timeout(0)
        self.page = self.context.new_page()
        self.tried: list[str] = []
        self.page.on("dialog", lambda dialog: (self._note(dialog.message), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("console", lambda message: self._note(message.text))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.goto(report.as_uri())
        self.tried.remove(report.as_uri())

    def _note(self, what: str) -> None:
        self.tried.append(what)

    def does(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def close(self) -> list[str]:
        self.page.wait_for_timeout(50)
        self.context.close()
        return self.tried


WIDTHS = [1280, 390]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("run", ["ordinary", "hostile", "long"])
def test_nothing_happens_and_it_fits(
    run: str, width: int, chromium: Any, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(run) / "report.html"
    visit = Visit(chromium, report, viewport={"width": width, "height": 800})
    title = visit.page.title()
    visit.does("document.querySelectorAll('details').forEach(d => d.open = true)")
    visit.does("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new Event('error')))")
    assert visit.does("document.documentElement.scrollWidth") <= width
    # A text stays within its box, whatever it is made of.
    assert visit.does(
        "[...document.querySelectorAll('.text')].every(e => e.scrollWidth <= e.clientWidth + 1)"
    )
    assert visit.page.title() == title
    assert "pwned" not in title
    assert visit.close() == []


INTRUDERS = {
    "a script": "<script>document.title = 'pwned'</script>",
    "a handler": "<svg onload=\"document.title = 'pwned'\"></svg>",
    "an image": "<img src='HOST/x.png'>",
    "a frame": "<iframe src='HOST/'></iframe>",
    "a style": "<style>h1 { display: none }</style>",
    "a style sheet": "<link rel=stylesheet href='HOST/x.css'>",
}


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_even_markup_that_got_through_could_do_nothing(
    intruder: str, chromium: Any, ordinary: Path, tmp_path: Path, host: tuple[str, list[str]]
) -> None:
    """The second line of defence: the policy blocks what escaping failed to stop."""
    address, asked = host
    html = (ordinary / "report.html").read_text(encoding="utf-8")
    html = html.replace("</main>", INTRUDERS[intruder].replace("HOST", address) + "</main>")
    harm = {}
    for policy in ("Content-Security-Policy", "no-policy"):
        asked.clear()
        broken = tmp_path / f"{policy}.html"
        broken.write_text(html.replace("Content-Security-Policy", policy), encoding="utf-8")
        visit = Visit(chromium, broken)
        hidden = visit.does("getComputedStyle(document.querySelector('h1')).display") == "none"
        pwned = visit.page.title() == "pwned"
        visit.close()
        harm[policy] = hidden or pwned or bool(asked)
    assert harm == {"Content-Security-Policy": False, "no-policy": True}


def test_dark_and_light(chromium: Any, ordinary: Path) -> None:
    report = ordinary / "report.html"
    found = {}
    for scheme in ("light", "dark"):
        visit = Visit(chromium, report, color_scheme=scheme)
        found[scheme] = visit.does(
            """[getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.querySelector('.chart path[stroke="#20568f"]')).stroke]"""
        )
        visit.close()
    assert found["light"] == ["rgb(255, 255, 255)", "rgb(32, 86, 143)"]
    assert found["dark"] == ["rgb(22, 24, 27)", "rgb(125, 179, 234)"]


def test_a_phone_gets_charts_of_its_own(chromium: Any, ordinary: Path) -> None:
    report = ordinary / "report.html"
    for width, seen, unseen in ((1280, ".wide", ".narrow"), (390, ".narrow", ".wide")):
        visit = Visit(chromium, report, viewport={"width": width, "height": 800})
        assert visit.page.locator(f".chart{seen}").first.is_visible()
        assert not visit.page.locator(f".chart{unseen}").first.is_visible()
        sizes = visit.does(
            f"""[...document.querySelectorAll('.chart{seen} text')].map(
                text => text.getBoundingClientRect().height)"""
        )
        assert min(sizes) >= 10
        visit.close()


def test_the_keyboard_opens_what_is_folded(chromium: Any, ordinary: Path) -> None:
    visit = Visit(chromium, ordinary / "report.html")
    visit.page.keyboard.press("Tab")
    assert visit.does("document.activeElement.tagName") == "SUMMARY"
    visit.page.keyboard.press("Enter")
    assert visit.does("document.activeElement.parentElement.open")
    visit.close()


def test_every_chart_is_named_and_has_a_table(chromium: Any, ordinary: Path) -> None:
    visit = Visit(chromium, ordinary / "report.html")
    names = visit.does(
        "[...document.querySelectorAll('[role=img]')].map(e => e.getAttribute('aria-label'))"
    )
    assert len(names) == 4
    assert all(re.search(r"\d", name) and "table" in name for name in names)
    outside = "[...document.querySelectorAll('svg')].filter(e => !e.closest('[role=img]')).length"
    assert visit.does(outside) == 0
    # The panel beside the gold score has a table and no chart.
    tables = "document.querySelectorAll('#gold table, #ratings table').length"
    assert visit.does(tables) == len(names) + 1
    visit.close()


def test_paper_shows_what_the_screen_folds(chromium: Any, ordinary: Path) -> None:
    visit = Visit(chromium, ordinary / "report.html")
    visit.page.emulate_media(media="print")
    assert visit.page.locator("#config pre").is_visible()
    assert not visit.page.locator("nav").is_visible()
    visit.close()
