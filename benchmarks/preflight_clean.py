"""False alarms: set-ups without a bug, as trl's tests and docs use them.

python benchmarks/preflight_clean.py [--out FILE] [FILTER ...]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Setup = tuple[str, Callable[[str], Any]]


def setups() -> Iterator[Setup]:
    """Yield trainers × {full, LoRA, bf16, checkpointing, packing, data forms, architectures}."""
    from custodes.preflight.plants.tiny import (
        FAMILIES,
        demonstrations,
        preferences,
        questions,
        tiny_model,
        tiny_tokenizer,
    )
    from custodes.preflight.plants.trainers import KINDS, build, lora

    def make(name: str, kind: str, **settings: Any) -> Setup:
        def built(folder: str) -> Any:
            ready = {
                k: v(folder) if k in ("model", "tokenizer") else v for k, v in settings.items()
            }
            return build(kind, folder, **ready)

        return f"{kind}-{name}", built

    chat = {
        "sft": demonstrations("chat"),
        "dpo": preferences("chat"),
        "kto": preferences("chat", unpaired=True),
        "reward": preferences("chat"),
        "grpo": questions("chat"),
        "rloo": questions("chat"),
    }
    for kind in KINDS:
        task = {"task_type": "SEQ_CLS"} if kind == "reward" else {}
        for family in FAMILIES:
            yield make(family, kind, family=family)
        yield make("chat", kind, data=chat[kind])
        yield make("lora", kind, peft_config=lora(**task))
        yield make(
            "lora-chat-qwen2", kind, peft_config=lora(**task), data=chat[kind], family="qwen2"
        )
        yield make("bf16", kind, options={"bf16": True})
        yield make("checkpointing", kind, options={"gradient_checkpointing": True})
        yield make(
            "lora-checkpointing-bf16",
            kind,
            peft_config=lora(**task),
            options={"gradient_checkpointing": True, "bf16": True},
        )
        yield make("accumulation", kind, options={"gradient_accumulation_steps": 2})
        yield make(
            "warmup-cosine",
            kind,
            options={"warmup_steps": 2, "lr_scheduler_type": "cosine", "max_steps": 20},
        )
        yield make("epochs", kind, options={"max_steps": -1, "num_train_epochs": 2})
        yield make("lora-dropout", kind, peft_config=lora(lora_dropout=0.05, **task))
        yield make("bos", kind, tokenizer=lambda _: tiny_tokenizer(bos=True))
        yield make("sgd", kind, options={"optim": "sgd", "learning_rate": 1e-2})
        yield make("adafactor", kind, options={"optim": "adafactor"})
    yield make("text", "sft", data=demonstrations("text"))
    yield make("chat-completion", "sft", data=demonstrations("chat-completion"))
    yield make(
        "assistant-only", "sft", data=demonstrations("chat"), options={"assistant_only_loss": True}
    )
    yield make("whole-row", "sft", options={"completion_only_loss": False})
    yield make(
        "packing",
        "sft",
        options={"packing": True, "max_length": 64, "padding_free": False},
        data=demonstrations("text", 64),
    )
    yield make(
        "packing-wrapped",
        "sft",
        options={"packing": True, "max_length": 64, "packing_strategy": "wrapped"},
        data=demonstrations("text", 64),
    )
    yield make("padding-free", "sft", options={"padding_free": True, "max_length": None})
    yield make(
        "held-out",
        "sft",
        eval_dataset=demonstrations(seed=9, n=8),
        options={"eval_strategy": "steps"},
    )
    yield make("gpt2-dropout", "sft", model=lambda f: tiny_model(f, "gpt2", dropout=0.1))
    yield make("bfloat16-weights", "sft", dtype="bfloat16", options={"learning_rate": 2e-4})
    yield make("lora-bfloat16-base", "sft", dtype="bfloat16", peft_config=lora())
    yield make("dora", "sft", peft_config=lora(use_dora=True))
    yield make(
        "modules-to-save",
        "sft",
        peft_config=lora(
            modules_to_save=["embed_tokens", "lm_head"],
        ),
        model=_untied,
    )
    yield make("dft", "sft", options={"loss_type": "dft"})
    for loss in (
        "hinge",
        "ipo",
        "robust",
        "apo_zero",
        "sppo_hard",
        "nca_pair",
        "exo_pair",
        "bco_pair",
        "aot",
        "discopop",
    ):
        yield make(
            loss,
            "dpo",
            options={"loss_type": loss}
            | ({"label_smoothing": 0.1} if loss in ("robust", "exo_pair") else {}),
        )
    yield make(
        "mpo",
        "dpo",
        options={"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
    )
    yield make("precomputed", "dpo", options={"precompute_ref_log_probs": True})
    yield make("implicit-prompt", "dpo", data=preferences("chat", prompt=False))
    yield make("unpaired-loss", "kto", options={"desirable_weight": 1.5, "undesirable_weight": 0.5})
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo"):
        yield make(f"loss-{loss}", "grpo", options={"loss_type": loss})
    yield make("no-kl", "grpo", options={"beta": 0.0})
    yield make(
        "two-rewards",
        "grpo",
        reward_funcs=[_length, _letters],
        options={"reward_weights": [0.5, 1.0]},
    )
    yield make("temperature", "grpo", options={"temperature": 0.7, "top_p": 0.9, "top_k": 50})
    yield make("unscaled", "grpo", options={"scale_rewards": False})
    yield make("sequence-level", "grpo", options={"importance_sampling_level": "sequence"})
    yield make("iterations", "grpo", options={"num_iterations": 2})
    yield make("length-reward", "rloo", reward_funcs=_length)


def _untied(folder: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=480,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=2,
        bos_token_id=0,
        eos_token_id=4,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(Path(folder) / "untied")
    return LlamaForCausalLM.from_pretrained(Path(folder) / "untied")


def _length(completions: list[Any], **_: Any) -> list[float]:
    from custodes.preflight.subject import text_of

    return [-abs(20.0 - len(text_of(c))) for c in completions]


def _letters(completions: list[Any], **_: Any) -> list[float]:
    from custodes.preflight.subject import text_of

    return [float(len(set(text_of(c)))) for c in completions]


def main() -> None:
    """Run every set-up, and count the alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filter", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from custodes.preflight import check
    from custodes.preflight.plants.trainers import quiet

    rows = []
    for name, make in setups():
        if options.filter and not any(f in name for f in options.filter):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                with quiet():
                    trainer = make(folder)
            except Exception as error:
                print(
                    f"could not be built: {name}: {type(error).__name__}: {error}"[:300], flush=True
                )
                continue
            began = time.perf_counter()
            report = check(trainer, seconds=600)
            seconds = time.perf_counter() - began
        broken = [r for r in report.not_tested if "Error" in r.explanation]
        rows.append(
            {
                "setup": name,
                "alarms": {r.id: r.explanation for r in report.failed},
                "broken": {r.id: r.explanation for r in broken},
                "passed": len(report.passed),
                "seconds": round(seconds, 2),
            }
        )
        print(
            name,
            "ok" if report.ok else f"ALARM {rows[-1]['alarms']}",
            f"{len(report.passed)} passed",
            f"{seconds:.1f} s",
            rows[-1]["broken"] or "",
            flush=True,
        )
    alarms = sum(bool(row["alarms"]) for row in rows)
    print(f"{alarms} of {len(rows)} clean set-ups raised an alarm")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
