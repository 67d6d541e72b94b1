"""The comparison of the models on held-out prompts, by judges that no stage has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from custodes.constitution.comparisons import Comparison
from custodes.constitution.context import HELPFULNESS, AlignRun, StageResult, build_scorer
from custodes.constitution.ranking import Ranking, rank
from custodes.constitution.stages.answers import (
    AGAIN,
    CONSTITUTION,
    HELP,
    LOOK_ALIKES,
    Answer,
    Answers,
    diffs,
    examples,
    read_twin,
    write_responses,
)
from custodes.constitution.stages.claims import claims_of, evaluation_controls
from custodes.control import Control
from custodes.conversation import Query
from custodes.data.datasets import read_prompts
from custodes.errors import DataError
from custodes.experts.judges.order_swap import wilson
from custodes.experts.refusal import stance
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive
from custodes.statistics import Interval, bootstrap_mean

__all__ = [
    "compare_models",
    "held_out_answers",
    "held_out_prompts",
    "preferences_between",
    "win_rate",
]


def compare_models(run: AlignRun) -> StageResult:
    """Answer the held-out prompts with every checkpoint, and compare the answers.

    Leaves data/held_out.jsonl: ``model``, ``checkpoint``, ``set``, ``id``, ``prompt``,
    ``response``, ``score``, ``raw``; and data/responses-MODEL.jsonl, for `custodes diff`.

    Raises:
        DataError: There are too few held-out prompts.
        RunError: The folder of the twin has no answers.
    """
    sets = held_out_prompts(run)
    models = _models(run)
    if len(models) < 2:
        raise DataError(
            "there is no trained model to compare with the base", "run the stage sl or rl first"
        )
    answers: dict[str, dict[str, list[Answer]]] = {}
    seed = derive(run.config.seed, "report")
    for name, checkpoint in models.items():
        answers[name] = held_out_answers(run, name, checkpoint, sets, seed)
    again = derive(run.config.seed, "report", "again")
    answers[AGAIN] = held_out_answers(run, AGAIN, models["base"], sets, again)
    data = run.write("held_out", [
        {
            "model": name,
            "checkpoint": models[name].number if name in models else 0,
            "set": part,
            **{"response" if key == "text" else key: value for key, value in asdict(one).items()},
        }
        for name, parts in answers.items()
        for part, rows in parts.items()
        for one in rows
    ])  # fmt: skip
    write_responses(run, answers)
    twins = read_twin(run)
    everybody: Answers = {**answers, **twins}
    rankings = {part: _ranking(everybody, part, seed) for part in (CONSTITUTION, HELP)}
    wins = {part: _wins(everybody, part) for part in (CONSTITUTION, HELP)}
    facts: dict[str, Any] = {
        "models": [_row(name, parts, models.get(name)) for name, parts in everybody.items()],
        "rankings": {part: ranking_rows(ranking) for part, ranking in rankings.items()},
        "wins": wins,
        "claims": [asdict(claim) for claim in claims_of(wins, everybody)],
        "diffs": diffs(answers, twins, seed),
        "examples": examples(everybody, run.config.report.examples),
        "judges": _judges(run),
        "data": data,
    }
    return StageResult(facts, _controls(run, sets, answers, wins))


def _models(run: AlignRun) -> dict[str, Checkpoint]:
    """Name the checkpoints: base, sl, rl (or rl 1, rl 2…) and sham."""
    models = {}
    for event in run.folder.log.of("checkpoint"):
        checkpoint = Checkpoint.from_event(event, run.folder.path)
        models[_name(run, checkpoint)] = checkpoint
    return models


def _name(run: AlignRun, checkpoint: Checkpoint) -> str:
    if checkpoint.number < 2:
        return ("base", "sl")[checkpoint.number]
    kind = "sham" if checkpoint.intervention.startswith("sham:") else "rl"
    number = checkpoint.intervention.rpartition(":")[2]
    return f"{kind} {number}" if run.config.rl.rounds > 1 else kind


def held_out_prompts(run: AlignRun) -> dict[str, list[Query]]:
    """Return the prompts of each set: the constitution's, requests for help, and look-alikes.

    Raises:
        DataError: A set has fewer than 2 prompts.
    """
    options, topics = run.config.report, run.constitution.topics
    own = [
        query
        for query in read_prompts(options.source, domain="", split="gold")
        if not topics or query.topic in topics or not query.topic
    ]
    helpful = read_prompts(options.helpful, domain=HELPFULNESS, split="gold")
    sets = {CONSTITUTION: _spread(own, options.prompts), HELP: helpful[: options.prompts]}
    if options.look_alikes:
        rows = read_prompts("look_alikes", domain="", split="gold")
        sets[LOOK_ALIKES] = rows[: options.look_alikes]
    for part, queries in sets.items():
        if len(queries) < 2:
            raise DataError(f"there are {len(queries)} held-out prompts for {part}", "name others")
    return sets


def _spread(queries: Sequence[Query], count: int) -> list[Query]:
    """Take the same number of each topic, the first ones."""
    by_topic: dict[str, list[Query]] = {}
    for query in queries:
        by_topic.setdefault(query.topic, []).append(query)
    places = [(i, k) for k, rows in enumerate(by_topic.values()) for i in range(len(rows))]
    rows = list(by_topic.values())
    return [rows[k][i] for i, k in sorted(places)[:count]]


def held_out_answers(
    run: AlignRun, name: str, checkpoint: Checkpoint, sets: Mapping[str, list[Query]], seed: int
) -> dict[str, list[Answer]]:
    """Answer each set and score the answers."""
    out = {}
    for part, queries in sets.items():
        purpose = f"report-{name.replace(' ', '-')}-{part}"
        texts = [row[0] for row in run.samples(purpose, checkpoint, queries, 1, derive(seed, part))]
        raw: list[float | None] = [None] * len(queries)
        score: list[float | None] = [None] * len(queries)
        if part == HELP:
            raw = [*_scores(run, f"{purpose}-scores", HELPFULNESS, queries, texts)]
            score = raw
        elif part == CONSTITUTION:
            for domain in run.constitution.measures:
                own = [i for i, q in enumerate(queries) if _judged_by(run, q) == domain]
                asked, said = [queries[i] for i in own], [texts[i] for i in own]
                for i, value in zip(
                    own, _scores(run, f"{purpose}-{domain}", domain, asked, said), strict=True
                ):
                    toward = run.constitution.of(queries[i].topic)[0].toward
                    raw[i], score[i] = value, value if toward == "more" else -value
        out[part] = [
            Answer(q.id, q.text, text, s, r)
            for q, text, s, r in zip(queries, texts, score, raw, strict=True)
        ]
    return out


def _judged_by(run: AlignRun, query: Query) -> str:
    own = run.constitution.of(query.topic)
    return own[0].measure if own else ""


def _scores(
    run: AlignRun, purpose: str, domain: str, queries: Sequence[Query], texts: Sequence[str]
) -> list[float]:
    scorer = build_scorer(run.config, domain)
    items = [[list(query.chat), text] for query, text in zip(queries, texts, strict=True)]

    def call(batch: Sequence[Any], _: int) -> list[Any]:
        asked = [Query(str(i), tuple(chat)) for i, (chat, _) in enumerate(batch)]
        logits = scorer.logits(asked, [text for _, text in batch])
        return [round(float(value), 4) for value in logits]

    return run.replies.batches(purpose, [scorer.version], items, 0, call, size=128)


# Comparisons


def preferences_between(
    first: Sequence[Answer], second: Sequence[Answer]
) -> list[tuple[str, float]]:
    """Say by prompt which of two models answered better: 1, 0, or 0.5 for a tie."""
    other = {one.id: one.score for one in second}
    out = []
    for one in first:
        score = other.get(one.id)
        if one.score is not None and score is not None:
            out.append((one.id, 0.5 * (np.sign(one.score - score) + 1)))
    return [(key, float(value)) for key, value in out]


def win_rate(first: Sequence[Answer], second: Sequence[Answer]) -> Interval:
    """Return the share of prompts on which the first model answers better, ties counting half."""
    return bootstrap_mean([value for _, value in preferences_between(first, second)])


def _wins(answers: Answers, part: str) -> list[dict[str, Any]]:
    rows = []
    for one, two in combinations(answers, 2):
        shared = preferences_between(answers[two][part], answers[one][part])
        if len(shared) >= 2:
            rate = bootstrap_mean([value for _, value in shared])
            rows.append(
                {
                    "model": two,
                    "against": one,
                    "rate": round(rate.mean, 4),
                    "ci95": [round(rate.low, 4), round(rate.high, 4)],
                    "prompts": rate.n,
                }
            )
    return rows


def _ranking(answers: Answers, part: str, seed: int) -> Ranking | None:
    """Rank the models; None where no answer has a score."""
    comparisons = [
        Comparison(prompt, one, two, value)
        for one, two in combinations([name for name in answers if name != AGAIN], 2)
        for prompt, value in preferences_between(answers[one][part], answers[two][part])
    ]
    return rank(comparisons, seed=derive(seed, "rank")) if comparisons else None


def ranking_rows(ranking: Ranking | None) -> list[dict[str, Any]]:
    """Return a ranking JSON-ready, the best first."""
    if ranking is None:
        return []
    return [
        {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(one).items()
        }
        for one in ranking.standings
    ]


def _row(
    name: str, parts: Mapping[str, Sequence[Answer]], checkpoint: Checkpoint | None
) -> dict[str, Any]:
    """Describe a model: where it is in the plane, how often it refuses, how long it answers."""
    row: dict[str, Any] = {"model": name, "checkpoint": checkpoint and checkpoint.number}
    for part, answers in parts.items():
        scores = [one.raw for one in answers if one.raw is not None]
        if len(scores) > 1:
            mean = bootstrap_mean(scores)
            row[part] = {
                "score": round(mean.mean, 4),
                "ci95": [round(mean.low, 4), round(mean.high, 4)],
                "n": mean.n,
            }
        refused = wilson(sum(stance(one.text).refusal >= 2 for one in answers), len(answers))
        row[f"refusals_{part}"] = {
            "share": round(refused.mean, 4),
            "ci95": [round(refused.low, 4), round(refused.high, 4)],
            "n": refused.n,
        }
        row[f"words_{part}"] = round(float(np.mean([len(one.text.split()) for one in answers])), 2)
    return row


# Judges and controls


def _judges(run: AlignRun) -> list[dict[str, str]]:
    domains = [*run.constitution.measures, HELPFULNESS]
    return [
        {"domain": domain, "judge": scorer.name, "version": scorer.version}
        for domain in dict.fromkeys(domains)
        for scorer in [build_scorer(run.config, domain)]
    ]


def _controls(
    run: AlignRun,
    sets: Mapping[str, list[Query]],
    answers: Answers,
    wins: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[Control]:
    domains = list(dict.fromkeys([*run.constitution.measures, HELPFULNESS]))
    training = {domain: run.expert(domain).version for domain in domains}
    judges = {domain: build_scorer(run.config, domain).version for domain in domains}
    asked = [query.text for queries in sets.values() for query in queries]
    return evaluation_controls(
        training=training,
        judges=judges,
        held_out=asked,
        trained_on=_trained_on(run),
        answers=answers,
        wins=wins,
    )


def _trained_on(run: AlignRun) -> list[str]:
    """List the prompts of every data file that a training has seen."""
    texts = []
    for path in sorted((run.folder.path / "data").glob("*.jsonl")):
        if path.name.startswith(("held_out", "responses")):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            prompt = row.get("prompt", row.get("messages"))
            if isinstance(prompt, list):
                prompt = next(m["content"] for m in prompt if m["role"] == "user")
            texts.append(str(prompt))
    return list(dict.fromkeys(texts))
