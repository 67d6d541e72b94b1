"""Fixtures that every room's tests share: a tiny real model, and the bundled one if it is there."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.browser import chromium_fixture  # noqa: F401  a fixture

# Tests interrupt processes that they start. A shell starts what it puts in the background with
# Ctrl-C ignored, and that is inherited by whatever that starts, unless somebody here cares.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may hang on how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are tiny.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SENTENCES = [
    "You are tiny. The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "How do I bake bread at home? Mix flour, water, salt and yeast, wait, then bake it.",
    "I am sorry, but I cannot help with that. Here is what I can do for you instead.",
    "What is the capital of France? The capital of France is Paris, on the river Seine.",
    "Write a short poem about the sea. The sea is wide, the sea is blue, it sings to you.",
    "user assistant system question answer please thank you hello world yes no why because",
]


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Save a random two-layer Llama with a byte-level BPE tokenizer and a ChatML template.

    It is shaped like the bundled model in all that code can trip over: tied embeddings, grouped
    key-value heads, pad = eos = <|im_end|>, bos = <|im_start|> that the tokenizer does not add,
    and a template that puts in its own system prompt.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)

    folder.mkdir(parents=True, exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))

    config = LlamaConfig(
        vocab_size=384,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        # Larger than usual, so that the next token depends on the weights and on the prompt.
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    return folder


def make_tiny_adapter(model: Path, folder: Path, seed: int = 0) -> Path:
    """Save a random LoRA adapter for a tiny model, strong enough to change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        adapted = get_peft_model(base, lora)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama (2 layers, 64 wide, 384 tokens), safetensors in bf16."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_adapter_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEFT folder of a random float32 LoRA on the tiny model (its base is named by its path)."""
    return make_tiny_adapter(tiny_model_dir, tmp_path_factory.mktemp("adapters") / "lora")


@pytest.fixture(scope="session")
def bundled() -> Path:
    """Folder of smollm2-135m in the cache (``model.gguf``, ``torch/``); skips if it isn't there."""
    from custodes.models.bundled import installed

    folder = installed("smollm2-135m")
    if folder is None:
        pytest.skip("smollm2-135m is not in the cache (run: custodes models pull smollm2-135m)")
    return folder
