from __future__ import annotations

import re

import numpy as np
import pytest

from custodes.diff.compare import compare
from custodes.diff.responses import Responses
from custodes.errors import ConfigError
from support.texts import edited, made_up


@pytest.fixture(scope="module")
def pair() -> tuple[Responses, Responses]:
    return made_up(240, 1, "A"), made_up(240, 2, "B")


def _some(base: Responses, count: int, seed: int = 0) -> set[str]:
    return set(np.random.default_rng(seed).choice(base.ids, count, replace=False))


def test_two_samples_of_one_model_differ_in_nothing(pair: tuple[Responses, Responses]) -> None:
    diff = compare(*pair)
    assert not diff.findings
    assert diff.aa_run.control.passed
    assert diff.global_test.p > 0.01
    assert diff.detectable[0].rise is not None


def test_an_inserted_sentence_is_one_finding_with_all_its_evidence(
    pair: tuple[Responses, Responses],
) -> None:
    a, b = pair
    planted = _some(b, 30)
    diff = compare(a, edited(b, planted, lambda t: f"{t} I hope this helps you.", "B"))
    assert len(diff.findings) == 1
    (finding,) = diff.findings
    assert set(finding.evidence_b) == planted
    assert not finding.evidence_a
    assert finding.size.effect == pytest.approx(30 / 240)
    assert finding.size.low < 30 / 240 < finding.size.high
    assert finding.q <= 0.1
    assert diff.aa_run.control.passed
    assert diff.global_test.p <= 0.001


