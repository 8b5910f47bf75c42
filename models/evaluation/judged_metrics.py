"""Retrieval metrics by graded relevance: nDCG, MRR, recall, precision, hit rate and MAP.

Values are those of trec_eval, over the whole ranking of the gallery: an item that was not judged counts as not
relevant; so does one with a grade of 0 or less; precision@k divides by k however few items there are; the gain of nDCG
is the grade itself, discounted by log2(rank + 1). Equal scores are ordered as a search orders them, by gallery row
(trec_eval orders them by id). Everything follows from the ranks of the judged items alone, which are counted a block of
queries at a time, so that no ranking is ever kept.

Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 8; Järvelin and
Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, RowNumbers
from models.evaluation.score_blocks import for_each_block
from models.portable import Array, Distance

JudgedMetricName = Literal["ndcg", "mrr", "recall", "precision", "hit_rate", "map"]

_NAME = re.compile(r"(ndcg|mrr|recall|precision|hit_rate)@([1-9][0-9]{0,3})|map")
_SORTED_FROM = 8  # judged items of one query: for fewer, counting what is ahead of each is faster than sorting


@dataclass(frozen=True)
class JudgedMetric:
    """A metric and its cut-off k; `map` has none, 0."""

    name: JudgedMetricName
    k: int = 0

    def __str__(self) -> str:
        return f"{self.name}@{self.k}" if self.k else self.name

    @classmethod
    def parsed(cls, text: str) -> JudgedMetric:
        """`ndcg@10`, `mrr@10`, `recall@100`, `precision@5`, `hit_rate@1`, `map`; else raises ValueError."""
        if (match := _NAME.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is no metric of judged queries")
        return cls("map") if match[1] is None else cls(cast("JudgedMetricName", match[1]), int(match[2]))


@dataclass(frozen=True)
class Judgements:
    """p judgements of items for `queries` queries, those of one query together and in the order of the queries.

    query: (p,) int64, which query; row: (p,) int64, the gallery row judged, once for each query; grade: (p,) float64,
    above 0 where it is relevant. Raises ValueError where the lengths differ or the queries are out of order.
    """

    queries: int
    query: RowNumbers
    row: RowNumbers
    grade: Floats

    def __post_init__(self) -> None:
        if not len(self.query) == len(self.row) == len(self.grade):
            raise ValueError("every judgement has a query, a row and a grade")
        bounds = np.concatenate([[0], self.query, [max(self.queries - 1, 0)]])
        if (np.diff(bounds) < 0).any():
            raise ValueError(f"judgements are in the order of their queries, which are 0 to {self.queries - 1}")

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Which judgements say that the item is relevant: (p,) bool."""
        return self.grade > 0

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """Which queries have a relevant item in the gallery: (m,) bool. No other query is counted by any metric."""
        return np.bincount(self.query[self.relevant], minlength=self.queries) > 0

    @property
    def best_row(self) -> RowNumbers:
        """The gallery row that answers each query best, of equal grades the first named: (m,) int64, -1 for none."""
        best = np.full(self.queries, -1, np.int64)
        relevant = np.flatnonzero(self.relevant)
        order = relevant[np.lexsort((-relevant, self.grade[relevant], self.query[relevant]))]
        best[self.query[order]] = self.row[order]  # what is written last stays
        return best


