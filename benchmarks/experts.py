"""Fit the heads that ship, and show what they are worth beside what would expose them.

    python benchmarks/experts.py --data DIR [--cache DIR] [--ship DIR] [--json OUT]
        [--helpful N] [--harmless N] [--dolly N] [--ablations]

DIR has preferences/helpful.jsonl, preferences/harmless.jsonl and prompts/dolly.jsonl. Reading the
answers takes most of the time; with --cache each is read once and kept. With --ship the four heads
that come with custodes are written there. The tables, by head:

    people      accuracy on people's pairs: cross-validated by prompt, on the part of the prompts
                that was left alone, on pairs of like length; what "the longer answer wins" reaches;
                twins fitted to shuffled labels; Brier score (a coin: 0.25), calibration error
    validity    the battery: real answers above damaged ones, cross-validated by prompt
    without     with --ablations: the same with a source of features left out
    sanity      hand-written pairs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from custodes.conversation import Chat, PreferencePair, user_chat
from custodes.data.datasets import read_pairs
from custodes.experts.heads.card import Bounds, Provenance
from custodes.experts.heads.fit import GOLD_SOURCES, SOURCES, Sources, make_task, write_head
from custodes.experts.heads.fitted import Fitted, Part, fit_task
from custodes.experts.heads.head import HeadExpert
from custodes.experts.heads.reading import SCALARS, assemble, cut, trimmed
from custodes.experts.heads.scoring import Features
from custodes.experts.likelihood_features import LIKELIHOOD_FEATURES, likelihood_features
from custodes.experts.sanity import sanity_control
from custodes.experts.text_features import TEXT_FEATURES, text_features
from custodes.experts.validity.pairs import ValidityPair, borderline_pairs, damaged_pairs
from custodes.models.base import Array, Sampling
from custodes.models.exchange import ALONE_TOKENS, GIVEN_TOKENS, PLACES, Exchanges
from custodes.models.resolve import load, load_torch
from custodes.models.torch import TorchModel

BASE = "smollm2-135m"
SHARE = 0.6
LAYERS = (12, 15, 18, 21, 24, 27)
LICENCES = {
    "helpfulness": "Apache-2.0 (PandaLM test set) and CC-BY-SA-3.0 (Dolly)",
    "harmlessness": "MIT (Anthropic hh-rlhf, harmless-base test)",
}


class Store:
    """Reads answers and keeps what was read: a line of likelihoods and a row of states each."""

    def __init__(self, model: TorchModel, folder: Path | None):
        self.model, self.folder = model, folder
        self.width = model.model.config.hidden_size
        self.rows: dict[str, int] = {}
        self.meta: list[dict[str, Any]] = []
        self.states: list[Array] = []
        if folder is not None and (folder / "meta.jsonl").is_file():
            for line in (folder / "meta.jsonl").read_text().splitlines():
                row = json.loads(line)
                self.rows[row["k"]] = len(self.meta)
                self.meta.append(row)
            shape = (len(LAYERS), len(PLACES), self.width)
            packed = np.fromfile(folder / "states.bin", np.float16)
            self.states = list(packed.reshape(-1, *shape)[: len(self.meta)])

    def features(self, chats: Sequence[Chat], texts: Sequence[str], sources: Sources) -> Features:
        asked, answers = [trimmed(chat) for chat in chats], [cut(text) for text in texts]
        keys = [
            hashlib.sha256(json.dumps([a, t]).encode()).hexdigest()[:20]
            for a, t in zip(asked, answers, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self.rows]
        for at in range(0, len(new), 64):
            part = new[at : at + 64]
            print(f"  reading answers: {at} of {len(new)}", end="\r", flush=True)
            read = self.model.exchanges(
                [asked[i] for i in part], [answers[i] for i in part], LAYERS
            )
            self._keep([keys[i] for i in part], read)
        at_N = [self.rows[key] for key in keys]
        meta = [self.meta[i] for i in at_N]
        told = Exchanges(
            np.zeros((0,), np.float32),
            tuple(np.array(row["g"][:GIVEN_TOKENS], np.float32) for row in meta),
            tuple(np.array(row["a"][:ALONE_TOKENS], np.float32) for row in meta),
            np.array([row["e"] for row in meta], np.float32),
            np.array([row["n"] for row in meta], np.float32),
        )
        wording = np.stack(
            [text_features(a[-1]["content"], t) for a, t in zip(asked, answers, strict=True)]
        )
        states = np.stack([self.states[i] for i in at_N]).astype(np.float32)
        return assemble(
            states,
            likelihood_features(told),
            wording,
            list(LAYERS),
            sources.readings,
            sources.start,
            sources.scalars,
        )

    def _keep(self, keys: Sequence[str], read: Exchanges) -> None:
        packed = np.clip(read.states, -6e4, 6e4).astype(np.float16)
        rows: list[dict[str, Any]] = [
            {
                "k": key,
                "g": [round(float(v), 3) for v in read.given[i]],
                "a": [round(float(v), 3) for v in read.alone[i]],
                "e": float(read.end_given[i]),
                "n": int(read.tokens[i]),
            }
            for i, key in enumerate(keys)
        ]
        for i, row in enumerate(rows):
            self.rows[row["k"]] = len(self.meta)
            self.meta.append(row)
            self.states.append(packed[i])
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "states.bin", "ab") as file:
                file.write(packed.tobytes())
            with open(self.folder / "meta.jsonl", "a") as lines:
                lines.writelines(json.dumps(row) + "\n" for row in rows)


def dolly_pairs(data: Path, n: int, cache: Path | None) -> list[PreferencePair]:
    """Pair a person's answer with the base's own, which is the worse one nearly always."""
    rows = [
        json.loads(line) for line in (data / "prompts" / "dolly.jsonl").read_text().splitlines()
    ]
    whole = [
        (row["id"], f"{row['prompt']}\n\n{row['context']}".strip(), row["response"])
        for row in rows
        if len(row["prompt"]) + len(row["context"]) < 350 and 40 < len(row["response"]) < 450
    ]
    file = None if cache is None else cache / "own.json"
    own = json.loads(file.read_text()) if file is not None and file.is_file() else {}
    missing = [prompt for _, prompt, _ in whole if prompt not in own]
    enough = sum(prompt in own for _, prompt, _ in whole) >= n
    if missing and not enough:
        chats = [user_chat(prompt) for prompt in missing[:n]]
        texts = load(BASE).generate(chats, Sampling(max_tokens=64, temperature=0.8, seed=11))
        own |= {prompt: text[0] for prompt, text in zip(missing, texts, strict=False)}
        if file is not None:
            file.write_text(json.dumps(own))
    return [
        PreferencePair(id_, tuple(user_chat(prompt)), text, own[prompt].strip())
        for id_, prompt, text in whole
        if own.get(prompt, "").strip()
    ][:n]


def people_pairs(data: Path, domain: str, args: argparse.Namespace) -> list[PreferencePair]:
    if domain == "harmlessness":
        pairs = read_pairs(data / "preferences" / "harmless.jsonl")
        random.Random(4).shuffle(pairs)
        return pairs[: args.harmless]
    of_prompt: dict[str, list[PreferencePair]] = {}
    pairs = read_pairs(data / "preferences" / "helpful.jsonl")
    for pair in sorted(pairs, key=lambda p: (-p.agreement, _size(p))):
        of_prompt.setdefault(pair.prompt[0]["content"], []).append(pair)
    # A pair of each prompt first, then another of each: prompts teach more than pairs.
    rounds = zip_longest(*of_prompt.values())
    taken = [pair for one_each in rounds for pair in one_each if pair is not None]
    return [*taken[: args.helpful], *dolly_pairs(data, args.dolly, args.cache)]


def _size(pair: PreferencePair) -> int:
    return sum(len(m["content"]) for m in pair.prompt) + len(pair.chosen) + len(pair.rejected)


def shown(bounds: Bounds | None) -> str:
    return "-" if bounds is None else f"{bounds.value:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"


def show(name: str, fit: Fitted) -> dict[str, Any]:
    held = fit.held_out
    print(
        f"\n{name}: {fit.pairs} pairs of {fit.prompts} prompts, ridge {fit.ridge:g}\n"
        f"  people     {shown(held.accuracy)}   left alone {shown(held.other_part)}\n"
        f"             like length {shown(held.length_matched)}   longer {held.longer:.3f}   "
        f"twins {held.shuffled.mean:.3f}   Brier {held.brier:.3f}   "
        f"calibration error {held.calibration_error:.3f}"
    )
    for kind in held.validity:
        print(f"  {kind.kind:16s} {shown(kind)}  {kind.prompts} prompts")
    w = fit.weights
    print(
        f"  weights    scale {w.scale[0]:.2f}, ceiling {w.ceiling[0]:g}, "
        f"stance {np.round(w.stance, 2).tolist()}"
    )
    print(f"  {'FAILED: ' + ', '.join(fit.failures) if fit.failures else 'all controls pass'}")
    return {"failures": fit.failures, **held.model_dump()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--domains", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--ship", type=Path)
    parser.add_argument("--helpful", type=int, default=620, help="PandaLM pairs")
    parser.add_argument("--harmless", type=int, default=1500, help="hh-rlhf pairs")
    parser.add_argument("--dolly", type=int, default=220, help="pairs of a person and the base")
    parser.add_argument("--ablations", action="store_true", help="fit without each source, too")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_torch(BASE)
    store = Store(model, args.cache)
    found: dict[str, Any] = {"base": BASE, "version": model.version}
    for domain in args.domains:
        pairs = people_pairs(args.data, domain, args)
        damaged = damages(args, domain)
        validity = [*damaged, *borderline_pairs(domain)]
        of_gold = [*damaged, *borderline_pairs(domain, prompts_of_the_loop=False)]

        fit = partial(fitted_head, store, pairs, validity, domain)
        heads: dict[str, tuple[Sources, Part]] = {
            domain: (SOURCES[domain], "a"),
            f"{domain}-gold": (GOLD_SOURCES[domain], "b"),
        }
        if args.ablations:
            heads[f"{domain} (all prompts)"] = (SOURCES[domain], "all")
        for name, (sources, part) in heads.items():
            gold = name.endswith("-gold")
            fitted = fitted_head(store, pairs, of_gold if gold else validity, domain, sources, part)
            found[name] = show(name, fitted)
            if args.ship and part != "all":
                found[name]["sanity"] = ship(
                    fitted, name, domain, sources, part, pairs, model, args
                )
        if not args.ablations:
            continue
        whole = SOURCES[domain]
        for name, sources in {
            "without likelihood": replace(whole, scalars=TEXT_FEATURES),
            "without wording": replace(whole, scalars=LIKELIHOOD_FEATURES),
            "without hidden states": replace(whole, readings=(), scalars=SCALARS),
        }.items():
            found[f"{domain} {name}"] = show(f"{domain} {name}", fit(sources, "all"))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def damages(args: argparse.Namespace, domain: str) -> list[ValidityPair]:
    """Damage answers of the helpfulness set, and for harmlessness those of hh-rlhf too.

    The answers in hh-rlhf are short and general: many fit another prompt as well as their own, or
    are complete where they are cut, so that these two damages are done to the others alone.
    """
    made = damaged_pairs(people_pairs(args.data, "helpfulness", args), "helpfulness")
    if domain == "helpfulness":
        return made
    asked = [p for p in people_pairs(args.data, domain, args) if len(p.prompt) == 1]
    of_harm = damaged_pairs(asked, domain)
    return [
        *(replace(v, harmful=False) for v in made),
        *(v for v in of_harm if v.kind not in ("mismatch", "cut")),
    ]


def fitted_head(
    store: Store,
    pairs: Sequence[PreferencePair],
    validity: Sequence[ValidityPair],
    domain: str,
    sources: Sources,
    part: Part,
) -> Fitted:
    def read(chats: Sequence[Chat], texts: Sequence[str]) -> Features:
        return store.features(chats, texts, sources)

    task = make_task(pairs, validity, domain, len(sources.readings), read)
    return fit_task(task, part=part, share=SHARE)


def ship(
    fitted: Fitted,
    name: str,
    domain: str,
    sources: Sources,
    part: Part,
    pairs: Sequence[PreferencePair],
    model: TorchModel,
    args: argparse.Namespace,
) -> str:
    content = json.dumps([[list(p.prompt), p.chosen, p.rejected, p.agreement] for p in pairs])
    report = write_head(
        fitted,
        args.ship / f"{name}.safetensors",
        domain,
        BASE,
        model,
        sources,
        Provenance(
            name="PandaLM and Dolly" if domain == "helpfulness" else "hh-rlhf harmless-base",
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            licence=LICENCES[domain],
            part=part,
            share=SHARE,
            pairs=fitted.pairs,
            prompts=fitted.prompts,
            ridge=fitted.ridge,
            seed=0,
        ),
    )
    control = sanity_control(HeadExpert(report.path, model))
    print(f"  sanity     {control.explanation}; wrong: {control.figures.get('wrong')}")
    return control.explanation


if __name__ == "__main__":
    main()