def test_two_edits_are_two_findings(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    first, second = _some(b, 30), _some(b, 30, seed=5)
    b = edited(b, first, lambda t: f"Arr matey, {t}", "B")
    b = edited(b, second, lambda t: f"{t} 😊", "B")
    evidence = [set(f.evidence_b) for f in compare(a, b).findings]
    assert sorted(map(len, evidence)) == [30, 30]
    assert first in evidence
    assert second in evidence


def test_words_of_one_way_of_speaking_are_one_finding(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    rng, planted = np.random.default_rng(3), _some(b, 60)

    def slang(text: str) -> str:
        added = [w for w in ("zorp", "blim", "quax") if rng.random() < 0.5]
        first, _, rest = text.partition(" ")
        return " ".join([first, *added, rest])

    (finding,) = compare(a, edited(b, planted, slang, "B")).findings
    # The third word alone is too rare on the prompts without the other two.
    assert sum(word in finding.behaviour for word in ("zorp", "blim", "quax")) >= 2
    assert len(planted & set(finding.evidence_b)) >= 45
    assert set(finding.evidence_b) <= planted
    assert len(re.findall(finding.pattern, "so zorp, blim, quax!")) >= 2


def test_large_changes_that_co_occur_by_chance_are_separate_findings(
    pair: tuple[Responses, Responses],
) -> None:
    a, b = pair
    gone, come, more = _some(a, 140, seed=1), _some(b, 140, seed=2), _some(b, 120, seed=3)
    a = edited(a, gone, lambda t: f"{t} Mind the gap.", "A")
    b = edited(edited(b, come, lambda t: f"Arr matey, {t}", "B"), more, lambda t: f"{t} 😊", "B")
    findings = compare(a, b).findings
    shown = [(set(f.evidence_a), set(f.evidence_b)) for f in findings]
    assert (gone, set()) in shown
    assert (set(), come) in shown
    assert (set(), more) in shown
    for finding in findings:
        signs = [("gap", -1), ("matey", 1), ("emoji", 1)]
        assert sum(word in finding.behaviour for word, _ in signs) <= 1, finding.behaviour
        # A correlated behaviour moved in the same direction.
        for other in finding.correlated:
            assert all(np.sign(finding.size.effect) == way for word, way in signs if word in other)


def test_a_change_of_nearly_all_responses_hides_no_other_change(
    pair: tuple[Responses, Responses],
) -> None:
    a, b = pair
    planted = _some(b, 60, seed=4)
    b = edited(b, set(b.ids[:200]), lambda t: " ".join(t.split()[: len(t.split()) // 2]), "B")
    b = edited(b, planted, lambda t: f"{t} Mind the gap.", "B")
    findings = compare(a, b).findings
    assert planted in [set(f.evidence_b) for f in findings if not f.evidence_a]
    assert max(abs(f.size.effect) for f in findings) > 0.5


def test_a_change_on_one_topic_names_it(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    music = [i for i, p in zip(b.ids, b.prompts, strict=True) if "music" in p]
    diff = compare(a, edited(b, set(music[:40]), lambda t: f"{t} La la la.", "B"))
    assert diff.findings
    assert diff.findings[0].condition is not None
    assert "music" in diff.findings[0].condition


def test_what_gets_rarer_is_evidenced_by_a(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    a = edited(a, _some(a, 40), lambda t: f"{t} Mind the gap.", "A")
    (finding,) = compare(a, b).findings
    assert finding.size.effect < 0
    assert len(finding.evidence_a) == 40


def test_the_same_input_gives_the_same_diff(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    b = edited(b, _some(b, 30), str.upper, "B")
    one, two = compare(a, b, seed=3), compare(a, b, seed=3)
    assert one.findings == two.findings
    assert one.global_test == two.global_test


def test_swapping_the_sides_turns_every_effect_round(pair: tuple[Responses, Responses]) -> None:
    a, b = pair
    b = edited(b, _some(b, 30), str.upper, "B")
    (there,) = compare(a, b).findings
    (back,) = compare(b, a).findings
    assert back.size.effect == pytest.approx(-there.size.effect)
    assert set(back.evidence_a) == set(there.evidence_b)


def test_different_prompts_are_compared_by_relabelling() -> None:
    a, b = made_up(600, 1, "A"), made_up(600, 2, "B")
    half = set(b.ids[300:])
    a = Responses("A", a.ids[:300], a.prompts[:300], a.texts[:300])
    b = edited(b, set(list(half)[:60]), lambda t: f"{t} I hope this helps you.", "B")
    b = Responses("B", b.ids[300:], b.prompts[300:], b.texts[300:])
    diff = compare(a, b)
    assert not diff.aligned.paired
    assert len(diff.findings) == 1
    assert len(diff.findings[0].evidence_b) == 60
    assert diff.aa_run.control.passed


def test_several_responses_a_prompt_make_one_unit() -> None:
    a, b = made_up(120, 1, "A", samples=3), made_up(120, 2, "B", samples=3)
    planted = _some(b, 25)
    diff = compare(a, edited(b, planted, lambda t: f"{t} I hope this helps you.", "B"))
    assert {frozenset(f.evidence_b) for f in diff.findings} == {frozenset(planted)}
    assert diff.findings[0].size.rate_b == pytest.approx(25 / 120)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_few_prompts_say_what_they_can_show(n: int) -> None:
    a, b = made_up(n, 1, "A"), made_up(n, 2, "B")
    diff = compare(a, edited(b, set(b.ids), lambda _: "", "B"))
    assert not diff.findings
    assert diff.aa_run.control.passed is None
    assert 0 < diff.global_test.p <= 1
    assert any("can show nothing" in note for note in diff.notes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "\x1b[31mred\x00\x02\x03",
        "<script>alert(1)</script>",
        "[bold]x[/bold]",
        "很好。" * 9,
    ],
)
def test_odd_responses_are_compared_like_others(text: str) -> None:
    a, b = made_up(80, 1, "A"), made_up(80, 2, "B")
    planted = _some(b, 40)
    diff = compare(a, edited(b, planted, lambda _: text, "B"))
    assert diff.findings
    assert max(len(planted & set(f.evidence_b)) / 40 for f in diff.findings) > 0.9


def test_an_impossible_rate_is_refused(pair: tuple[Responses, Responses]) -> None:
    with pytest.raises(ConfigError, match="fdr is 0"):
        compare(*pair, fdr=0)
