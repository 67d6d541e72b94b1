"""Fit the heads from scratch, and show what they are worth beside what would expose them.

    python benchmarks/experts.py --preferences DIR [--domains helpfulness harmlessness]
        [--cache DIR] [--ship DIR] [--json OUT]

DIR has helpful.jsonl and harmless.jsonl (preference pairs). Reading all layers of the bundled model
takes minutes for each domain; with --cache they are read once. With --ship the four heads that come
with custodes are written there. The tables:

    layers      pair accuracy by layer, from the answer's mean and last state; nested
                cross-validation by prompt, with 95% intervals (bootstrap over prompts)
    heads       the loop's head (fitted to part a of the prompts), the gold head (part b, other
                layers) and the loop's readings fitted to all: accuracy in cross-validation and on
                the part left alone, on pairs of like length, what "the longer answer wins"
                reaches, twins fitted to shuffled labels, Brier score (a coin: 0.25) and
                calibration error of the ratings
    leak        what the same head seems to reach where pairs and not prompts are split
    learning    accuracy by the number of prompts fitted to
    sanity      hand-written pairs
    batch       how far a rating moves when it is made alone and not in a batch
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import PreferencePair, Query
from custodes.data.datasets import read_pairs
from custodes.experts.heads.card import Bounds, Provenance
from custodes.experts.heads.fit import GOLD_READINGS, READINGS, read_pair_features, write_head
from custodes.experts.heads.fitted import Fitted, Part, fit_features, prompt_key
from custodes.experts.heads.head import HeadExpert
from custodes.experts.heads.reading import PROBES, Reading
from custodes.experts.heads.ridge import held_out_margins
from custodes.models.base import Array, ScoringModel
from custodes.models.cache import file_sha256
from custodes.models.resolve import load_torch
from custodes.progress import Progress, console

BASE = "smollm2-135m"
SHARE = 0.7
FILES = {"helpfulness": "helpful.jsonl", "harmlessness": "harmless.jsonl"}
LICENCES = {
    "helpfulness": "Apache-2.0 (PandaLM test set)",
    "harmlessness": "MIT (Anthropic hh-rlhf, harmless-base test)",
}
LAYERS = tuple(range(0, 31, 3))
POOLS: tuple[Literal["mean", "last"], ...] = ("mean", "last")
SANITY = Path(__file__).parents[1] / "src" / "custodes" / "data" / "experts"


class Reader:
    """Reads a file of pairs, behind each probe once, and remembers it on disk."""

    def __init__(
        self,
        model: ScoringModel,
        domain: str,
        data: Path,
        cache: Path | None,
        layers: Sequence[int],
        progress: Progress,
    ):
        self.model, self.data, self.pairs = model, data, read_pairs(data)
        self.progress, self._cache = progress, cache
        self._key = hashlib.sha256(f"{model.version} {file_sha256(data)}".encode()).hexdigest()[:12]
        wanted = {*READINGS[domain], *GOLD_READINGS[domain]}
        wanted |= {Reading(layer, "", pool) for layer in layers for pool in POOLS}
        self._read: dict[Reading, Array] = {}
        for probe in sorted({reading.probe for reading in wanted}):
            self._fetch(sorted((r for r in wanted if r.probe == probe), key=str))

    def __call__(self, readings: Sequence[Reading]) -> Array:
        """Return the features, shape (N, 2, F)."""
        return np.concatenate([self._read[reading] for reading in readings], axis=2)

    def _fetch(self, readings: list[Reading]) -> None:
        spelled = repr([(reading, PROBES[reading.probe]) for reading in readings])
        name = f"{self._key}-{hashlib.sha256(spelled.encode()).hexdigest()[:12]}.npy"
        path = None if self._cache is None else self._cache / name
        if path is not None and path.is_file():
            features = np.load(path)
        else:
            features = read_pair_features(self.model, self.pairs, readings, self.progress)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, features)
        self._read.update(zip(readings, np.split(features, len(readings), axis=2), strict=True))


def layers_table(read: Reader) -> list[dict[str, Any]]:
    rows = []
    for layer in LAYERS:
        row: dict[str, Any] = {"layer": layer}
        for name, pools in {"mean": POOLS[:1], "last": POOLS[1:], "both": POOLS}.items():
            readings = [Reading(layer, "", pool) for pool in pools]
            fit = fit_features(read(readings), read.pairs, len(readings))
            row[name] = fit.held_out.accuracy.model_dump()
        rows.append(row)
        print(
            f"  {layer:3d}  "
            + "   ".join(shown(Bounds(**row[k])) for k in ("mean", "last", "both"))
        )
    return rows


def shown(bounds: Bounds | None) -> str:
    return (
        "-" * 5 if bounds is None else f"{bounds.value:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"
    )


def heads_table(read: Reader, domain: str) -> tuple[dict[str, Any], dict[str, Fitted]]:
    asked: dict[str, tuple[tuple[Reading, ...], Part]] = {
        domain: (READINGS[domain], "a"),
        f"{domain}-gold": (GOLD_READINGS[domain], "b"),
        f"{domain} (all prompts)": (READINGS[domain], "all"),
    }
    rows, fits = {}, {}
    for name, (readings, part) in asked.items():
        fit = fit_features(read(readings), read.pairs, len(readings), part=part, share=SHARE)
        fits[name] = fit
        held = fit.held_out
        rows[name] = {"ridge": fit.ridge, "failures": fit.failures, **held.model_dump()}
        print(
            f"  {name:26s} {fit.pairs:5d} pairs {fit.prompts:5d} prompts  ridge {fit.ridge:g}\n"
            f"      cross-validated {shown(held.accuracy)}   other part {shown(held.other_part)}\n"
            f"      like length {shown(held.length_matched)}   longer wins {held.longer:.3f}   "
            f"shuffled {held.shuffled.mean:.3f} [{held.shuffled.low:.3f}, {held.shuffled.high:.3f}]"
            f"\n      Brier {held.brier:.3f}   calibration error {held.calibration_error:.3f}   "
            f"{'FAILED: ' + ', '.join(fit.failures) if fit.failures else 'controls pass'}"
        )
    return rows, fits


def leak(read: Reader, domain: str, ridge: float) -> dict[str, float]:
    """Accuracy in ten folds of pairs, and in ten folds of prompts, under the same ridge."""
    gram_NN = normalised_gram(read(READINGS[domain]), len(READINGS[domain]))
    n = len(read.pairs)
    deal = np.random.default_rng(0)
    names, at_N = np.unique([prompt_key(p) for p in read.pairs], return_inverse=True)
    by_prompt = deal.permutation(len(names))[at_N] % 10
    by_pair = deal.permutation(n) % 10
    found = {
        how: float((held_out_margins(gram_NN, np.ones(n), folds, [ridge]) > 0).mean())
        for how, folds in (("by prompt", by_prompt), ("by pair", by_pair))
    }
    print(f"  split by prompt {found['by prompt']:.3f}, split by pair {found['by pair']:.3f}")
    return found


def normalised_gram(features_N2F: Array, blocks: int) -> NDArray[np.float64]:
    scaled = features_N2F.astype(np.float64) / (features_N2F.std(axis=(0, 1)) + 1e-6)
    parts = np.split(scaled[:, 0] - scaled[:, 1], blocks, axis=1)
    grams = [part @ part.T / (part**2).sum(axis=1).mean() for part in parts]
    return np.asarray(np.mean(grams, axis=0))


def learning(read: Reader, domain: str, ridge: float, repeats: int = 5) -> list[dict[str, float]]:
    gram_NN = normalised_gram(read(READINGS[domain]), len(READINGS[domain]))
    names, at_N = np.unique([prompt_key(p) for p in read.pairs], return_inverse=True)
    rows = []
    for share in (0.125, 0.25, 0.5, 0.75, 1.0):
        right = []
        for repeat in range(repeats):
            rank_P = np.random.default_rng(repeat).permutation(len(names))
            test_N = (rank_P % 5 == 0)[at_N]
            pool = np.flatnonzero(rank_P % 5 != 0)
            seen = np.isin(at_N, pool[: max(1, round(share * len(pool)))])
            kernel = gram_NN[np.ix_(seen, seen)] + np.eye(seen.sum()) * ridge * seen.sum()
            margin = gram_NN[np.ix_(test_N, seen)] @ np.linalg.solve(kernel, np.ones(seen.sum()))
            right.append((margin > 0).mean())
        rows.append({"prompts": round(share * len(names) * 0.8), "accuracy": float(np.mean(right))})
    print("  " + "   ".join(f"{row['prompts']}: {row['accuracy']:.3f}" for row in rows))
    return rows


def sanity(head: HeadExpert) -> dict[str, float]:
    pairs = read_pairs(SANITY / f"sanity_{head.domain}.jsonl")
    queries = [Query(p.id, p.prompt, head.domain) for p in pairs]
    p = head.compare(queries, [x.chosen for x in pairs], [x.rejected for x in pairs])
    print(
        f"  {head.name:26s} {(p > 0.5).sum()}/{len(p)} right; wrong: "
        + (", ".join(x.id for x, ok in zip(pairs, p > 0.5, strict=True) if not ok) or "none")
    )
    return {"right": float((p > 0.5).mean()), "pairs": len(p)}


def batch(head: HeadExpert, pairs: Sequence[PreferencePair], n: int = 64) -> dict[str, float]:
    queries = [Query(p.id, p.prompt, head.domain) for p in pairs[:n]]
    texts = [p.chosen for p in pairs[:n]]
    together = [r.value for r in head.rate(queries, texts)]
    alone = [head.rate([q], [t])[0].value for q, t in zip(queries, texts, strict=True)]
    moved = np.abs(np.array(together, float) - np.array(alone, float))
    spread = float(np.std(np.array(alone, float)))
    print(
        f"  {head.name:26s} at most {moved.max():.4f}, median {np.median(moved):.4f} "
        f"(spread of the ratings: {spread:.3f})"
    )
    return {"max": float(moved.max()), "median": float(np.median(moved)), "spread": spread}


def ship(fit: Fitted, name: str, read: Reader, folder: Path) -> HeadExpert:
    domain = name.removesuffix("-gold")
    gold = name != domain
    readings = (GOLD_READINGS if gold else READINGS)[domain]
    out = folder / f"{name}.safetensors"
    write_head(
        fit,
        out,
        domain,
        BASE,
        read.model,
        readings,
        Provenance(
            name=read.data.name,
            sha256=file_sha256(read.data),
            licence=LICENCES[domain],
            part="b" if gold else "a",
            share=SHARE,
            pairs=fit.pairs,
            prompts=fit.prompts,
            ridge=fit.ridge,
            seed=0,
        ),
    )
    return HeadExpert(out, read.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preferences", type=Path, required=True)
    parser.add_argument("--domains", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--ship", type=Path)
    parser.add_argument("--no-layers", action="store_true", help="leave the table of layers out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_torch(BASE)
    found: dict[str, Any] = {"base": BASE, "version": model.version}
    for domain in args.domains:
        data = args.preferences / FILES[domain]
        print(f"\n{domain} ({data.name})")
        with console() as progress:
            layers = () if args.no_layers else LAYERS
            read = Reader(model, domain, data, args.cache, layers, progress)
            row: dict[str, Any] = {}
            if layers:
                print(f" layers{'mean':>14}{'last':>25}{'both':>25}")
                row["layers"] = layers_table(read)
            print(" heads")
            row["heads"], fits = heads_table(read, domain)
        everything = fits[f"{domain} (all prompts)"]
        print(" leak")
        row["leak"] = leak(read, domain, everything.ridge)
        print(" learning (prompts: accuracy)")
        row["learning"] = learning(read, domain, everything.ridge)
        if args.ship:
            heads = [ship(fits[name], name, read, args.ship) for name in (domain, f"{domain}-gold")]
            print(" sanity")
            row["sanity"] = {head.name: sanity(head) for head in heads}
            print(" batch")
            row["batch"] = {head.name: batch(head, read.pairs) for head in heads}
        found[domain] = row
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
