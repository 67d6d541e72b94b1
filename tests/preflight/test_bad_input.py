"""Trainers that cannot be checked give a line a check, and never a traceback."""

import time

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import Trainer, TrainingArguments

from custodes.errors import ConfigError, DataError
from custodes.preflight import check
from custodes.preflight.plants.tiny import demonstrations, tiny_model
from custodes.preflight.plants.trainers import quiet


def arguments(folder, **more):
    return TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", **more)


def test_no_trainer_at_all():
    with pytest.raises(DataError, match="no trainer"):
        check(object())


def test_an_unknown_check_is_named_with_near_misses(built):
    with pytest.raises(ConfigError, match="did you mean weights-move"):
        check(built("sft"), only=["weight-move"])


def test_an_empty_dataset(built):
    trainer = built("sft")
    trainer.train_dataset = trainer.train_dataset.select([])
    report = check(trainer)
    assert report["dataset-rows"].passed is False
    assert report["step-helps"].passed is None
    assert "empty" in report["step-helps"].explanation


def test_no_dataset(tmp_path):
    with quiet():
        trainer = Trainer(tiny_model(tmp_path), arguments(tmp_path))
    report = check(trainer)
    assert report["dataset-rows"].passed is False
    assert all(r.passed is None for r in report.results if r.id in ("step-runs", "batch-collates"))


def test_a_stream(built):
    rows = list(demonstrations())
    report = check(built("sft", data=IterableDataset.from_generator(lambda: iter(rows))))
    assert report.ok, [(r.id, r.explanation) for r in report.failed]
    assert report["step-helps"].passed


def test_an_iterator_is_not_used_up(tmp_path):
    class Once(torch.utils.data.IterableDataset):
        left = 5

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration
            return {"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([5, 6, 7])}

    with quiet():
        data = Once()
        trainer = Trainer(
            tiny_model(tmp_path), arguments(tmp_path, max_steps=2), train_dataset=data
        )
    report = check(trainer)
    assert report["step-runs"].passed is None
    assert "use its rows up" in report["step-runs"].explanation
    assert data.left == 5


def test_a_model_on_the_meta_device(tmp_path):
    with quiet():
        model = tiny_model(tmp_path).to("meta")
        rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 8
        trainer = Trainer.__new__(Trainer)
        try:
            trainer = Trainer(
                model, arguments(tmp_path, max_steps=2), train_dataset=Dataset.from_list(rows)
            )
        except (RuntimeError, NotImplementedError, ValueError):
            pytest.skip("transformers refuses a model on meta")
    report = check(trainer)
    assert report["step-runs"].passed is None


def test_a_custom_trainer_class(tmp_path):
    class Mine(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            out = model(**inputs)
            loss = out.loss + 0.01 * out.logits.square().mean()
            return (loss, out) if return_outputs else loss

    rows = [
        {"input_ids": [i, i + 1, i + 2, 9], "labels": [i, i + 1, i + 2, 9]} for i in range(10, 26)
    ]
    with quiet():
        trainer = Mine(
            tiny_model(tmp_path),
            arguments(tmp_path, max_steps=4),
            train_dataset=Dataset.from_list(rows),
        )
    report = check(trainer)
    assert report.ok, [(r.id, r.explanation) for r in report.failed]
    assert report["step-helps"].passed


def test_a_classifier(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=480,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        pad_token_id=2,
        num_labels=3,
    )
    rows = [{"input_ids": [10 + i, 11, 12], "labels": i % 3} for i in range(12)]
    with quiet():
        trainer = Trainer(
            LlamaForSequenceClassification(config),
            arguments(tmp_path, max_steps=4),
            train_dataset=Dataset.from_list(rows),
        )
    report = check(trainer)
    assert report.ok, [(r.id, r.explanation) for r in report.failed]
    assert report["loss-falls"].passed
    assert report["weights-move"].passed


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda completions, **_: 1 / 0, "ZeroDivisionError"),
        (lambda completions, **_: None, "not a list of numbers"),
        (lambda completions, **_: ["good"] * len(completions), "not a list of numbers"),
        (lambda completions, **_: time.sleep(30), "did not return within"),
    ],
    ids=["raises", "none", "words", "slow"],
)
def test_a_reward_function_that_does_not_work(built, function, says):
    began = time.monotonic()
    report = check(built("grpo", reward_funcs=function), only=["reward-works"], reward_seconds=0.5)
    assert report["reward-works"].passed is False
    assert says in report["reward-works"].explanation
    assert time.monotonic() - began < 25


def test_a_reward_function_that_prints(built, capsys):
    def chatty(completions, **_):
        print("hello")  # noqa: T201
        return [float(len(c)) for c in completions]

    report = check(built("grpo", reward_funcs=chatty), only=["reward-works"])
    assert report["reward-works"].passed
    assert report["reward-works"].measured["functions"]["chatty"]["printed"] == 6
    assert "hello" not in capsys.readouterr().out


def test_images_are_not_tested(built):
    trainer = built("sft")
    trainer.train_dataset = trainer.train_dataset.add_column(
        "image", [None] * len(trainer.train_dataset)
    )
    report = check(trainer)
    assert report["step-runs"].passed is None
    assert "images" in report["step-runs"].explanation
