"""Untrusted text becomes HTML that shows all of it and does nothing."""

from __future__ import annotations

import html
import re

from custodes.report.passages import KEPT, SHOWN, compared, passage


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"</?(del|ins)>", "", markup))


def test_markup_is_text() -> None:
    said = passage("<script>alert(1)</script> & {{ 7*7 }}")
    assert said.head == "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7*7 }}"
    assert (said.tail, said.folded, said.dropped) == ("", 0, 0)


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert passage("\x1b[31m\u202e\ud800\r").head == r"\x1b[31m\u202e\ud800\x0d"


def test_a_long_text_is_folded_and_then_cut_with_nothing_lost_before() -> None:
    text = "".join(str(i % 10) for i in range(KEPT + 50))
    said = passage(text)
    assert said.head + said.tail == text[:KEPT]
    assert len(said.head) == SHOWN
    assert (said.folded, said.dropped) == (KEPT - SHOWN, 50)


def test_a_blank_text_is_blank() -> None:
    assert passage(" \n\t").head == ""
    assert passage("").head == ""


def test_differing_words_are_marked_on_both_sides() -> None:
    before, after = compared("the cat sat on a mat today", "the cat sat on a red rug today")
    assert before.head == "the cat sat on a <del>mat</del> today"
    assert after.head == "the cat sat on a <ins>red rug</ins> today"


def test_markup_within_a_mark_is_text() -> None:
    before, after = compared("say <b>&</b> now", "say <i>{{x}}</i> now")
    assert before.head == "say <del>&lt;b&gt;&amp;&lt;/b&gt;</del> now"
    assert after.head == "say <ins>&lt;i&gt;{{x}}&lt;/i&gt;</ins> now"


def test_marking_changes_no_character() -> None:
    texts = ["  lead <b> and\n\n tail  ", "lead & and\n\n x <i> tail", "", "a", "a b\n"]
    for old in texts:
        for new in texts:
            before, after = compared(old, new)
            assert plain(before.head) == (old if old.strip() else "")
            assert plain(after.head) == (new if new.strip() else "")


def test_a_mark_goes_on_behind_the_fold() -> None:
    same = "word " * (SHOWN // 5 - 1)
    before, after = compared(same + "x" * 100, same + "y" * 100)
    assert before.head.endswith("<del>xxxxx</del>")
    assert before.tail == f"<del>{'x' * 95}</del>"
    assert after.tail.count("<ins>") == 1


def test_texts_with_little_in_common_are_not_marked() -> None:
    before, after = compared("one two three four five", "six seven eight nine five")
    assert "<del>" in before.head
    before, after = compared("one two three four five", "six seven eight nine ten")
    assert "<" not in before.head + after.head


def test_hostile_repetition_comes_to_an_end() -> None:
    before, after = compared("a b " * 5000, "b a c " * 5000)
    assert plain(before.head + before.tail) == ("a b " * 5000)[:KEPT]
    assert plain(after.head + after.tail) == ("b a c " * 5000)[:KEPT]
