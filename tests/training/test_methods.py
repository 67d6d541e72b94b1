"""SFT and DPO: they learn, from where they say, the same each time, and say when they do not."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custodes.conversation import Demonstration, PreferencePair
from custodes.errors import CustodesError
from custodes.models.torch import TorchModel
from custodes.training.dpo import DpoOptions, dpo
from custodes.training.sft import SftOptions, sft

# The methods' own controls are tested here; that preflight is on is tested at the end.
SFT = SftOptions(batch=4, learning_rate=1e-2, preflight=False)
DPO = DpoOptions(batch=4, learning_rate=1e-2, preflight=False)
CHECKED_DPO = replace(DPO, preflight=True)
HOW = {"max_answer": 40, "seed": 0}
# Bugs are planted to see the controls of the training itself, which the preflight would forestall.
BLIND_SFT, BLIND_DPO = replace(SFT, preflight=False), replace(DPO, preflight=False)


def likelihood(folder: Path, adapter: Path, rows: Sequence[Demonstration]) -> float:
    model = TorchModel(folder, adapter=adapter)
    scored = model.logprobs([row.prompt for row in rows], [row.response for row in rows])
    return sum(row.total for row in scored)


def untested(result: Any) -> set[str]:
    names = {control.name for control in result.controls if control.passed is None}
    return names - {"sft preflight", "dpo preflight"}


def alarms(result: Any) -> list[str]:
    """Return the ids of the preflight checks that failed."""
    (control,) = (c for c in result.controls if c.name.endswith("preflight"))
    return list(control.figures["failed"])


def failed(result: Any) -> set[str]:
    return {control.name for control in result.controls if control.passed is False}


def test_sft_makes_the_demonstrations_likelier(
    lora: Any, rows: list[Demonstration], tiny_model_dir: Path, tmp_path: Path
) -> None:
    model = lora()
    model.save(tmp_path / "before")
    result = sft(model, rows, SFT, **HOW)
    model.save(tmp_path / "after")
    before, after = (likelihood(tiny_model_dir, tmp_path / n, rows) for n in ("before", "after"))
    assert after > before + 50
    assert failed(result) == set()
    assert result.moved.total > 0
    assert len(result.series["loss"]) == math.ceil(len(rows) / 4)
    json.dumps(result.metrics(), allow_nan=False)


def test_sft_trains_on_answers_alone(lora: Any, rows: list[Demonstration]) -> None:
    """The first loss is the mean over the answers' tokens, end of turn included, and no others."""
    model = lora(dtype="float32")
    scores = []
    for row in rows:
        prompt, answer = (
            model.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (
                model.tokenizer.apply_chat_template(
                    list(row.prompt), add_generation_prompt=True, tokenize=False
                ),
                row.response + "<|im_end|>",
            )
        )
        logits = model.model(input_ids=torch.tensor([prompt + answer])).logits[0]
        told = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        scores.append(told.gather(1, torch.tensor(answer)[:, None]))
    result = sft(model, rows, replace(SFT, batch=len(rows)), **HOW)
    assert result.series["loss"][0] == pytest.approx(-torch.cat(scores).mean().item(), rel=1e-4)


