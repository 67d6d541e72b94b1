"""Hypotheses: every behaviour, and the commoner ones under conditions on the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.features.boilerplate import boilerplate_indicators
from custodes.diff.features.clusters import cluster_indicators
from custodes.diff.features.conditions import Conditions, find_conditions
from custodes.diff.features.embedding import embed
from custodes.diff.features.indicators import Indicators, join, without_duplicates
from custodes.diff.features.lexical import lexical_indicators, sentence_end_indicators
from custodes.diff.features.phrases import phrase_indicators
from custodes.diff.features.sentences import read_sentences
from custodes.diff.features.style import count_indicators, style_indicators, style_values
from custodes.diff.features.text import read_corpus
from custodes.diff.features.word_clusters import word_cluster_indicators
from custodes.diff.inference.randomization import Design, Relabelings, SignFlips
from custodes.diff.responses import Aligned
from custodes.models.base import Array

__all__ = ["FAMILIES", "LEAST", "SHARES", "Hypotheses", "averaging", "build"]

# Families, and how they share the error budget: more for those that found most of the changes
# planted in the development set. The shares are fixed beforehand, so they cost nothing else.
SHARES = {
    "behaviour": 2.0,
    "style": 1.0,
    "count": 0.5,
    "word": 1.0,
    "phrase": 1.0,
    "long phrase": 1.5,
    "cluster": 1.0,
    "word cluster": 1.0,
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
        indicators: The behaviours, and which responses show them.
        rates_a: Mean of A's responses for each prompt, CSC, shape (prompts, behaviours).
        rates_b: The same for B.
        conditions: All conditions on the prompt that were considered.
        behaviour: Behaviour of each hypothesis, shape (hypotheses,).
        condition: Condition of each hypothesis, -1 for all prompts, shape (hypotheses,).
        family: Index into ``FAMILIES``, shape (hypotheses,).
        design: The randomisation test.
        embedded: Embeddings of the responses, shape (responses, d).
        paired: Whether each prompt has responses of both sides.
        styles: Values of each measure of style, shape (responses,) each.
    """

    indicators: Indicators
    rates_a: sparse.csc_matrix
    rates_b: sparse.csc_matrix
    conditions: Conditions
    behaviour: NDArray[np.intp]
    condition: NDArray[np.intp]
    family: NDArray[np.intp]
    design: Design
    embedded: Array
    paired: bool
    styles: Mapping[str, NDArray[np.float32]]

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
    indicators, styles = _behaviours(aligned, embedded, prompt_points, seed)
    weights = averaging(aligned)
    rates_a, rates_b = ((w @ indicators.shows).tocsc() for w in weights)
    conditions = find_conditions(aligned.ids, unit_prompts, prompt_points, seed)
    values = (rates_b - rates_a if aligned.paired else rates_a + rates_b).tocsc()
    values.eliminate_zeros()
    support = np.diff(values.indptr)
    behaviour, condition, masked = _under_conditions(values, support, indicators, conditions)
    plain = np.flatnonzero(support >= LEAST)
    all_values = sparse.hstack([values[:, plain], masked], format="csc", dtype=np.float32)
    family = np.array([FAMILIES.index(indicators.items[j].family) for j in plain], np.intp)
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
        indicators=indicators,
        rates_a=rates_a,
        rates_b=rates_b,
        conditions=conditions,
        behaviour=np.concatenate([plain, behaviour]),
        condition=condition,
        family=family,
        design=design,
        embedded=embedded,
        paired=aligned.paired,
        styles=styles,
    )


def _behaviours(
    aligned: Aligned, embedded: Array, prompt_points: Array, seed: int
) -> tuple[Indicators, dict[str, NDArray[np.float32]]]:
    """Return all behaviours, and the measures of style, by response."""
    prompts = [aligned.prompts[u] for u in aligned.unit]
    # Clustering starts from some of the texts. In sorted order these are the same texts whichever
    # side they came from: no indicator may depend on the sides.
    order = sorted(range(len(prompts)), key=lambda k: (aligned.texts[k], prompts[k]))
    texts, prompts = [aligned.texts[k] for k in order], [prompts[k] for k in order]
    embedded, prompt_points = embedded[order], prompt_points[aligned.unit[order]]
    corpus, sentences = read_corpus(texts), read_sentences(texts)
    styles = style_values(texts, corpus, sentences, embedded, prompt_points)
    indicators = join(
        [
            # Of equal indicators the first is kept: those that can be highlighted come first.
            lexical_indicators(texts, prompts, corpus),
            sentence_end_indicators(sentences),
            phrase_indicators(corpus, LEAST),
            cluster_indicators(texts, embedded, sentences, LEAST, seed),
            word_cluster_indicators(corpus, seed),
            count_indicators(corpus),
            style_indicators(styles, corpus.n),
            boilerplate_indicators(texts, prompts, sentences),
        ]
    )
    indicators = _negate_common(indicators)
    sizes = np.diff(indicators.shows.indptr)
    distinct = without_duplicates(indicators.take(np.flatnonzero(sizes >= LEAST)), seed)
    back = np.argsort(order)
    return Indicators(distinct.items, distinct.shows[back]), {
        name: values[back].astype(np.float32) for name, values in styles.items()
    }


def _negate_common(indicators: Indicators) -> Indicators:
    """Replace a behaviour that most responses show by its absence, which is sparser."""
    shows, n = indicators.shows, indicators.shows.shape[0]
    common = np.flatnonzero(np.diff(shows.indptr) > n / 2)
    if not len(common):
        return indicators
    absent = sparse.csc_matrix(1.0 - shows[:, common].toarray(), dtype=np.float32)
    rare = np.setdiff1d(np.arange(shows.shape[1]), common)
    absences = tuple(replace(indicators.items[j], absent=True) for j in common)
    return join([indicators.take(rare), Indicators(absences, absent)])


def averaging(aligned: Aligned) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return the matrices that average the responses to each prompt, of A and of B."""
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
    indicators: Indicators,
    conditions: Conditions,
) -> tuple[NDArray[np.intp], NDArray[np.intp], sparse.csc_matrix]:
    """Choose pairs of a behaviour and a condition, the most discordant prompts first.

    The choice depends only on totals that a relabelling does not change.

    Returns:
        Behaviour and condition of each pair, and its values by prompt.
    """
    share = conditions.hold.mean(axis=0) if len(conditions.hold) else np.zeros(0)
    low, high = CONDITION_SHARES
    usable = np.flatnonzero((share >= low) & (share <= high))[:MOST_CONDITIONS]
    # A condition makes a very rare behaviour no clearer.
    frequent = np.flatnonzero(support >= 2 * LEAST_CONDITIONAL)
    general = np.array([indicators.items[j].kind != "phrase" for j in frequent], bool)
    frequent = frequent[np.lexsort((-support[frequent], ~general))][:MOST_CONDITIONAL]
    behaviour: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    condition: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    parts = [sparse.csc_matrix((values.shape[0], 0), dtype=np.float32)]
    rows = values[:, frequent].tocsr()
    for c in usable:
        part = sparse.diags(conditions.hold[:, c].astype(np.float32)) @ rows
        part = part.tocsc()
        part.eliminate_zeros()
        inside = np.diff(part.indptr)
        enough = np.flatnonzero(inside >= LEAST_CONDITIONAL)
        behaviour.append(frequent[enough])
        condition.append(np.full(len(enough), c, np.intp))
        parts.append(part[:, enough])
    return (
        np.concatenate(behaviour),
        np.concatenate(condition),
        sparse.hstack(parts, format="csc", dtype=np.float32),
    )
