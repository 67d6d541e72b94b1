"""Everything that is looked at: one column of values for each behaviour and condition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.features.boilerplate import stock_columns
from custodes.diff.features.clusters import cluster_columns
from custodes.diff.features.conditions import Conditions, find_conditions
from custodes.diff.features.embedding import embed
from custodes.diff.features.indicators import Column, Columns, join, without_duplicates
from custodes.diff.features.lexical import end_columns, feature_columns
from custodes.diff.features.phrases import phrase_columns
from custodes.diff.features.sentences import read_parts
from custodes.diff.features.style import count_columns, style_columns
from custodes.diff.features.text import read_corpus
from custodes.diff.features.word_clusters import meaning_columns
from custodes.diff.inference.randomization import Design, Relabelings, SignFlips
from custodes.diff.responses import Aligned
from custodes.models.base import Array

__all__ = ["FAMILIES", "LEAST", "SHARES", "Hypotheses", "averaging", "build"]

# Families, and how the error budget is shared among them: more where a planted change of the
# development set was mostly found. Fixed beforehand, so that the shares cost nothing else.
SHARES = {
    "behaviour": 2.0,
    "style": 1.0,
    "count": 0.5,
    "word": 1.0,
    "phrase": 1.0,
    "long phrase": 1.5,
    "cluster": 1.0,
    "meaning": 1.0,
    "condition": 0.5,
}
FAMILIES = tuple(SHARES)
# Fewer discordant prompts than this cannot be significant at any usual rate: 2 * 2**-8 = .008.
LEAST = 8
# Behaviours under a condition must leave room for one: discordant prompts, share of the prompts.
LEAST_CONDITIONAL = 12
CONDITION_SHARES = (0.08, 0.5)
MOST_CONDITIONS = 50
MOST_CONDITIONAL = 400


@dataclass(frozen=True)
class Hypotheses:
    """What is tested, and the test.

    Attributes:
        columns: The behaviours; each response shows one or does not.
        rates_a: Mean of A's responses for each prompt, CSC, shape (prompts, behaviours).
        rates_b: The same for B.
        conditions: All conditions on the prompt that were considered.
        behaviour: Behaviour of each hypothesis, shape (hypotheses,).
        condition: Condition of each hypothesis, -1 for all prompts, shape (hypotheses,).
        family: Index into ``FAMILIES``, shape (hypotheses,).
        design: The randomisation test.
        embedded: Embeddings of the responses, shape (responses, d).
        paired: Whether each prompt has responses of both sides.
    """

    columns: Columns
    rates_a: sparse.csc_matrix
    rates_b: sparse.csc_matrix
    conditions: Conditions
    behaviour: NDArray[np.intp]
    condition: NDArray[np.intp]
    family: NDArray[np.intp]
    design: Design
    embedded: Array
    paired: bool

    def members(self, hypothesis: int) -> NDArray[np.bool_]:
        """Return the prompts a hypothesis is about, shape (prompts,)."""
        condition = self.condition[hypothesis]
        if condition < 0:
            return np.ones(self.design.n, np.bool_)
        return self.conditions.hold[:, condition]


def build(aligned: Aligned, seed: int) -> Hypotheses:
    """List all hypotheses; nothing here depends on which side is A and which is B."""
    unit_prompts = list(aligned.prompts)
    embedded = embed(aligned.texts)
    prompt_points = embed(unit_prompts)
    columns = _behaviours(aligned, embedded, prompt_points, seed)
    weights = averaging(aligned)
    rates_a, rates_b = ((w @ columns.shows).tocsc() for w in weights)
    conditions = find_conditions(aligned.ids, unit_prompts, prompt_points, seed)
    values = (rates_b - rates_a if aligned.paired else rates_a + rates_b).tocsc()
    values.eliminate_zeros()
    support = np.diff(values.indptr)
    behaviour, condition, masked = _under_conditions(values, support, columns, conditions)
    plain = np.flatnonzero(support >= LEAST)
    all_values = sparse.hstack([values[:, plain], masked], format="csc", dtype=np.float32)
    family = np.array([FAMILIES.index(columns.columns[j].family) for j in plain], np.intp)
    family = np.concatenate([family, np.full(len(behaviour), len(FAMILIES) - 1, np.intp)])
    condition = np.concatenate([np.full(len(plain), -1, np.intp), condition])
    design: Design
    if aligned.paired:
        design = SignFlips(all_values)
    else:
        masks = np.concatenate([np.ones((aligned.n, 1), bool), conditions.hold], axis=1)
        labels = np.zeros(aligned.n, np.int8)
        labels[aligned.unit[aligned.side == 1]] = 1
        design = Relabelings(all_values, condition + 1, masks, labels)
    return Hypotheses(
        columns,
        rates_a,
        rates_b,
        conditions,
        np.concatenate([plain, behaviour]),
        condition,
        family,
        design,
        embedded,
        aligned.paired,
    )


def _behaviours(aligned: Aligned, embedded: Array, prompts: Array, seed: int) -> Columns:
    asked = [aligned.prompts[u] for u in aligned.unit]
    # Clusters start from some of the texts. Sorted, they start from the same ones whichever side
    # gave them: whose a text is must show in no column.
    order = sorted(range(len(asked)), key=lambda k: (aligned.texts[k], asked[k]))
    texts, asked = [aligned.texts[k] for k in order], [asked[k] for k in order]
    embedded, prompts = embedded[order], prompts[aligned.unit[order]]
    corpus, parts = read_corpus(texts), read_parts(texts)
    columns = join(
        [
            # Of equal columns the first is kept: what can be quoted comes before what cannot.
            feature_columns(texts, asked, corpus),
            end_columns(parts),
            phrase_columns(corpus, LEAST),
            cluster_columns(texts, embedded, parts, LEAST, seed),
            meaning_columns(corpus, seed),
            count_columns(corpus),
            style_columns(texts, corpus, parts, embedded, prompts),
            stock_columns(texts, asked, parts),
        ]
    )
    columns = _rarer_way_round(columns)
    sizes = np.diff(columns.shows.indptr)
    distinct = without_duplicates(columns.take(np.flatnonzero(sizes >= LEAST)), seed)
    return Columns(distinct.columns, distinct.shows[np.argsort(order)])


def _rarer_way_round(columns: Columns) -> Columns:
    """Turn a behaviour that most responses show into its absence, which is what stands out."""
    shows, n = columns.shows, columns.shows.shape[0]
    common = np.flatnonzero(np.diff(shows.indptr) > n / 2)
    if not len(common):
        return columns
    absent = sparse.csc_matrix(1.0 - shows[:, common].toarray(), dtype=np.float32)
    rare = np.setdiff1d(np.arange(shows.shape[1]), common)
    turned = tuple(_absence(columns.columns[j]) for j in common)
    kept = columns.take(rare)
    return join([kept, Columns(turned, absent)])


_BASE_FORMS = {"is": "is not", "has": "does not have", "mixes": "does not mix"}


def _absence(column: Column) -> Column:
    verb, _, rest = column.statement.partition(" ")
    base = _BASE_FORMS.get(verb, f"does not {verb.removesuffix('s')}")
    return replace(column, statement=f"{base} {rest}".rstrip(), pattern="")


def averaging(aligned: Aligned) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return the matrices that take responses to each prompt's mean, of A and of B."""
    return _averaging(aligned, 0), _averaging(aligned, 1)


