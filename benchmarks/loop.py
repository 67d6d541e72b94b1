"""The demo's loop beside the same loop written plainly on transformers and trl.

    python benchmarks/loop.py [CONFIG] [--json FILE] [key=value ...]

Both in one run, one after the other: custodes from its command (loading, exporting and reporting
included), then a plain loop in a process of its own: ``generate`` in batches of 8, padded left;
trl's SFT and DPO trainers with settings that work on a CPU; peft's adapter left on the model. The
plain loop asks the same prompts at the same steps, takes gold scores of the same prompts, retrains
at the same steps from as many answers to the same number of prompts with the same options, and uses
the same Experts, so that only how it is done differs. Both sample until the model ends its answer;
the seconds are therefore compared as they are and for each generated token.

The plain model is bf16, which transformers picks by itself for these weights and which is faster
here than float32; ``--dtype float32`` gives the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from custodes.runs import read_events

ROOT = Path(__file__).parent.parent


def chunks(items: list[Any], size: int = 8) -> list[list[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


class Plain:
    """A Worker, its Experts and its Teacher as a script would have them."""

    def __init__(self, folder: Path, config: dict[str, Any], dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(0)
        self.folder, self.worker, self.teacher = folder, config["worker"], config["teacher"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.tokens = 0

    def ask(self, chats: list[Any], n: int = 1) -> list[list[str]]:
        found: list[list[str]] = []
        for batch in chunks(chats):
            inputs = self.tokenizer.apply_chat_template(
                batch, add_generation_prompt=True, padding=True, return_tensors="pt",
                return_dict=True,
            )  # fmt: skip
            output = self.model.generate(
                **inputs,
                do_sample=True,
                temperature=self.worker["temperature"],
                top_p=self.worker["top_p"],
                top_k=0,
                max_new_tokens=self.worker["max_tokens"],
                num_return_sequences=n,
            )[:, inputs["input_ids"].shape[1] :]
            self.tokens += int((output != self.tokenizer.pad_token_id).sum())
            texts = self.tokenizer.batch_decode(output, skip_special_tokens=True)
            found += [texts[i : i + n] for i in range(0, len(texts), n)]
        return found

    def train(self, pairs: list[dict[str, Any]], out: Path) -> None:
        from datasets import Dataset
        from peft import LoraConfig
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

        lora = LoraConfig(
            r=self.teacher["lora"]["rank"],
            lora_alpha=self.teacher["lora"]["alpha"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        common: dict[str, Any] = {
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
        }

        def options(name: str) -> dict[str, Any]:
            given = self.teacher[name]
            return common | {
                "output_dir": str(out / name),
                "num_train_epochs": given["epochs"],
                "per_device_train_batch_size": given["batch"],
                "learning_rate": given["learning_rate"],
                "max_length": given["max_length"],
            }

        if self.teacher["sft"]["epochs"]:
            rows = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in pairs]
            trainer = SFTTrainer(
                self.model,
                args=SFTConfig(**options("sft"), completion_only_loss=True),
                train_dataset=Dataset.from_list(rows),
                processing_class=self.tokenizer,
                peft_config=lora,
            )
            trainer.train()
            self.model = trainer.model
        if self.teacher["dpo"]["epochs"]:
            fresh = not hasattr(self.model, "peft_config")
            trainer = DPOTrainer(
                self.model,
                args=DPOConfig(**options("dpo"), beta=self.teacher["dpo"]["beta"]),
                train_dataset=Dataset.from_list(pairs),
                processing_class=self.tokenizer,
                **({"peft_config": lora} if fresh else {}),
            )
            trainer.train()
            self.model = trainer.model
        self.tokenizer.padding_side = "left"
        self.model.eval()


def plain_loop(folder: Path, model: Path, dtype: str) -> dict[str, float]:
    """Go through what a finished custodes run did, plainly."""
    import yaml

    from custodes.data.datasets import read_prompts
    from custodes.experts.heads.head import load_expert

    began = time.monotonic()
    config = yaml.safe_load((folder / "config.yaml").read_text())["config"]
    events = read_events(folder / "events.jsonl")
    plain = Plain(model, config, dtype)
    domains = {"helpfulness": "everyday", "harmlessness": "harm_adjacent"}
    experts = {domain: load_expert(domain) for domain in domains}
    gold = {domain: load_expert(f"{domain}-gold") for domain in domains}
    asked = {d: read_prompts(source, domain=d, split="loop") for d, source in domains.items()}
    held = {d: read_prompts(source, domain=d, split="gold") for d, source in domains.items()}
    by_id = {query.id: query for queries in held.values() for query in queries}
    spent: dict[str, float] = {}

    def clocked(stage: str, work: Any) -> Any:
        start = time.monotonic()
        result = work()
        spent[stage] = spent.get(stage, 0.0) + time.monotonic() - start
        return result

    for event in events:
        if event["kind"] == "gold":
            for domain, scored in event["domains"].items():
                queries = [by_id[identity] for identity in scored["ids"]]
                texts = clocked("gold", lambda q=queries: plain.ask([list(x.chat) for x in q]))
                flat = [answers[0] for answers in texts]
                clocked("gold", lambda d=domain, q=queries, t=flat: gold[d].logits(q, t))
        elif event["kind"] == "step":
            chats = [query["chat"] for query in event["queries"]]
            answers = clocked("answer", lambda c=chats: plain.ask(c))
            for domain, given in event["ratings"].items():
                mine = [asked[domain][0] for _ in given["queries"]]
                texts = [answers[i][0] for i in given["queries"]]
                clocked("rate", lambda d=domain, q=mine, t=texts: experts[d].rate(q, t))
        elif event["kind"] == "checkpoint" and event["parent"] is not None:
            clocked("retrain", lambda e=event: retrain(plain, e, config, asked, experts, folder))
    return {**spent, "seconds": time.monotonic() - began, "tokens": plain.tokens}


def retrain(
    plain: Plain,
    event: dict[str, Any],
    config: dict[str, Any],
    asked: dict[str, Any],
    experts: dict[str, Any],
    folder: Path,
) -> None:
    """Best of n against the worst, as many prompts and pairs as the run had."""
    pairs: list[dict[str, Any]] = []
    for domain, facts in event["metrics"]["data"].items():
        queries = asked[domain][: facts["queries"]]
        n = config["teacher"]["samples"]
        answers = plain.ask([list(query.chat) for query in queries], n)
        ratings = experts[domain].rate(
            [query for query in queries for _ in range(n)], [t for texts in answers for t in texts]
        )
        values = [rating.value or 0.0 for rating in ratings]
        made = []
        for i, query in enumerate(queries):
            given = sorted(zip(values[i * n : i * n + n], answers[i], strict=True))
            made.append((given[-1][0] - given[0][0], query, given[-1][1], given[0][1]))
        made.sort(key=lambda row: -row[0])
        pairs += [
            {
                "prompt": list(query.chat),
                "chosen": [{"role": "assistant", "content": best}],
                "rejected": [{"role": "assistant", "content": worst}],
            }
            for _, query, best, worst in made[: facts["pairs"]]
        ]
    plain.train(pairs, folder / "plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", nargs="?", default=str(ROOT / "examples" / "oversee.yaml"))
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        from custodes.models.bundled import pull

        model = pull("smollm2-135m") / "torch"
        print(json.dumps(plain_loop(options.plain, model, options.dtype)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "custodes", "oversee", options.config, *options.overrides,
             "control=false", "--out", str(folder)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        ours = time.monotonic() - began
        cost = json.loads((folder / "summary.json").read_text())["cost"]
        again = [sys.executable, __file__, "--plain", str(folder), "--dtype", options.dtype]
        began = time.monotonic()
        done = subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True)
        theirs = time.monotonic() - began
        plain = json.loads(done.stdout.splitlines()[-1])
    rates = ours / cost["completion_tokens"], theirs / plain["tokens"]
    print(f"custodes  {ours:7.0f} s  {cost['completion_tokens']:7d} tokens")
    print(f"  by stage {cost['seconds_by_stage']}")
    print(f"plain     {theirs:7.0f} s  {plain['tokens']:7.0f} tokens ({options.dtype})")
    print(f"  by stage { {k: round(v, 1) for k, v in plain.items()} }")
    print(f"plain / custodes: {theirs / ours:.2f} (for each token: {rates[1] / rates[0]:.2f})")
    if options.json:
        result = {"custodes": ours, "plain": theirs, "ratio": theirs / ours, "cost": cost}
        options.json.write_text(json.dumps({**result, "plain_stages": plain}, indent=2))


if __name__ == "__main__":
    main()
