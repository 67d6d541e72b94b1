"""Tiny random models, a tokenizer and data that need no network: the ground of the self-test."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["FAMILIES", "demonstrations", "preferences", "questions", "tiny_model", "tiny_tokenizer"]

_TEMPLATE = (
    "{% for message in messages %}"
    "<|start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|end|>{% endif %}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)

_THINGS = [
    *(
        [
            "apple",
            "river",
            "winter",
            "engine",
            "garden",
            "mirror",
            "candle",
            "bridge",
            "rocket",
            "violin",
            "harbor",
            "desert",
        ]
    ),
    *(
        [
            "lantern",
            "puzzle",
            "forest",
            "kettle",
            "anchor",
            "blanket",
            "compass",
            "ladder",
            "meadow",
            "pillow",
            "saddle",
        ]
    ),
    *(
        [
            "teapot",
            "umbrella",
            "wagon",
            "island",
            "jacket",
            "needle",
            "orchard",
            "pencil",
            "quarry",
            "ribbon",
            "tunnel",
        ]
    ),
]
_KINDS = [
    "large",
    "quiet",
    "bright",
    "broken",
    "ancient",
    "gentle",
    "hollow",
    "narrow",
    "rapid",
    "silver",
    "tender",
    "yellow",
]
_VERBS = [
    "holds",
    "carries",
    "follows",
    "covers",
    "shelters",
    "mends",
    "crosses",
    "guides",
    "lifts",
    "warms",
]

FAMILIES = ("llama", "gpt2", "qwen2", "gemma")


@cache
def _trained() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = " ".join(_THINGS + _KINDS + _VERBS)
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<|bos|>", "<|eos|>", "<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [f"What does the {words} do? It is the one that {words}.", *[f" {w}" for w in _THINGS]],
        trainer,
    )
    return tokenizer.to_str()


def tiny_tokenizer(*, chat: bool = True, bos: bool = False, pad: str = "<|pad|>") -> Any:
    """Return a byte-level tokenizer of 480 tokens.

    Args:
        chat: With a chat template, whose turns end in ``<|end|>``.
        bos: Whether it puts a BOS token first, as Llama's does.
        pad: The padding token.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer.from_str(_trained())
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", core.token_to_id("<|bos|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|bos|>",
        eos_token="<|end|>" if chat else "<|eos|>",
        pad_token=pad,
        model_max_length=512,
    )
    if chat:
        tokenizer.chat_template = _TEMPLATE
    return tokenizer


def tiny_model(
    folder: Path | str,
    family: str = "llama",
    *,
    head: str = "causal",
    dtype: str = "float32",
    seed: int = 0,
    dropout: float = 0.0,
    layers: int = 2,
) -> Any:
    """Build a random model of about 60,000 weights, and save it where a reference is loaded from.

    Args:
        folder: Where it is saved.
        family: One of `FAMILIES`.
        head: "causal", or "score" for a reward model.
        dtype: Of its weights.
        seed: Of its weights.
        dropout: Probability, where the family has dropout.
        layers: Number of blocks.
    """
    import torch
    import transformers

    shared: dict[str, Any] = {
        "vocab_size": 480,
        "pad_token_id": 2,
        "bos_token_id": 0,
        "eos_token_id": 4,
        "tie_word_embeddings": True,
    }
    llama = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "attention_dropout": dropout,
    }
    configs: dict[str, Any] = {
        "llama": lambda: transformers.LlamaConfig(**shared, **llama),
        "qwen2": lambda: transformers.Qwen2Config(**shared, **llama),
        "gemma": lambda: transformers.Gemma2Config(
            **shared, **llama, head_dim=8, sliding_window=64
        ),
        "gpt2": lambda: transformers.GPT2Config(
            **shared,
            n_embd=32,
            n_layer=layers,
            n_head=4,
            n_positions=512,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
        ),
    }
    config = configs[family]()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if head == "score":
            config.num_labels = 1
            model = transformers.AutoModelForSequenceClassification.from_config(config)
        else:
            model = transformers.AutoModelForCausalLM.from_config(config)
    model = model.to(getattr(torch, dtype))
    where = Path(folder) / f"{family}-{head}-{dtype}-{seed}"
    model.save_pretrained(where)
    return type(model).from_pretrained(where, dtype=getattr(torch, dtype))


def _question(draw: random.Random) -> tuple[str, str, str]:
    kind, thing = draw.choice(_KINDS), draw.choice(_THINGS)
    other = draw.choice(_THINGS)
    question = f"What does the {kind} {thing} do?"
    more = " and ".join(f"the {draw.choice(_THINGS)}" for _ in range(draw.randint(1, 3)))
    good = f" The {kind} {thing} {draw.choice(_VERBS)} the {other}, {more}."
    kinds = " ".join(draw.choice(_KINDS) for _ in range(draw.randint(1, 4)))
    bad = f" The {draw.choice(_THINGS)} is {kinds}."
    return question, good, bad


def _turns(question: str, *replies: str) -> list[list[dict[str, str]]]:
    prompt = [{"role": "user", "content": question}]
    return [prompt, *[[{"role": "assistant", "content": reply.strip()}] for reply in replies]]


def demonstrations(form: str = "completion", n: int = 24, *, seed: int = 0) -> Any:
    """Return a dataset for SFT.

    Args:
        form: "completion" (prompt and completion), "text", "chat" (messages) or "chat-completion".
        n: Rows.
        seed: Of the rows.
    """
    from datasets import Dataset

    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(n):
        question, good, _bad = _question(draw)
        prompt, reply = _turns(question, good)
        forms: dict[str, dict[str, Any]] = {
            "completion": {"prompt": question, "completion": good},
            "text": {"text": question + good},
            "chat": {"messages": prompt + reply},
            "chat-completion": {"prompt": prompt, "completion": reply},
        }
        rows.append(forms[form])
    return Dataset.from_list(rows)


def preferences(
    form: str = "plain", n: int = 24, *, seed: int = 0, unpaired: bool = False, prompt: bool = True
) -> Any:
    """Return a dataset of preferences.

    Args:
        form: "plain" or "chat".
        n: Pairs.
        seed: Of the rows.
        unpaired: One completion a row, with a label, as KTO takes it.
        prompt: Whether the prompt is a column; else it stands before both answers.
    """
    from datasets import Dataset

    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for index in range(n):
        question, good, bad = _question(draw)
        ask, chosen, rejected = (
            _turns(question, good, bad) if form == "chat" else (question, good, bad)
        )
        if unpaired:
            desirable = index % 2 == 0
            completion = chosen if desirable else rejected
            rows.append({"prompt": ask, "completion": completion, "label": desirable})
        elif prompt:
            rows.append({"prompt": ask, "chosen": chosen, "rejected": rejected})
        else:
            both = {"chosen": ask + chosen, "rejected": ask + rejected}  # type: ignore[operator]
            rows.append(both)
    return Dataset.from_list(rows)


def questions(form: str = "plain", n: int = 16, *, seed: int = 0) -> Any:
    """Return a dataset of prompts with the answer that a reward function can look for."""
    from datasets import Dataset

    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        question, good, _bad = _question(draw)
        prompt = _turns(question)[0] if form == "chat" else question
        rows.append({"prompt": prompt, "answer": good.strip()})
    return Dataset.from_list(rows)
