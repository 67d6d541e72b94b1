"""Bugs planted into trainers that learn from a dataset: SFT, DPO, KTO, reward models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from custodes.preflight.plants.catalogue import plant
from custodes.preflight.plants.tiny import demonstrations, preferences, tiny_model, tiny_tokenizer
from custodes.preflight.plants.trainers import build, lora

__all__: list[str] = []


@plant("dpo-negative-beta", "dpo", ["step-helps", "beta-sign"], "huggingface/trl#235")
def dpo_negative_beta(folder: Path) -> Any:
    """DPO with β < 0."""
    return build("dpo", folder, options={"beta": -0.1})


@plant("dpo-wrong-reference", "dpo", ["reference-is-start"], "huggingface/trl#3397")
def dpo_wrong_reference(folder: Path) -> Any:
    """The reference is another model."""
    trainer = build("dpo", folder)
    trainer.ref_model.load_state_dict(tiny_model(folder, seed=1).state_dict())
    return trainer


@plant("dpo-reloaded-reference", "dpo", ["reference-is-start"], "NVIDIA/NeMo-Aligner#227")
def dpo_reloaded_reference(folder: Path) -> Any:
    """The policy was changed in memory; the reference is reloaded from disk."""
    import torch

    model = tiny_model(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    return build("dpo", folder, model=model)


@plant("dpo-shared-reference", "dpo", ["frozen-weights-stay"], "huggingface/trl#3397")
def dpo_shared_reference(folder: Path) -> Any:
    """The reference shares its weights with the policy, so it moves along."""
    trainer = build("dpo", folder)
    for (_, mine), (_, theirs) in zip(
        trainer.model.named_parameters(), trainer.ref_model.named_parameters(), strict=True
    ):
        theirs.data = mine.data
    return trainer


@plant(
    "frozen-adapter-sft", "sft", ["trainable-weights", "optimizer-weights"], "huggingface/trl#6700"
)
def frozen_adapter_sft(folder: Path) -> Any:
    """An adapter was loaded without is_trainable=True."""
    trainer = build("sft", folder, peft_config=lora())
    trainer.model.requires_grad_(False)
    return trainer


@plant(
    "frozen-adapter-dpo", "dpo", ["trainable-weights", "optimizer-weights"], "huggingface/peft#282"
)
def frozen_adapter_dpo(folder: Path) -> Any:
    """The same under DPO."""
    trainer = build("dpo", folder, peft_config=lora())
    trainer.model.requires_grad_(False)
    return trainer


@plant("bf16-swallows", "dpo", ["precision"], "pytorch/ao#1124")
def bf16_swallows(folder: Path) -> Any:
    """Weights in bfloat16, at a rate that they cannot resolve."""
    return build("dpo", folder, dtype="bfloat16", options={"learning_rate": 1e-6})


@plant("double-bos", "sft", ["bos-once"], "huggingface/trl#1400")
def double_bos(folder: Path) -> Any:
    """The text spells BOS and the tokenizer adds it again."""
    data = demonstrations("text").map(lambda row: {"text": "<|bos|>" + row["text"]})
    return build("sft", folder, data=data, tokenizer=tiny_tokenizer(bos=True))


@plant("labels-all-masked", "sft", ["trained-tokens"], "huggingface/trl#6668")
def labels_all_masked(folder: Path) -> Any:
    """Every label is -100."""
    trainer = build("sft", folder)
    trainer.train_dataset = trainer.train_dataset.map(
        lambda row: {"labels": [-100] * len(row["labels"])}
    )
    return trainer


@plant("labels-shifted", "sft", ["labels-equal-inputs"], "volcengine/verl#3287")
def labels_shifted(folder: Path) -> Any:
    """A collator shifts the labels, and the model shifts them again."""
    trainer = build("sft", folder)
    inner = trainer.data_collator

    def shifted(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = inner(rows)
        batch["labels"] = batch["labels"].roll(-1, dims=1)
        return batch  # type: ignore[no-any-return]

    trainer.data_collator = shifted
    return trainer


@plant("mask-off-by-one", "dpo", ["trained-text"], "OpenRLHF/OpenRLHF#973")
def mask_off_by_one(folder: Path) -> Any:
    """The completion mask begins one token late."""
    trainer = build("dpo", folder)
    inner = trainer.data_collator

    def late(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = inner(rows)
        mask = batch["completion_mask"]
        batch["completion_mask"] = mask * mask.roll(1, dims=1)
        return batch  # type: ignore[no-any-return]

    trainer.data_collator = late
    return trainer


@plant("prompt-in-loss", "sft", ["trained-text"], "axolotl-ai-cloud/axolotl#1761")
def prompt_in_loss(folder: Path) -> Any:
    """The labels are the whole row, though only the completion was meant."""
    trainer = build("sft", folder)
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": row["input_ids"]})
    return trainer


@plant("wrong-turns", "sft", ["trained-text"], "axolotl-ai-cloud/axolotl#1645")
def wrong_turns(folder: Path) -> Any:
    """The user's turns are trained and the assistant's are not."""
    trainer = build(
        "sft", folder, data=demonstrations("chat"), options={"assistant_only_loss": True}
    )

    def inverted(row: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(row["input_ids"], row["labels"], strict=True)
        return {"labels": [i if label == -100 else -100 for i, label in pairs]}

    trainer.train_dataset = trainer.train_dataset.map(inverted)
    return trainer


@plant("no-end-token", "sft", ["reply-end"], "huggingface/trl#1623")
def no_end_token(folder: Path) -> Any:
    """The end of each reply is masked, as when pad is eos and the collator masks by id."""
    trainer = build("sft", folder)
    trainer.train_dataset = trainer.train_dataset.map(
        lambda row: {"labels": [-100 if i == 4 else i for i in row["labels"]]}
    )
    return trainer


@plant("pairs-identical", "dpo", ["pairs-differ"], "CarperAI/trlx#474")
def pairs_identical(folder: Path) -> Any:
    """Chosen equals rejected."""
    data = preferences().map(lambda row: {"rejected": row["chosen"]})
    return build("dpo", folder, data=data)


@plant("pairs-identical-truncated", "dpo", ["pairs-differ-in-batch"], "OpenRLHF/OpenRLHF#1311")
def pairs_identical_truncated(folder: Path) -> Any:
    """Replies are cut before they differ."""
    same = " The quiet river holds the mirror and the lantern"
    data = preferences().map(
        lambda row: {"chosen": same + row["chosen"], "rejected": same + row["rejected"]}
    )
    return build("dpo", folder, data=data, options={"max_length": 16})


@plant("columns-swapped", "dpo", ["pairs-order"], "modelscope/ms-swift#9370")
def columns_swapped(folder: Path) -> Any:
    """Chosen and rejected are swapped, as the scores beside them say."""
    data = preferences().map(
        lambda row: {
            "chosen": row["rejected"],
            "rejected": row["chosen"],
            "score_chosen": 2.0,
            "score_rejected": 8.0,
        }
    )
    return build("dpo", folder, data=data)


@plant("evaluation-leaks", "sft", ["evaluation-held-out"], "argilla-io/notus#10")
def evaluation_leaks(folder: Path) -> Any:
    """The evaluation set is a part of the training set."""
    data = demonstrations()
    return build("sft", folder, data=data, eval_dataset=data.select(range(6)))


@plant(
    "optimizer-stale",
    "sft",
    ["optimizer-weights", "weights-move"],
    "",
)
def optimizer_stale(folder: Path) -> Any:
    """The optimizer was made for another copy of the model."""
    import torch

    other = tiny_model(folder, seed=3)
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-4)
    return build("sft", folder, optimizers=(optimizer, None))


@plant("optimizer-maximizes", "sft", ["step-helps", "loss-falls"], "huggingface/trl#2714")
def optimizer_maximizes(folder: Path) -> Any:
    """The optimizer climbs the loss."""
    import torch

    model = tiny_model(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, maximize=True)
    return build("sft", folder, model=model, optimizers=(optimizer, None))


@plant("rate-zero", "sft", ["schedule-rate"], "")
def rate_zero(folder: Path) -> Any:
    """The warm-up is longer than the training."""
    return build("sft", folder, options={"warmup_steps": 1000})


@plant("reward-sign", "reward", ["step-helps"], "huggingface/trl#2714")
def reward_sign(folder: Path) -> Any:
    """A custom reward loss has its sign flipped."""
    import trl

    class Flipped(trl.RewardTrainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **options: Any) -> Any:
            loss = super().compute_loss(*args, **options)
            if isinstance(loss, tuple):
                return (-loss[0], *loss[1:])
            return -loss

    return build("reward", folder, base=Flipped)


@plant("score-at-padding", "reward", ["padding-invariance"], "huggingface/trl#2708")
def score_at_padding(folder: Path) -> Any:
    """The score is read at the last column, padding or not."""
    trainer = build("reward", folder)
    model = trainer.model
    backbone = model.model

    def forward(input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
        from transformers.modeling_outputs import SequenceClassifierOutput

        state = backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return SequenceClassifierOutput(logits=model.score(state[:, -1]))

    model.forward = forward
    return trainer


@plant("mask-ignored", "sft", ["padding-invariance"], "")
def mask_ignored(folder: Path) -> Any:
    """The model reads padding like any other token."""
    trainer = build("sft", folder)
    before = trainer.model.forward

    def forward(*args: Any, attention_mask: Any = None, **options: Any) -> Any:
        del attention_mask
        return before(*args, **options)

    trainer.model.forward = forward
    return trainer


@plant("kto-one-label", "kto", ["labels-vary"], "")
def kto_one_label(folder: Path) -> Any:
    """Every row is desirable."""
    data = preferences(unpaired=True).map(lambda _: {"label": True})
    return build("kto", folder, data=data)


@plant("kto-labels-flipped", "kto", ["step-helps"], "")
def kto_labels_flipped(folder: Path) -> Any:
    """The collator turns labels round."""
    trainer = build("kto", folder)
    inner = trainer.data_collator

    def flipped(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = inner(rows)
        batch["label"] = ~batch["label"]
        return batch  # type: ignore[no-any-return]

    trainer.data_collator = flipped
    return trainer


@plant("rows-scrambled", "sft", ["prompt-fits-reply"], "")
def rows_scrambled(folder: Path) -> Any:
    """Replies belong to other rows' prompts."""
    data = demonstrations()
    replies = data["completion"][5:] + data["completion"][:5]
    return build(
        "sft", folder, data=data.remove_columns("completion").add_column("completion", replies)
    )


