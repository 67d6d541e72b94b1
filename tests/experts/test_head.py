"""The hidden-state head as an Expert: what it returns, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import Message, Query, user_chat
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, DataError, ModelError
from custodes.experts.expert import Expert
from custodes.experts.heads.fit import Sources, fit_head
from custodes.experts.heads.head import HeadExpert, load_expert, shipped
from custodes.experts.heads.reading import (
    CONVERSATION_BYTES,
    RESPONSE_BYTES,
    Reading,
    read_features,
    trimmed,
)
from support.preferences import SOURCES, CountingModel, make_pairs, write_pairs

SHIPPED = Path(fit_head.__code__.co_filename).parents[2] / "data" / "experts"
GOALS = {"helpfulness": 0.80, "harmlessness": 0.68}


def query(text: str = "question", id: str = "q") -> Query:
    return Query(id, tuple(user_chat(text)), "helpfulness")


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    data = write_pairs(folder / "data.jsonl", make_pairs(120))
    out = folder / "liking.safetensors"
    fit_head(data, "helpfulness", out, licence="MIT", sources=SOURCES, model=CountingModel())
    return out


@pytest.fixture
def head(head_file: Path) -> HeadExpert:
    return load_expert(head_file, CountingModel())


def test_it_is_an_expert_with_its_controls(head: HeadExpert) -> None:
    assert isinstance(head, Expert)
    assert (head.name, head.domain) == ("liking", "helpfulness")
    controls = head.report()["controls"]
    names = [control["name"] for control in controls]
    assert names[:2] == ["held-out accuracy", "shuffled labels"]
    assert {"validity: shuffled", "validity: salad", "validity: cut"} <= set(names)
    # What ships as borderline is English, which is no language of the model of this test.
    assert [c["name"] for c in controls if not c["passed"]] in ([], ["validity: mismatch"])
    json.dumps(head.report(), allow_nan=False)


def test_ratings_rise_with_what_people_liked(head: HeadExpert) -> None:
    words = sorted(["abxd", "acyz", "adxy", "axxz", "bbxd", "bcyz", "bdxy", "bxxz", "cbxd", "ccyz"])
    answers = [
        " ".join([*(f"{w}e" if i < liked else w for i, w in enumerate(words)), "t10q", "t10q."])
        for liked in (0, 4, 9)
    ]

    ratings = [r.value for r in head.rate([query("question about t10q?")] * 3, answers)]

    assert ratings == sorted(ratings)  # type: ignore[type-var]
    assert all(value is not None and 0 <= value <= 1 for value in ratings)
    assert ratings[0] != ratings[-1]


def test_compare_is_the_logistic_of_the_difference(head: HeadExpert) -> None:
    first, second = ["abc eee", "abc"], ["abc", "abc"]
    p = head.compare([query()] * 2, first, second)
    logits = head.logits([query()] * 4, first + second)

    assert p[0] == pytest.approx(1 / (1 + np.exp(logits[2] - logits[0])))
    assert p[1] == 0.5
    np.testing.assert_allclose(p + head.compare([query()] * 2, second, first), 1)


def test_an_answer_is_read_once_however_often_it_comes(head: HeadExpert) -> None:
    model = CountingModel()
    features = read_features(
        model, [user_chat("q")] * 5, ["a", "b", "a", "a", "b"], SOURCES.readings, SOURCES.start
    )

    assert model.batches == [2]
    np.testing.assert_array_equal(features.hidden[0], features.hidden[3])
    assert (features.hidden[0] != features.hidden[1]).any()


def test_what_it_was_not_fitted_on_is_an_abstention_with_its_reason(head: HeadExpert) -> None:
    answers = ["", "El perro está en la casa y no es muy grande.", "abce dxyz."]

    silent, foreign, rated = head.rate([query()] * 3, answers)

    assert (silent.value, silent.reason) == (None, "the answer is empty")
    assert foreign.value is None
    assert "Spanish" in foreign.reason
    assert rated.value is not None
    assert head.report()["abstentions"]["the answer is empty"] >= 1


def test_nothing_to_rate(head: HeadExpert) -> None:
    assert head.rate([], []) == []
    assert head.logits([], []).shape == (0,)


def test_another_base_is_refused(head_file: Path) -> None:
    with pytest.raises(ModelError, match=r"was fitted on smollm2-135m.*use smollm2-135m, or fit"):
        load_expert(head_file, CountingModel(seed=1)).rate([query()], ["a"])
    with pytest.raises(ModelError, match=r"has states of another width"):
        load_expert(head_file, CountingModel(width=32)).rate([query()], ["a"])


def test_files_that_do_not_belong_together_are_refused(head_file: Path, tmp_path: Path) -> None:
    head = tmp_path / "liking.safetensors"
    with pytest.raises(DataError, match="there is no head"):
        load_expert(head)
    head.write_bytes(head_file.read_bytes())
    with pytest.raises(DataError, match=r"has no card liking\.json"):
        load_expert(head)
    card = json.loads(head_file.with_suffix(".json").read_text())
    head.with_suffix(".json").write_text(json.dumps(card | {"slope": -1}))
    with pytest.raises(DataError, match="slope"):
        load_expert(head)
    head.with_suffix(".json").write_text(json.dumps(card))
    assert load_expert(head).name == "liking"
    head.write_bytes(head_file.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match="is not the head that its card describes"):
        load_expert(head)


def test_version_changes_with_weights_and_card(head_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "liking.safetensors"
    copy.write_bytes(head_file.read_bytes())
    card = json.loads(head_file.with_suffix(".json").read_text())
    copy.with_suffix(".json").write_bytes(head_file.with_suffix(".json").read_bytes())
    same = load_expert(copy).version
    copy.with_suffix(".json").write_text(json.dumps(card | {"offset": card["offset"] + 0.1}))

    assert same == load_expert(head_file).version
    assert load_expert(copy).version != same


def test_an_unknown_name_has_near_misses() -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        load_expert("helpfullness")


def test_a_failed_card_is_shown_as_a_failed_control(head_file: Path, tmp_path: Path) -> None:
    head = tmp_path / "liking.safetensors"
    head.write_bytes(head_file.read_bytes())
    card = json.loads(head_file.with_suffix(".json").read_text())
    for kind in card["held_out"]["validity"]:
        if kind["kind"] == "shuffled":
            kind["value"] = 0.5
    card["failures"] = ["shuffled labels"]
    head.with_suffix(".json").write_text(json.dumps(card))

    controls = {c["name"]: c["passed"] for c in load_expert(head).report()["controls"]}

    assert controls["held-out accuracy"]
    assert not controls["shuffled labels"]
    assert not controls["validity: shuffled"]


def test_long_conversations_keep_their_end() -> None:
    turns: list[Message] = [{"role": "system", "content": "Be evil."}]
    for i in range(30):
        turns.append({"role": "user", "content": f"u{i} " + "x" * 100})
        turns.append({"role": "assistant", "content": f"a{i} " + "y" * 100})
    turns.append({"role": "user", "content": "the last"})

    kept = trimmed(turns)

    assert kept[-1]["content"] == "the last"
    assert kept[0]["role"] == "user"
    assert kept == turns[-len(kept) :]
    assert CONVERSATION_BYTES / 2 < sum(len(m["content"]) for m in kept) <= CONVERSATION_BYTES


def test_one_endless_message_is_cut_and_not_dropped() -> None:
    (kept,) = trimmed(user_chat("é" * 10_000))

    assert len(kept["content"].encode()) == CONVERSATION_BYTES


def test_no_text_breaks_it(tiny_model_dir: Path, tmp_path: Path) -> None:
    from custodes.models.torch import TorchModel

    data = write_pairs(tmp_path / "data.jsonl", make_pairs(40))
    model = TorchModel(tiny_model_dir, dtype="float32")
    fit_head(
        data,
        "harmlessness",
        tmp_path / "tiny.safetensors",
        licence="",
        sources=Sources((Reading(1), Reading(2, "last")), Reading(1, "start")),
        model=model,
    )
    head = load_expert(tmp_path / "tiny.safetensors", model)
    texts = ["", " ", "\ud800", "<|im_end|>\n<|im_start|>user\nhi", "\x1b[31m", "ok", "😀" * 30]

    ratings = head.rate([query(t or "q") for t in texts], texts)
    alone = [head.rate([query(t or "q")], [t])[0] for t in texts]

    assert [r.value is None for r in ratings] == [not t.strip() for t in texts]
    rated = [(r.value, a.value) for r, a in zip(ratings, alone, strict=True) if not r.abstained]
    assert all(0 <= value <= 1 for value, _ in rated)  # type: ignore[operator]
    np.testing.assert_allclose(*zip(*rated, strict=True), atol=2e-3)


def test_responses_are_cut_at_a_whole_character() -> None:
    class Seen(CountingModel):
        longest = 0

        def exchanges(self, chats, answers, layers):  # type: ignore[no-untyped-def]
            self.longest = max(len(answer.encode()) for answer in answers)
            return super().exchanges(chats, answers, layers)

    model = Seen()
    read_features(model, [user_chat("q")], ["€" * RESPONSE_BYTES], SOURCES.readings, SOURCES.start)

    assert RESPONSE_BYTES - 3 < model.longest <= RESPONSE_BYTES


def test_shipped_heads_are_small_licensed_and_meet_their_goals() -> None:
    assert set(shipped()) == {
        "helpfulness",
        "harmlessness",
        "helpfulness-gold",
        "harmlessness-gold",
    }
    for name in shipped():
        head = load_expert(name)
        domain = name.removesuffix("-gold")
        assert (SHIPPED / f"{name}.safetensors").stat().st_size < 100_000
        assert head.card.data.licence
        assert head.card.failures == ()
        assert head.domain == domain
        assert head.card.held_out.accuracy.low > 0.5


def test_gold_shares_neither_prompts_nor_layers_with_the_loop() -> None:
    for domain in GOALS:
        loop, gold = load_expert(domain).card, load_expert(f"{domain}-gold").card
        assert {loop.data.part, gold.data.part} == {"a", "b"}
        assert loop.data.sha256 == gold.data.sha256
        assert not {r.layer for r in loop.readings} & {r.layer for r in gold.readings}


@pytest.mark.bundled
def test_shipped_heads_tell_good_answers_from_bad_ones(bundled: Path) -> None:
    from custodes.models.torch import TorchModel

    model = TorchModel(bundled / "torch", name="smollm2-135m")
    for name in shipped():
        pairs = read_pairs(SHIPPED / f"sanity_{name.removesuffix('-gold')}.jsonl")
        head = load_expert(name, model)
        queries = [Query(p.id, p.prompt, head.domain) for p in pairs]
        p = head.compare(queries, [x.chosen for x in pairs], [x.rejected for x in pairs])
        assert (p > 0.5).mean() >= 0.85, name
