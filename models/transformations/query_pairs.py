"""Queries that both models embedded, learned from beside the items, where that helps what is pushed into queries.

A model may embed queries otherwise than items, and people ask other things than items say. A log of queries in vectors
of both models shows how they cross, whatever answers them. Whether a transformation should learn from them as well is
measured: on queries and items that it has not learned from, by how many of those items it finds that full re-embedding
would find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Floats, RowNumbers
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.retrieval_metrics import NEIGHBOURS, recall_at_k, top_k
from models.portable import Distance, Transformation, as_indexed
from models.transformations.pairs import Pairs, Refit

FEWEST_QUERIES = 50
FOLDS = 3


@dataclass(frozen=True)
class QueryPairsResult:
    """What held-out queries, pushed, find of held-out items that full re-embedding would find; intervals of 95 %, from
    0 to 1.

    queries: that were tried; without: by a transformation that learned from items alone; beside: by one that learned
    from queries as well; gain: of the second over the first; helps: whether it is above 0 beyond doubt.
    """

    queries: int
    metric: str
    without: Interval
    beside: Interval
    gain: Interval
    helps: bool


def items_and_queries(items: Pairs, queries: Pairs) -> Pairs:
    """Both as one, without side-information; the queries have no label."""
    label = None
    if items.label is not None:
        label = np.concatenate([items.label.astype(object), np.full(len(queries), None, object)])
    return Pairs(np.concatenate([items.old, queries.old]), np.concatenate([items.new, queries.new]), None, label)


def try_query_pairs(items: Pairs, queries: Pairs, refit: Refit, *, seed: int = 0) -> QueryPairsResult | None:
    """Whether to learn from queries as well; None where there are too few of them, or of items, to tell.

    refit: learns what is pushed into queries. In each of three rounds, a third of the items and of the queries are held
    out.
    """
    if len(queries) < FEWEST_QUERIES or len(items) < FOLDS * (NEIGHBOURS + 1):
        return None
    rng = np.random.default_rng(seed)
    item_fold, query_fold = (rng.permutation(len(part)) % FOLDS for part in (items, queries))
    without, beside = np.empty(len(queries)), np.empty(len(queries))
    for fold in range(FOLDS):
        asked = np.flatnonzero(query_fold == fold)
        held_out, test = items.subset(np.flatnonzero(item_fold == fold)), queries.subset(asked)
        learned = items.subset(np.flatnonzero(item_fold != fold)).without_side()
        others = queries.subset(np.flatnonzero(query_fold != fold))
        without[asked] = _found(refit(learned), held_out, test)
        beside[asked] = _found(refit(items_and_queries(learned, others)), held_out, test)
    gain = paired_bootstrap(beside, without, seed=seed)
    return QueryPairsResult(
        len(queries),
        f"recall@{NEIGHBOURS}",
        bootstrap_mean(without, seed=seed),
        bootstrap_mean(beside, seed=seed),
        gain,
        gain.low > 0,
    )


def _found(h: Transformation, items: Pairs, queries: Pairs) -> Floats:
    """What share of the items that new queries find by new vectors they find pushed into old ones: (m,)."""
    pushed = h.push(queries.new)
    score: Distance = pushed.score
    truth: RowNumbers = top_k(queries.new, items.new, NEIGHBOURS, h.card.target.metric)
    answers = top_k(pushed.queries, as_indexed(items.old, h.card.source.metric), NEIGHBOURS, score)
    return recall_at_k(answers, truth)