@plant("vocabulary-short", "sft", ["ids-in-vocabulary"], "")
def vocabulary_short(folder: Path) -> Any:
    """Tokens were added, and the embedding was not resized."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|new|>"])
    data = demonstrations().map(lambda row: {"completion": "<|new|>" + row["completion"]})
    return build("sft", folder, tokenizer=tokenizer, data=data)


@plant("head-untied", "sft", ["tied-weights", "save-load"], "huggingface/peft#2777")
def head_untied(folder: Path) -> Any:
    """Head and embedding came apart, and the config still ties them: loading loses the head."""
    import torch

    model = tiny_model(folder)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone() + 0.1)
    return build("sft", folder, model=model)


@plant("graph-cut", "sft", ["gradient-reaches", "weights-move"], "huggingface/transformers#42489")
def graph_cut(folder: Path) -> Any:
    """Something detaches the hidden states between two blocks."""
    trainer = build("sft", folder)

    def detached(_module: Any, _inputs: Any, output: Any) -> Any:
        return tuple(o.detach() for o in output) if isinstance(output, tuple) else output.detach()

    trainer.model.model.layers[0].register_forward_hook(detached)
    return trainer


@plant("clip-to-zero", "sft", ["update-size", "weights-move"], "Kingma and Ba, arXiv:1412.6980")
def clip_to_zero(folder: Path) -> Any:
    """Gradients are clipped to nothing."""
    return build("sft", folder, options={"max_grad_norm": 1e-12})


@plant("decay-absurd", "sft", ["weight-decay"], "arXiv:1711.05101")
def decay_absurd(folder: Path) -> Any:
    """Weight decay erases the model."""
    return build("sft", folder, options={"weight_decay": 1000.0, "max_steps": 100})


@plant("rate-absurd", "sft", ["learning-rate-size", "step-overshoots"], "")
def rate_absurd(folder: Path) -> Any:
    """The learning rate is a thousand times too high."""
    return build("sft", folder, options={"learning_rate": 1.0})


@plant("truncation-takes-reply", "sft", ["truncation"], "huggingface/trl#3398")
def truncation_takes_reply(folder: Path) -> Any:
    """max_length ends inside the prompts."""
    data = demonstrations("chat-completion")
    return build(
        "sft", folder, data=data, options={"max_length": 12, "completion_only_loss": False}
    )
