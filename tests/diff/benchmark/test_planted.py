"""The benchmark itself: exact rates, fair scores, and readable refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import Chat
from custodes.diff.benchmark.edits import DEVELOPMENT
from custodes.diff.benchmark.planted import Claim, Pool, mix, plant, score
from custodes.diff.benchmark.run import Plan, run, table
from custodes.diff.benchmark.samples import make_samples, open_samples, shipped_prompts
from custodes.diff.benchmark.strange_edits import EDITS
from custodes.diff.responses import Responses
from custodes.errors import ConfigError
from custodes.models.base import Sampling, Usage
from support.texts import made_up

N = 100


class Parrot:
    """A model that says its settings."""

    name = engine = version = "parrot"

    def __init__(self) -> None:
        self.usage = Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        return [[f"{sampling.seed} {sampling.temperature} {len(chat)}"] for chat in chats]


@pytest.fixture(scope="module")
def pool() -> Pool:
    terse = made_up(80, 3, "terse")
    return Pool.of([made_up(N, 1, "A"), made_up(N, 2, "B")], {"system-terse": terse, "hot": terse})


def _changed(a: Responses, b: Responses) -> set[str]:
    return {i for i, x, y in zip(a.ids, a.texts, b.texts, strict=True) if x != y}


def test_edits_are_planted_on_an_exact_share_of_prompts_of_their_own(pool: Pool) -> None:
    names = ["flatters", "writes capitals", "adds an emoji"]
    edits = {name: DEVELOPMENT[name] for name in names}
    case = plant(pool, edits, N, 0.2, conditional=False, rng=np.random.default_rng(0))
    assert [len(case.planted[name]) for name in names] == [20, 20, 20]
    assert len(case.differs) == 60
    b = dict(zip(case.b.ids, case.b.texts, strict=True))
    assert all(b[i][0].isupper() for i in case.planted["writes capitals"])


def test_nothing_planted_leaves_two_independent_samples(pool: Pool) -> None:
    case = plant(pool, {}, N, 0, conditional=False, rng=np.random.default_rng(0))
    both = dict(zip(pool.ids, zip(*pool.samples, strict=True), strict=True))
    pairs = zip(case.a.ids, case.a.texts, case.b.texts, strict=True)
    assert all({a[0], b[0]} == set(both[i]) for i, a, b in pairs)
    assert not case.differs


def test_a_conditional_edit_stays_in_a_fifth_of_the_prompts(pool: Pool) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        edits = {"writes capitals": DEVELOPMENT["writes capitals"]}
        case = plant(pool, edits, N, 0.5, conditional=True, rng=rng)
        assert 3 <= len(case.differs) <= 20


def test_a_mixture_has_an_exact_share_of_the_other_setting(pool: Pool) -> None:
    case = mix(pool, "system-terse", 80, 0.1, np.random.default_rng(0))
    assert len(case.planted["system-terse"]) == 8
    b = dict(zip(case.b.ids, case.b.texts, strict=True))
    for i in case.planted["system-terse"]:
        assert b[i][0] == pool.others["system-terse"][i]


def test_a_distractor_changes_all_of_b(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    case = plant(pool, {}, 80, 0, conditional=False, rng=rng, distractor="temperature")
    assert case.differs == frozenset(case.a.ids)
    assert [t[0] for t in case.b.texts] == [pool.others["hot"][i] for i in case.b.ids]


def test_scores_tell_matched_unmatched_and_false_claims_apart(pool: Pool) -> None:
    edits = {"flatters": DEVELOPMENT["flatters"]}
    case = plant(pool, edits, N, 0.2, conditional=False, rng=np.random.default_rng(0))
    planted = case.planted["flatters"]
    others = frozenset(case.a.ids) - planted
    good = Claim("good", planted, planted, dict.fromkeys(planted, 1.0))
    loose = Claim("loose", planted | set(sorted(others)[:30]), planted, good.moved)
    wrong = Claim("wrong", others, others, dict.fromkeys(sorted(others)[:9], 1.0))
    assert score(case, [wrong]).recovered == {"flatters": False}
    assert score(case, [loose]).recovered == {"flatters": False}
    assert score(case, [loose]).by_either == {"flatters": True}
    result = score(case, [good, loose, wrong])
    assert result.recovered == {"flatters": True}
    assert (result.claims, result.unmatched, result.false) == (3, 2, 1)


@pytest.mark.parametrize("part", ["development", "held-out"])
def test_edits_change_real_text_and_depend_on_the_seed_alone(part: str) -> None:
    text = (
        "Well, I think it is good, and you can use the others. They are not bad, so try them! "
        "It's what many people do, but \"don't\" worry about the colour of some important things. "
    ) * 3
    for name, edit in EDITS[part].items():
        once, again = (edit(text, "Why is it so?", np.random.default_rng(1)) for _ in range(2))
        assert once == again, name
        assert once != text, name


def test_no_edit_is_in_both_parts() -> None:
    assert not EDITS["development"].keys() & EDITS["held-out"].keys()


def test_samples_are_made_once_and_read_back(tmp_path: Path) -> None:
    said: list[str] = []
    prompts = [("a", "What?"), ("b", "Why?")]
    make_samples(Parrot(), tmp_path, prompts=prompts, progress=said.append)
    plain, others = open_samples([tmp_path])
    assert plain[0].texts[0] != plain[1].texts[0]
    assert set(others) == {"hot", "system-terse", "system-enthusiastic", "system-cautious"}
    assert others["hot"].texts[0][0].split()[1:] == ["1.1", "1"]
    assert others["system-terse"].texts[0][0].split()[1:] == ["0.8", "2"]
    made = len(said)
    make_samples(Parrot(), tmp_path, prompts=prompts, progress=said.append)
    assert len(said) == made


def test_shipped_prompts_have_ids_of_their_own() -> None:
    prompts = shipped_prompts()
    assert len({i for i, _ in prompts}) == len(prompts) >= 500


def _write(responses: Responses, path: Path) -> Path:
    import json

    rows = zip(responses.ids, responses.prompts, responses.texts, strict=True)
    lines = [json.dumps({"prompt_id": i, "prompt": p, "response": t[0]}) for i, p, t in rows]
    path.write_text("\n".join(lines))
    return path


def test_a_small_benchmark_runs_from_files_to_table(tmp_path: Path) -> None:
    files = [_write(made_up(N, s, str(s)), tmp_path / f"{s}.jsonl") for s in (1, 2)]
    plan = Plan(runs=1, nulls=1, n=N, rates=(0.3,), edits="development")
    rows = run(files, plan)
    assert {r["sort"] for r in rows} == {"null", "global", "five", "conditional", "length"}
    assert len({r["method"] for r in rows}) == 5
    assert rows == [
        {**r, "seconds": s["seconds"]} for r, s in zip(run(files, plan), rows, strict=True)
    ]
    assert "| recall, five 30% (1) |" in table(rows)


def test_what_the_samples_cannot_give_is_refused(tmp_path: Path) -> None:
    files = [_write(made_up(N, s, str(s)), tmp_path / f"{s}.jsonl") for s in (1, 2)]
    with pytest.raises(ConfigError, match="share 100 prompts"):
        run(files, Plan(n=500))
    with pytest.raises(ConfigError, match="needs 100 responses of hot"):
        run(files, Plan(n=N, sorts=("temperature",)))
    with pytest.raises(ConfigError, match="knows no conditonal"):
        run(files, Plan(n=N, sorts=("conditonal",)))
    with pytest.raises(ConfigError, match="1 plain samples"):
        run(files[:1], Plan(n=N))