@dataclass(frozen=True)
class JudgedRanks:
    """Where a search ranks the judged items: rank (p,) int64, from 1, among `gallery_rows` rows."""

    judgements: Judgements
    rank: RowNumbers
    gallery_rows: int

    def values(self, metric: JudgedMetric) -> Floats:
        """Every query's value: (m,) float64, NaN for a query without a relevant item in the gallery."""
        values = _OF[metric.name](self, metric.k)
        return np.where(self.judgements.answerable, values, np.nan)

    def unjudged(self, k: int) -> Floats:
        """The share of unjudged items among the first k answers to every query: (m,) float64, NaN as in `values`."""
        shown = min(k, self.gallery_rows)
        judged = self._summed(np.ones(len(self.rank)), self.rank <= k)
        return np.where(self.judgements.answerable, 1 - judged / shown, np.nan)

    def _summed(self, worth: Floats, counted: NDArray[np.bool_]) -> Floats:
        """The sum of `worth` (p,) over the judgements `counted` (p,) of every query: (m,)."""
        query = self.judgements.query[counted]
        return np.bincount(query, worth[counted], minlength=self.judgements.queries).astype(np.float64)

    def _found(self, k: int) -> Floats:
        """How many relevant items are among the first k: (m,)."""
        return self._summed(np.ones(len(self.rank)), self.judgements.relevant & (self.rank <= k))

    def _relevant(self) -> Floats:
        """How many relevant items there are, 1 where there are none, to divide by: (m,)."""
        return np.maximum(self._summed(np.ones(len(self.rank)), self.judgements.relevant), 1)

    def _ndcg(self, k: int) -> Floats:
        grade, relevant = self.judgements.grade, self.judgements.relevant
        gained = self._summed(grade / np.log2(self.rank + 1.0), relevant & (self.rank <= k))
        place = _places(self.judgements.query, -grade)  # relevant items come first, the best first of all
        ideal = self._summed(grade / np.log2(place + 2.0), relevant & (place < k))
        return np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0)

    def _mrr(self, k: int) -> Floats:
        first = np.full(self.judgements.queries, np.inf)
        relevant = self.judgements.relevant
        np.minimum.at(first, self.judgements.query[relevant], self.rank[relevant])
        return np.where(first <= k, 1 / first, 0.0)

    def _recall(self, k: int) -> Floats:
        return self._found(k) / self._relevant()

    def _precision(self, k: int) -> Floats:
        return self._found(k) / k

    def _hit_rate(self, k: int) -> Floats:
        return (self._found(k) > 0).astype(np.float64)

    def _map(self, _: int) -> Floats:
        relevant = self.judgements.relevant
        query, rank = self.judgements.query[relevant], self.rank[relevant]
        precision = (_places(query, rank) + 1) / rank
        total = np.bincount(query, precision, minlength=self.judgements.queries)
        return total / self._relevant()


_OF: dict[JudgedMetricName, Callable[[JudgedRanks, int], Floats]] = {
    "ndcg": JudgedRanks._ndcg,
    "mrr": JudgedRanks._mrr,
    "recall": JudgedRanks._recall,
    "precision": JudgedRanks._precision,
    "hit_rate": JudgedRanks._hit_rate,
    "map": JudgedRanks._map,
}


def judged_ranks(queries: Array, gallery: Array, metric: Distance, judgements: Judgements) -> JudgedRanks:
    """Where each judged item ranks for its query among all gallery rows.

    queries: (m, d), gallery: (n, d) float32. Raises ValueError where the judgements are of other queries or rows.
    """
    if judgements.queries != len(queries):
        raise ValueError(f"judgements are of {judgements.queries} queries, the search has {len(queries)}")
    if len(judgements.row) and not 0 <= judgements.row.min() <= judgements.row.max() < len(gallery):
        raise ValueError(f"judgements name rows that the gallery of {len(gallery)} rows has not")
    rank = np.zeros(len(judgements.row), np.int64)
    bounds = np.searchsorted(judgements.query, np.arange(len(queries) + 1))

    def take(rows: RowNumbers, scores: Array) -> None:
        for query, row in zip(rows.tolist(), scores, strict=True):
            own = slice(bounds[query], bounds[query + 1])
            rank[own] = ranks_among(row, judgements.row[own])

    for_each_block(take, queries, gallery, metric, None)
    return JudgedRanks(judgements, rank, len(gallery))


def ranks_among(scores: Array, columns: RowNumbers) -> RowNumbers:
    """The ranks of some columns (j,) among all scores (n,), from 1; of equal scores the earlier column is ahead."""
    values = scores[columns]
    if len(columns) < _SORTED_FROM:
        ahead = np.array([np.count_nonzero(scores > value) for value in values], np.int64)
        tied = np.ones(len(columns), bool)
    else:
        ordered = np.sort(scores)
        above = np.searchsorted(ordered, values, side="right")
        ahead = len(scores) - above
        tied = above - np.searchsorted(ordered, values, side="left") > 1
    for place in np.flatnonzero(tied).tolist():
        ahead[place] += np.count_nonzero(scores[: columns[place]] == values[place])
    return ahead + 1


def _places(query: RowNumbers, key: Sequence[float] | NDArray[np.generic]) -> RowNumbers:
    """The place of each entry, from 0, among those of its query by ascending `key` (p,): (p,) int64."""
    order = np.lexsort((np.asarray(key), query))
    place = np.empty(len(query), np.int64)
    place[order] = np.arange(len(query)) - np.searchsorted(query, query)
    return place