def test_dpo_starts_at_its_reference_and_moves_towards_the_chosen(
    lora: Any, pairs: list[PreferencePair]
) -> None:
    result = dpo(lora(), pairs, replace(DPO, epochs=2), **HOW)
    assert result.series["loss"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert result.series["margin"][0] == 0.0
    assert result.series["margin"][-1] > 1
    assert result.series["accuracy"][-1] == 1.0
    assert failed(result) == set()


def test_the_reference_is_the_parent_and_not_the_base(
    lora: Any, pairs: list[PreferencePair], rows: list[Demonstration], tmp_path: Path
) -> None:
    model = lora()
    sft(model, rows, SFT, **HOW)
    model.save(tmp_path / "parent")
    alone = dpo(lora(tmp_path / "parent"), pairs, DPO, **HOW)
    chained = dpo(model, pairs, DPO, **HOW)
    for result in (alone, chained):
        assert result.series["loss"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert alone.metrics() == chained.metrics()


def test_dpo_equals_trls_own(lora: Any, pairs: list[PreferencePair]) -> None:
    """With our forward pass and our reference, or with trl's, training ends at the same weights."""
    from custodes.training import trainer

    ends = []
    for own in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not own:
                patch.setattr(trainer, "supports", lambda _: False)
            model = lora(dtype="float32")
            result = dpo(model, pairs, DPO, **HOW)
        ends.append((model.factors(), result))
    names = [untested(result) for _, result in ends]
    assert names == [set(), {"dpo shares prompts rightly"}]
    for name, (a, b) in ends[0][0].items():
        other = ends[1][0][name]
        torch.testing.assert_close(b @ a, other[1] @ other[0], rtol=0.02, atol=2e-4)
    for key in ("loss", "margin", "accuracy"):
        assert ends[0][1].series[key] == pytest.approx(ends[1][1].series[key], rel=1e-3, abs=1e-4)


def test_dpo_on_swapped_pairs_goes_the_other_way(
    lora: Any,
    pairs: list[PreferencePair],
    rows: list[Demonstration],
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    swapped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    ends = []
    for name, taught in (("right", pairs), ("swapped", swapped)):
        model = lora()
        dpo(model, taught, DPO, **HOW)
        model.save(tmp_path / name)
        worse = [Demonstration(pair.id, pair.prompt, pair.rejected) for pair in pairs]
        ends.append(
            likelihood(tiny_model_dir, tmp_path / name, rows)
            - likelihood(tiny_model_dir, tmp_path / name, worse)
        )
    assert ends[0] > ends[1] + 5


def test_a_wrong_reference_fails_its_control(
    lora: Any, pairs: list[PreferencePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    from custodes.training import dpo as module

    right = module._reference
    monkeypatch.setattr(
        module,
        "_reference",
        lambda *args: tuple(
            [value + shift for value in values]
            for values, shift in zip(right(*args), (1, 0), strict=True)
        ),
    )
    assert failed(dpo(lora(), pairs, BLIND_DPO, **HOW)) == {"dpo starts at its reference"}
    assert "reference-is-start" in alarms(dpo(lora(), pairs, CHECKED_DPO, **HOW))


def test_a_training_that_does_not_move_fails_its_controls(
    lora: Any, pairs: list[PreferencePair], rows: list[Demonstration]
) -> None:
    model = lora()
    for _, a, b, _ in model.matrices():  # B A = 0, with no gradient in either
        a.data.zero_()
        b.data.zero_()
    assert "weights-move" in alarms(dpo(model, pairs, CHECKED_DPO, **HOW))
    result = dpo(model, pairs, BLIND_DPO, **HOW)
    assert result.moved.total == 0.0
    assert failed(result) == {"dpo prefers the chosen", "dpo has a gradient"}
    assert failed(sft(model, rows, BLIND_SFT, **HOW)) == {"sft has a gradient"}


def test_a_single_step_tests_no_margin(lora: Any, pairs: list[PreferencePair]) -> None:
    result = dpo(lora(), pairs[:4], DPO, **HOW)
    assert len(result.series["margin"]) == 1
    assert untested(result) == {"dpo prefers the chosen"}


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_loss_that_is_no_number_stops_it(
    lora: Any, pairs: list[PreferencePair], rows: list[Demonstration], method: str
) -> None:
    model = lora()
    model.matrices()[0][2].data[0, 0] = float("nan")
    blind = partial(sft, model, rows, BLIND_SFT)
    train = blind if method == "sft" else partial(dpo, model, pairs, BLIND_DPO)
    with pytest.raises(CustodesError, match=r"is nan at step 1: lower its learning_rate"):
        train(**HOW)


def test_the_model_is_whole_after_training_and_nothing_is_said(
    lora: Any,
    pairs: list[PreferencePair],
    rows: list[Demonstration],
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = lora()
    capfd.readouterr()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    told: list[tuple[str, int, int]] = []
    sft(model, rows, SFT, **HOW, progress=lambda *now: told.append(now))
    dpo(model, pairs, DPO, **HOW, progress=lambda *now: told.append(now))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    drawn = float(torch.rand(1)), float(np.random.rand()), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    assert drawn == (float(torch.rand(1)), float(np.random.rand()), random.random())
    assert list(model.model.peft_config) == ["default"]
    base = model.model.get_base_model()
    assert "forward" not in base.__dict__
    assert told[:4] == [("supervised fine-tuning", n, 3) for n in range(4)]
    assert told[-4:] == [("preference optimisation", n, 3) for n in range(4)]


def test_the_same_input_gives_the_same_bytes_in_another_process(
    lora: Any,
    pairs: list[PreferencePair],
    rows: list[Demonstration],
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    """Bytes of the adapter, and metrics; whatever the global seeds were."""
    torch.manual_seed(123)
    model = lora()
    first = [sft(model, rows, SFT, **HOW).metrics(), dpo(model, pairs, DPO, **HOW).metrics()]
    model.save(tmp_path / "here")
    script = tmp_path / "there.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, sys
            from pathlib import Path
            from custodes.conversation import Demonstration, PreferencePair
            from custodes.models.torch import TorchModel
            from custodes.training.dpo import DpoOptions, dpo
            from custodes.training.lora import LoraModel, LoraOptions
            from custodes.training.sft import SftOptions, sft

            base, out, data = (Path(arg) for arg in sys.argv[1:])
            given = json.loads(data.read_text())
            pairs = [PreferencePair(**pair) for pair in given["pairs"]]
            rows = [Demonstration(**row) for row in given["rows"]]
            model = LoraModel(TorchModel(base, name="tiny"), None, LoraOptions(4, 8.0), 0)
            how = {"max_answer": 40, "seed": 0}
            found = [
                sft(model, rows, SftOptions(batch=4, learning_rate=1e-2), **how).metrics(),
                dpo(model, pairs, DpoOptions(batch=4, learning_rate=1e-2), **how).metrics(),
            ]
            model.save(out)
            print(json.dumps(found))
            """
        )
    )
    given = {"pairs": [asdict(p) for p in pairs], "rows": [asdict(row) for row in rows]}
    (tmp_path / "data").write_text(json.dumps(given))
    arguments = [script, tiny_model_dir, tmp_path / "there", tmp_path / "data"]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == first
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        here, there = (tmp_path / name / file for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_one_real_step_is_checked_before_the_training(
    method: str, lora: Any, rows: list[Demonstration], pairs: list[PreferencePair]
) -> None:
    def train(preflight: bool, **change: Any) -> Any:
        if method == "sft":
            return sft(lora(), rows, replace(SFT, preflight=preflight, **change), **HOW)
        return dpo(lora(), pairs, replace(DPO, preflight=preflight, **change), **HOW)

    off, on = train(False), train(True)
    name = f"{method} preflight"
    controls = {c.name: c for c in on.controls}
    assert controls[name].passed, controls[name].explanation
    assert {c.name: c.passed for c in off.controls}[name] is None
    # It puts everything back: the training is the same with it and without.
    assert on.metrics() == off.metrics()
    wrong = {c.name: c for c in train(True, learning_rate=1e-12).controls}[name]
    assert wrong.passed is False
    assert wrong.figures["failed"]