def _averaging(aligned: Aligned, side: int) -> sparse.csr_matrix:
    docs = np.flatnonzero(aligned.side == side)
    unit = aligned.unit[docs]
    size = np.bincount(unit, minlength=aligned.n)
    return sparse.csr_matrix(
        ((1 / size[unit]).astype(np.float32), (unit, docs)),
        shape=(aligned.n, len(aligned.texts)),
    )


def _under_conditions(
    values: sparse.csc_matrix,
    support: NDArray[np.int32],
    columns: Columns,
    conditions: Conditions,
) -> tuple[NDArray[np.intp], NDArray[np.intp], sparse.csc_matrix]:
    """Choose pairs of a behaviour and a condition, by how much there is to see in them.

    The choice rests on totals that a relabelling leaves as they are.
    """
    share = conditions.hold.mean(axis=0) if len(conditions.hold) else np.zeros(0)
    low, high = CONDITION_SHARES
    usable = np.flatnonzero((share >= low) & (share <= high))[:MOST_CONDITIONS]
    # Behaviours that nearly never occur show as clearly without the condition as with it.
    chosen = np.flatnonzero(support >= 2 * LEAST_CONDITIONAL)
    kind = np.array([columns.columns[j].kind != "phrase" for j in chosen], bool)
    chosen = chosen[np.lexsort((-support[chosen], ~kind))][:MOST_CONDITIONAL]
    behaviour: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    condition: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    parts = [sparse.csc_matrix((values.shape[0], 0), dtype=np.float32)]
    rows = values[:, chosen].tocsr()
    for c in usable:
        part = sparse.diags(conditions.hold[:, c].astype(np.float32)) @ rows
        part = part.tocsc()
        part.eliminate_zeros()
        inside = np.diff(part.indptr)
        enough = np.flatnonzero(inside >= LEAST_CONDITIONAL)
        behaviour.append(chosen[enough])
        condition.append(np.full(len(enough), c, np.intp))
        parts.append(part[:, enough])
    return (
        np.concatenate(behaviour),
        np.concatenate(condition),
        sparse.hstack(parts, format="csc", dtype=np.float32),
    )
