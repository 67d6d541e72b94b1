"""custodes diff from end to end: files, models, interruptions, other people's folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from custodes.cli import main
from custodes.conversation import Chat
from custodes.diff import model_pair, run
from custodes.diff.config import DiffConfig
from custodes.diff.responses import Responses
from custodes.diff.run import run_diff
from custodes.errors import ConfigError, ModelError, RunError
from custodes.models.base import Sampling
from custodes.report.diff import write_diff_report
from custodes.report.diff_terminal import diff_lines
from support.scripted import ScriptedModel
from support.texts import edited, made_up

Fails = Callable[..., str]


def write(path: Path, responses: Responses) -> str:
    rows = [
        {"prompt_id": i, "prompt": p, "response": text}
        for i, p, texts in zip(responses.ids, responses.prompts, responses.texts, strict=True)
        for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    def failing(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["diff", *arguments])
        assert caught.value.code == 2
        said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("custodes:")]
        assert len(said) == 1
        return said[0]

    return failing


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScriptedModel]:
    """Models by name, in place of those of the models room."""
    known: dict[str, ScriptedModel] = {}

    def pair(a: str, b: str, *, engine: str) -> tuple[ScriptedModel, ScriptedModel]:
        return known[a], known[b]

    monkeypatch.setattr(model_pair, "load_pair", pair)
    monkeypatch.setattr(run, "version_of", lambda name: known[name].version)
    for module in (model_pair, run):
        monkeypatch.setattr(module, "load", lambda name, engine="auto": known[name])
    monkeypatch.setattr("custodes.diff.plan.parse", lambda name: known[name])
    monkeypatch.setattr("custodes.diff.sampling.BATCH", 16)
    return known


def prompts(path: Path, count: int = 60) -> str:
    salad = made_up(count, 3, "x")
    rows = [{"id": i, "prompt": p} for i, p in zip(salad.ids, salad.prompts, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = made_up(120, 2, "b")
    a = write(tmp_path / "a.jsonl", made_up(120, 1, "a"))
    b = write(tmp_path / "b.jsonl", edited(base, set(base.ids[:40]), lambda t: t + " Ahoy!", "b"))
    main(["diff", a, b, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("One difference was found: B ")
    assert "240 answers to 120 prompts" in said[0]
    assert "ahoy" in said[0].lower()
    assert any(line.startswith("control passed: A/A run") for line in said)
    content = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert content["a"]["settings"] == {"model": None}
    assert set(content["findings"][0]["evidence_b"]) >= set(base.ids[:40])
    assert (tmp_path / "out" / "report.html").exists()


def test_two_models_are_asked_the_same_and_saved(
    tmp_path: Path, models: dict[str, ScriptedModel]
) -> None:
    models["one"] = ScriptedModel(lambda asked: f"I know about {asked[-9:]}.")
    models["two"] = ScriptedModel(lambda asked: f"I know about {asked[-9:]}. Arrr!")
    config = DiffConfig(
        a="one", b="two", prompts=prompts(tmp_path / "p.jsonl"), system_b="Be a pirate.", samples=2
    )
    done = run_diff(config, tmp_path / "out")
    assert done.diff.aligned.n == 60
    assert [abs(f.size.effect) for f in done.diff.findings] == [1.0]
    assert [c[-1] for c in models["one"].asked] == [c[-1] for c in models["two"].asked]
    assert models["one"].asked[0][0]["role"] == "user"
    assert models["two"].asked[0][0] == {"role": "system", "content": "Be a pirate."}
    rows = (tmp_path / "out" / "responses_b.jsonl").read_text().splitlines()
    assert len(rows) == 120
    settings = json.loads((tmp_path / "out" / "diff.json").read_text())["b"]["settings"]
    assert settings["system"] == "Be a pirate."
    assert settings["engine"] == "scripted"
    # What was saved is a response file like any other.
    again = DiffConfig(
        a=str(tmp_path / "out" / "responses_a.jsonl"), b=str(tmp_path / "out" / "responses_b.jsonl")
    )
    assert len(run_diff(again, tmp_path / "again").diff.findings) == 1


def test_a_model_is_asked_the_prompts_of_a_file(
    tmp_path: Path, models: dict[str, ScriptedModel]
) -> None:
    base = made_up(40, 1, "a")
    models["one"] = ScriptedModel(lambda asked: "Soil and seed.")
    config = DiffConfig(a=write(tmp_path / "a.jsonl", base), b="one")
    done = run_diff(config, tmp_path / "out")
    assert [chat[0]["content"] for chat in models["one"].asked] == list(base.prompts)
    assert done.diff.aligned.ids == base.ids
    assert done.diff.aligned.paired


class Interrupted(ScriptedModel):
    """Is interrupted in one of its batches."""

    def __init__(self, reply: Callable[[str], str], at: int) -> None:
        super().__init__(reply)
        self.left = at

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().generate(chats, sampling)


def test_an_interrupted_diff_goes_on_without_asking_again(
    tmp_path: Path, models: dict[str, ScriptedModel]
) -> None:
    def reply(asked: str) -> str:
        return f"Yes, {asked[::-1]}"

    models |= {"one": ScriptedModel(reply), "two": ScriptedModel(reply)}
    source = prompts(tmp_path / "p.jsonl")
    config = DiffConfig(a="one", b="two", prompts=source)
    run_diff(config, tmp_path / "whole")
    models |= {"one": ScriptedModel(reply), "two": Interrupted(reply, at=3)}
    with pytest.raises(KeyboardInterrupt):
        run_diff(config, tmp_path / "out")
    assert len((tmp_path / "out" / "responses_b.jsonl").read_text().splitlines()) == 32
    # What kill -9 may leave, too: a batch of which only a part was written, and half a line.
    with (tmp_path / "out" / "responses_b.jsonl").open("a") as file:
        file.write('{"prompt_id":"p-32","prompt":"?","response":"half a batch"}\n{"prompt_id":"p-')
    models |= {"one": ScriptedModel(reply), "two": ScriptedModel(reply)}
    run_diff(config, tmp_path / "out")
    assert not models["one"].asked
    assert len(models["two"].asked) == 28
    for name in ("responses_a.jsonl", "responses_b.jsonl", "diff.json", "map.json"):
        whole, resumed = ((tmp_path / d / name).read_bytes() for d in ("whole", "out"))
        assert whole == resumed


def test_a_finished_diff_loads_no_model(tmp_path: Path, models: dict[str, ScriptedModel]) -> None:
    models |= {"one": ScriptedModel(str.upper), "two": ScriptedModel(str.lower)}
    config = DiffConfig(a="one", b="two", prompts=prompts(tmp_path / "p.jsonl", 20))
    first = run_diff(config, tmp_path / "out")
    known = dict(models)
    models["one"] = models["two"] = None  # type: ignore[assignment]
    assert run_diff(config, tmp_path / "out").diff.findings == first.diff.findings
    assert known["one"].asked


def test_a_model_that_changed_meanwhile_is_refused(
    tmp_path: Path, models: dict[str, ScriptedModel]
) -> None:
    models |= {"one": ScriptedModel(str.upper), "two": Interrupted(str.lower, at=2)}
    config = DiffConfig(a="one", b="two", prompts=prompts(tmp_path / "p.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        run_diff(config, tmp_path / "out")
    models["two"] = ScriptedModel(str.lower, version="2")
    with pytest.raises(RunError, match=r"B was scripted 1 when .* and is scripted 2 now"):
        run_diff(config, tmp_path / "out")


def test_a_folder_of_another_diff_is_refused(tmp_path: Path, fails: Fails) -> None:
    a, b = (write(tmp_path / f"{x}.jsonl", made_up(20, i, x)) for i, x in enumerate("ab"))
    out = str(tmp_path / "out")
    main(["diff", a, b, "--out", out])
    assert "holds a run with another config (fdr)" in fails(a, b, "--fdr", "0.2", "--out", out)
    write(tmp_path / "b.jsonl", made_up(20, 5, "b"))
    assert "holds a run with another config (digest)" in fails(a, b, "--out", out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("code: x\nconfig: {steps: 4}\n")
    # A folder without a single event was never begun, and is free.
    (tmp_path / "other" / "events.jsonl").write_text((Path(out) / "events.jsonl").read_text())
    assert "another config" in fails(a, b, "--out", str(tmp_path / "other"))


def test_labels_are_kept_and_told(tmp_path: Path, models: dict[str, ScriptedModel]) -> None:
    def label(asked: str) -> str:
        if "Two writers" in asked:
            return "- The answer shouts at me\n- The answer is in French"
        answer = asked.split("Answer: ")[1].split("\n\nIs the", maxsplit=1)[0]
        return "yes" if "shouts" in asked and answer.isupper() else "no"

    models |= {"one": ScriptedModel(str.lower), "two": ScriptedModel(lambda t: f"{t} ahoy".upper())}
    models["who"] = Interrupted(label, at=3)
    config = DiffConfig(
        a="one", b="two", prompts=prompts(tmp_path / "p.jsonl"), labeler="who", judged=20
    )
    with pytest.raises(KeyboardInterrupt):
        run_diff(config, tmp_path / "out")
    models["who"] = ScriptedModel(label)
    done = run_diff(config, tmp_path / "out")
    asked = [chat[-1]["content"] for chat in models["who"].asked]
    assert not any("Two writers" in text for text in asked)
    assert len(asked) == 2 * 20 * 4 - 8
    assert done.labeling is not None
    assert [one.passed for one in done.labeling.hypotheses] == [True, False]
    content = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert content["fdr"] == 0.1
    assert content["labeler"]["model"] == "who"
    assert [h["passed"] for h in content["labeler"]["hypotheses"]] == [True, False]
    assert content["labeler"]["baseline"] == 1
    assert "llm" in [f["kind"] for f in content["findings"]]
    page = write_diff_report(tmp_path / "out").read_text()
    assert "1 of 2 were confirmed" in page
    assert "order swap: judge of the labeler" in page
    assert "The answer is in French" in page
    output = "\n".join(line.text for line in diff_lines(done.diff, done.labeling))
    assert "labeler: 2 proposals, 1 confirmed" in output
    assert "baseline: a bag of words tells B from A, +100 points more pairs right" in output


def test_where_weights_part(tmp_path: Path, tiny_model_dir: Path, tiny_adapter_dir: Path) -> None:
    config = DiffConfig(
        a=str(tiny_model_dir), b=str(tiny_adapter_dir), prompts=prompts(tmp_path / "p.jsonl", 20),
        engine="torch", max_tokens=8, contrast=True,
    )  # fmt: skip
    done = run_diff(config, tmp_path / "out")
    contrast = json.loads((tmp_path / "out" / "contrast.json").read_text())
    assert done.contrast == contrast
    assert len(contrast["b_not_a"]) == len(contrast["a_not_b"]) == 12
    one = contrast["b_not_a"][0]
    assert len(one["tokens"]) == len(one["gaps"])
    gaps = [abs(row["gap"]) for row in contrast["tokens"]]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0
    page = write_diff_report(tmp_path / "out").read_text()
    assert "Where the models diverge" in page
    assert len(page.encode()) < 2_000_000
    best = [row["divergence"] for row in contrast["prompts"]["divergent"]]
    assert best == sorted(best, reverse=True)
    assert contrast["prompts"]["ordinary"] > 0


def test_two_system_prompts_part_by_their_chats(tmp_path: Path, tiny_model_dir: Path) -> None:
    config = DiffConfig(
        a=str(tiny_model_dir), b=str(tiny_model_dir), prompts=prompts(tmp_path / "p.jsonl", 12),
        engine="torch", max_tokens=4, contrast=True, system_b="You sing to the sea.",
    )  # fmt: skip
    contrast = run_diff(config, tmp_path / "out").contrast
    assert contrast is not None
    assert abs(contrast["tokens"][0]["gap"]) > 0
    same = run_diff(config.model_copy(update={"system_b": None}), tmp_path / "same").contrast
    assert same is not None
    assert abs(same["tokens"][0]["gap"]) < 1e-3
    assert same["prompts"]["ordinary"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"judge": "simulated"}, "a judge without a labeler"),
        ({"contrast": True, "a": "a.jsonl"}, "--contrast needs two models"),
        ({"prompts": "everyday", "a": "a.jsonl"}, "leave it out"),
        ({"a": "a.jsonl", "system_a": "x"}, "--system-a is for a model"),
        ({"a": "a.jsonl", "b": "a.jsonl", "limit": 3}, "--limit with two response files"),
    ],
)
def test_options_that_contradict(tmp_path: Path, options: dict[str, object], says: str) -> None:
    a = write(tmp_path / "a.jsonl", made_up(12, 1, "a"))
    given = {k: a if v == "a.jsonl" else v for k, v in options.items()}
    config = DiffConfig.model_validate({"a": "simulated", "b": "simulated", **given})
    with pytest.raises(ConfigError, match=says):
        run_diff(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_there(tmp_path: Path, fails: Fails) -> None:
    write(tmp_path / "mine.jsonl", made_up(12, 1, "a"))
    out = str(tmp_path / "out")
    assert "did you mean mine.jsonl" in fails(
        str(tmp_path / "mime.jsonl"), "simulated", "--out", out
    )
    assert "did you mean simulated" in fails("simulatd", "simulated", "--out", out)
    assert "did you mean everyday" in fails(
        "simulated", "simulated", "--prompts", "everday", "--out", out
    )
    assert "samples: input should be greater" in fails(
        "simulated", "simulated", "--samples", "0", "--out", out
    )


def test_an_engine_that_fails_keeps_what_was_answered(
    tmp_path: Path, models: dict[str, ScriptedModel]
) -> None:
    class Failing(ScriptedModel):
        def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
            if self.asked:
                raise ModelError("the engine fell over")
            return super().generate(chats, sampling)

    models |= {"one": Failing(str.upper), "two": ScriptedModel(str.lower)}
    config = DiffConfig(a="one", b="two", prompts=prompts(tmp_path / "p.jsonl"))
    with pytest.raises(ModelError, match="fell over"):
        run_diff(config, tmp_path / "out")
    assert len((tmp_path / "out" / "responses_a.jsonl").read_text().splitlines()) == 16


def test_contrastive_text_is_shown_as_text(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{x}.jsonl", made_up(12, i, x)) for i, x in enumerate("ab"))
    run_diff(DiffConfig(a=a, b=b), tmp_path / "out")
    bad = "<script>\x1b[31m</script>"
    row = {"prompt_id": bad, "prompt": bad, "text": bad + "!", "tokens": [bad, "!"], "gaps": [4, 0]}
    token = {"prompt_id": bad, "answer_of": "a", "before": bad, "token": "\n", "gap": -2.5}
    divergent = {
        "prompt": bad, "divergence": 1.0, "first_estimate": 2.0, "answer_a": bad, "answer_b": "",
        "round": 1,
    }  # fmt: skip
    content = {
        "schema": 2, "strength": 1.0, "cut": 0.1, "b_not_a": [row], "tokens": [token],
        "a_not_b": [row | {"tokens": ["\ufffd"], "gaps": [4.0]}],
        "prompts": {"ordinary": 0.1, "divergent": [divergent]},
    }  # fmt: skip
    (tmp_path / "out" / "contrast.json").write_text(json.dumps(content))
    page = write_diff_report(tmp_path / "out").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert '<mark class="far">&lt;script&gt;\\x1b[31m&lt;/script&gt;</mark>!' in page
    assert "⏎" in page
