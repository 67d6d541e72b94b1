"""The person in the terminal, on plain streams and on a real pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from custodes.conversation import Query, user_chat
from custodes.errors import RunError
from custodes.experts import HumanExpert


def queries(n: int) -> list[Query]:
    return [Query(f"q{i}", tuple(user_chat(f"question {i}")), "helpfulness") for i in range(n)]


def person(folder: Path, typed: str) -> tuple[HumanExpert, io.StringIO]:
    sink = io.StringIO()
    expert = HumanExpert(
        "helpfulness", folder / "answers.jsonl", source=io.StringIO(typed), sink=sink
    )
    return expert, sink


def test_grades_become_ratings(tmp_path: Path) -> None:
    expert, sink = person(tmp_path, "1\n 3 \n5\ns\n")
    ratings = expert.rate(queries(4), ["a", "b", "c", "d"])
    assert [rating.value for rating in ratings] == [0.0, 0.5, 1.0, None]
    assert ratings[3].reason == "skipped"
    shown = sink.getvalue()
    assert "question 2" in shown
    assert "helpfulness 3/4" in shown


def test_anything_else_is_asked_again(tmp_path: Path) -> None:
    expert, sink = person(tmp_path, "6\n\n0\n45\nx\x1b[2J\n٣\n4\n")
    assert expert.rate(queries(1), ["a"])[0].value == 0.75
    assert sink.getvalue().count("is none of") == 6
    assert "\x1b" not in sink.getvalue()


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    first, _ = person(tmp_path, "2\ns\n")
    asked = first.rate(queries(2), ["a", "b"])
    again, sink = person(tmp_path, "")
    assert again.rate(queries(2), ["a", "b"]) == asked
    assert sink.getvalue() == ""
    assert again.report()["asked"] == 0
    # The same words in another place of the batch, or twice in it, are the same question.
    more, _ = person(tmp_path, "5\n")
    ratings = more.rate([*queries(2), *queries(2)], ["new", "b", "new", "b"])
    assert [rating.value for rating in ratings] == [1.0, None, 1.0, None]


def test_another_domain_conversation_or_response_is_another_question(tmp_path: Path) -> None:
    expert, _ = person(tmp_path, "1\n2\n3\n")
    one, two = queries(2)
    expert.rate([one, one, two], ["a", "b", "a"])
    assert expert.report()["asked"] == 3
    other = HumanExpert(
        "harmlessness", expert.journal, source=io.StringIO("5\n"), sink=io.StringIO()
    )
    assert other.rate([one], ["a"])[0].value == 1.0


@pytest.mark.parametrize("typed", ["4\nq\n", "4\n"])
def test_stopping_keeps_what_was_answered(tmp_path: Path, typed: str) -> None:
    expert, _ = person(tmp_path, typed)
    with pytest.raises(RunError, match="stopped rating after 1 answers: run the same") as caught:
        expert.rate(queries(3), ["a", "b", "c"])
    assert str(expert.journal) in str(caught.value)
    later, sink = person(tmp_path, "1\n2\n")
    assert [r.value for r in later.rate(queries(3), ["a", "b", "c"])] == [0.75, 0.0, 0.25]
    assert "question 0" not in sink.getvalue()


def test_each_answer_is_on_disk_before_the_next_question(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    seen = []

    class Watched(io.StringIO):
        def readline(self, size: int = -1) -> str:
            seen.append(len(journal.read_text().splitlines()))
            return super().readline(size)

    expert = HumanExpert("helpfulness", journal, source=Watched("1\n2\n3\n"), sink=io.StringIO())
    expert.rate(queries(3), ["a", "b", "c"])
    assert seen == [0, 1, 2]
    assert json.loads(journal.read_text().splitlines()[1])["answer"] == "2"


def test_a_torn_journal_line_is_asked_again(tmp_path: Path) -> None:
    expert, _ = person(tmp_path, "1\n2\n")
    expert.rate(queries(2), ["a", "b"])
    data = expert.journal.read_bytes()
    expert.journal.write_bytes(data[:-20])
    again, sink = person(tmp_path, "5\n")
    assert [r.value for r in again.rate(queries(2), ["a", "b"])] == [0.0, 1.0]
    assert "question 1" in sink.getvalue()


def test_what_is_shown_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    expert, sink = person(tmp_path, "1\n")
    attack = "\x1b[2J\x1b]0;x\x07[bold red]5[/] [/nothing] \r over \u202e :smile: \ud800"
    query = Query("q", tuple(user_chat(f"ask {attack}")), "helpfulness")
    expert.rate([query], [attack])
    shown = sink.getvalue()
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown)
    assert shown.count(r"\x1b[2J\x1b]0;x\x07[bold red]5[/] [/nothing] \x0d") == 2
    assert ":smile:" in shown
    shown.encode()


def test_the_same_grade_for_everything_is_shown(tmp_path: Path) -> None:
    expert, _ = person(tmp_path, "3\n" * 8)
    expert.rate(queries(8), ["x"] * 8)
    (control,) = expert.report()["controls"]
    assert not control["ok"]
    assert control["says"] == "8 of 8 grades are the same (at most 90% may be)"


TYPIST = """
import sys
from pathlib import Path
from custodes.errors import CustodesError
from custodes.conversation import user_chat
from custodes.conversation import Query
from custodes.experts import HumanExpert
queries = [Query(str(i), tuple(user_chat(f"question {i}")), "helpfulness") for i in range(3)]
try:
    ratings = HumanExpert("helpfulness", Path(sys.argv[1])).rate(queries, ["a", "\\x1b[2J", "c"])
    print("VALUES", [rating.value for rating in ratings])
except CustodesError as error:
    sys.exit(f"error: {error}")
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.screen = ""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TYPIST, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)

    def expect(self, words: str) -> None:
        while words not in self.screen:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # what Linux says when the other side is gone
                data = b""
            assert data, f"{words!r} never came: {self.screen}"
            self.screen += data.decode()

    def type(self, text: str) -> None:
        self.screen = ""
        os.write(self._ours, text.encode())

    def close(self) -> int:
        code = self.process.wait(60)
        os.close(self._ours)
        return code


def test_on_a_real_terminal(tmp_path: Path) -> None:
    journal = str(tmp_path / "answers.jsonl")
    terminal = Terminal(journal)
    terminal.expect("q to stop: ")
    terminal.type("4\n")
    terminal.expect("q to stop: ")
    assert r"\x1b[2J" in terminal.screen
    assert "\x1b[2J" not in terminal.screen
    terminal.type("q\n")
    terminal.expect(journal)
    assert "error: you stopped rating after 1 answers" in terminal.screen
    assert "Traceback" not in terminal.screen
    assert terminal.close() == 1

    terminal = Terminal(journal)
    terminal.expect("helpfulness 1/2")
    terminal.expect("q to stop: ")
    terminal.type("s\n")
    terminal.expect("q to stop: ")
    terminal.type("5\n")
    terminal.expect("VALUES [0.75, None, 1.0]")
    assert terminal.close() == 0


def test_a_person_who_is_killed_off_loses_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    terminal = Terminal(str(journal))
    terminal.expect("q to stop: ")
    terminal.type("2\n")
    terminal.expect("q to stop: ")
    terminal.process.send_signal(signal.SIGKILL)
    assert terminal.close() == -signal.SIGKILL
    assert len(journal.read_text().splitlines()) == 1
