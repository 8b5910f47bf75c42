"""Retrieval metrics: CMC, average precision, recall@k and flips, computed exactly and in bounded memory.

Where a query is itself in the gallery, `exclude` names its row, which is then not found. Scores are float32, higher is
nearer, and equal scores are ordered by gallery row, so that every result is deterministic. They are computed in blocks
(`models.evaluation.score_blocks`); ranks are counted rather than sorted out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import Codes, Floats32, Labels, RowNumbers
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.score_blocks import for_each_block
from models.portable import Distance

__all__ = [
    "Distance",
    "Flips",
    "Interval",
    "LabelMetrics",
    "average_precision",
    "bootstrap_mean",
    "cmc",
    "flips",
    "label_metrics",
    "labelled_rows",
    "metrics_of_ranks",
    "paired_bootstrap",
    "ranks_of_first_match",
    "recall_at_k",
    "top_k",
]


Ranks = NDArray[np.int64]
"""(m,) the 1-based rank of the first gallery row with the query's label, `NO_MATCH` where there is none."""

RetrievalMetric = Literal["cmc@1", "cmc@5", "map", "recall@10"]
"""How good a search is: the first three by label, the last by the neighbours that full re-embedding would find."""

METRICS: tuple[RetrievalMetric, ...] = ("cmc@1", "cmc@5", "map", "recall@10")
BY_LABEL: tuple[RetrievalMetric, ...] = ("cmc@1", "cmc@5", "map")

NO_MATCH = -1

NEIGHBOURS = 10
"""The k of recall@k wherever it is measured."""


@dataclass(frozen=True)
class Flips:
    """Of `total` queries, `negative` were answered right before and wrong after, `positive` the other way round."""

    negative: int
    positive: int
    total: int


@dataclass(frozen=True)
class LabelMetrics:
    """Every query's metrics. ranks: (m,) of the first match; average_precision: (m,) float64, NaN without a match."""

    ranks: Ranks
    average_precision: NDArray[np.float64]


def top_k(
    queries: Floats32, gallery: Floats32, k: int, metric: Distance, exclude: RowNumbers | None = None
) -> RowNumbers:
    """The k nearest gallery rows of every query, nearest first: (m, k) int64, -1 where the gallery holds fewer.

    queries: (m, d); gallery: (n, d); exclude: (m,) or (m, e) gallery rows that each query must not find (its own entry,
    and rows that a real query would not meet), -1 for none.
    """
    nearest = np.full((len(queries), k), -1, np.int64)
    width = min(k, len(gallery))
    if width == 0:
        return nearest

    def take(rows: RowNumbers, scores: Floats32) -> None:
        threshold = np.partition(scores, len(gallery) - width, axis=1)[:, len(gallery) - width]
        row, column = np.nonzero(scores >= threshold[:, None])
        value = scores[row, column]
        order = np.lexsort((column, -value, row))
        row, column, value = row[order], column[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = (place < width) & (value > -np.inf)
        nearest[rows[row[kept]], place[kept]] = column[kept]

    for_each_block(take, queries, gallery, metric, exclude)
    return nearest


def ranks_of_first_match(
    queries: Floats32,
    query_labels: Labels,
    gallery: Floats32,
    gallery_labels: Labels,
    metric: Distance,
    exclude: RowNumbers | None = None,
) -> Ranks:
    """The 1-based rank of the first gallery row with the query's label: (m,) int64, `NO_MATCH` where there is none.

    query_labels: (m,), gallery_labels: (n,) strings or integers; None matches nothing. exclude: (m,) or (m, e) gallery
    rows that each query must not find, -1 for none.
    """
    ranks = np.full(len(queries), NO_MATCH, np.int64)
    matches = _Matches(query_labels, gallery_labels)

    def take(rows: RowNumbers, scores: Floats32) -> None:
        for query, row in zip(rows, scores, strict=True):
            same = matches.of(query)
            if len(same) == 0:
                continue
            first = same[np.argmax(row[same])]
            best = row[first]
            if best > -np.inf:
                ahead = np.count_nonzero(row > best) + np.count_nonzero(row[:first] == best)
                ranks[query] = ahead + 1

    for_each_block(take, queries, gallery, metric, exclude)
    return ranks


def average_precision(
    queries: Floats32,
    query_labels: Labels,
    gallery: Floats32,
    gallery_labels: Labels,
    metric: Distance,
    exclude: RowNumbers | None = None,
) -> NDArray[np.float64]:
    """Average precision of every query over the whole ranking: (m,) float64, NaN where no gallery row has its label.

    The mean over queries is mAP. Arguments as in `ranks_of_first_match`.
    """
    return label_metrics(queries, query_labels, gallery, gallery_labels, metric, exclude).average_precision


def label_metrics(
    queries: Floats32,
    query_labels: Labels,
    gallery: Floats32,
    gallery_labels: Labels,
    metric: Distance,
    exclude: RowNumbers | None = None,
) -> LabelMetrics:
    """`ranks_of_first_match` and `average_precision` from one pass over the scores; arguments as in those.

    A query's scores are sorted as numbers, and its matches' scores looked up among them, which is faster than sorting
    rows. Queries of one label have the same matches and are processed together.
    """
    result = LabelMetrics(np.full(len(queries), NO_MATCH, np.int64), np.full(len(queries), np.nan))
    matches = _Matches(query_labels, gallery_labels)

    def take(rows: RowNumbers, scores: Floats32) -> None:
        bounds = np.flatnonzero(np.diff(matches.label[rows], prepend=-2, append=-2))
        for start, stop in pairwise(bounds.tolist()):
            same = matches.of(rows[start])
            if len(same) == 0:
                continue
            found = metrics_of_ranks(match_ranks(scores[start:stop], same))
            result.ranks[rows[start:stop]] = found.ranks
            result.average_precision[rows[start:stop]] = found.average_precision

    for_each_block(take, queries, gallery, metric, exclude, matches.by_label)
    return result


def metrics_of_ranks(ranks: NDArray[np.int64]) -> LabelMetrics:
    """The metrics of b queries from the ranks of the s rows that match them: (b, s), as `match_ranks` gives them."""
    matched = np.count_nonzero(ranks, axis=1)
    hits = np.arange(1, ranks.shape[1] + 1)
    precision = np.divide(hits, ranks, out=np.zeros(ranks.shape), where=ranks > 0).sum(1)
    mean = np.divide(precision, matched, out=np.full(len(ranks), np.nan), where=matched > 0)
    return LabelMetrics(np.where(matched > 0, ranks[:, 0], NO_MATCH), mean)


def labelled_rows(
    labelled: NDArray[np.bool_], gallery: Floats32, labels: Labels, exclude: RowNumbers | None
) -> tuple[Floats32, Labels, RowNumbers | None]:
    """The gallery (n, d) and its labels (n,) without the rows that are not `labelled`; and `exclude`, (m,) or (m, e),
    with its row numbers changed to those of the remaining gallery, -1 for none."""
    if labelled.all():
        return gallery, labels, exclude
    left = np.append(np.where(labelled, np.cumsum(labelled) - 1, -1), -1)
    return gallery[labelled], labels[labelled], None if exclude is None else left[exclude]


def cmc(ranks: Ranks, k: int) -> NDArray[np.bool_]:
    """Whether the first match is among the top k (cumulative match characteristic): (m,) bool from (m,) ranks."""
    return (ranks >= 1) & (ranks <= k)


def recall_at_k(retrieved: RowNumbers, truth: RowNumbers) -> NDArray[np.float64]:
    """Each query's share of the rows in `truth` that it retrieved: (m,) float64.

    retrieved, truth: (m, k) gallery rows; -1 in `truth` is padding.
    """
    real = truth >= 0
    hits = np.zeros(len(truth))
    for column in range(truth.shape[1]):
        hits += real[:, column] & (retrieved == truth[:, column, None]).any(1)
    share: NDArray[np.float64] = hits / np.maximum(real.sum(1), 1)
    return share


def flips(before: ArrayLike, after: ArrayLike) -> Flips:
    """Counts flips between two searches by the same queries; before, after: (m,) bool, whether each answer is right."""
    b, a = np.asarray(before, bool), np.asarray(after, bool)
    return Flips(int((b & ~a).sum()), int((~b & a).sum()), len(b))


class _Matches:
    """For each query, the gallery rows of its label in ascending order.

    label: (m,) codes of the queries' labels, -1 for none; by_label: (m,) the queries in the order of these codes.
    """

    def __init__(self, query_labels: Labels, gallery_labels: Labels) -> None:
        codes = _codes(np.asarray(gallery_labels), np.asarray(query_labels))
        in_gallery, self.label = codes[: len(gallery_labels)], codes[len(gallery_labels) :]
        self.by_label = np.argsort(self.label, kind="stable")
        self._order = np.argsort(in_gallery, kind="stable")
        self._bounds = np.searchsorted(in_gallery[self._order], np.arange(codes.max(initial=-1) + 2))

    def of(self, query: int) -> RowNumbers:
        """The gallery rows with the query's label, ascending: (s,)."""
        label = self.label[query]
        if label < 0:
            return self._order[:0]
        return self._order[self._bounds[label] : self._bounds[label + 1]]


def _codes(*labels: Labels) -> Codes:
    """The codes of several arrays of labels, concatenated; -1 for None."""
    if all(part.dtype.kind == "i" for part in labels):
        return np.unique(np.concatenate(labels), return_inverse=True)[1].astype(np.int64)
    values = [value for part in labels for value in part.tolist()]
    names = {name: code for code, name in enumerate(dict.fromkeys(v for v in values if v is not None))}
    return np.fromiter((names.get(v, -1) for v in values), np.int64, len(values))


def match_ranks(scores: Floats32, same: RowNumbers) -> NDArray[np.int64]:
    """The 1-based ranks of the columns `same` (s,) in each row of scores (b, n): (b, s), ascending, then 0 for excluded
    columns."""
    n = scores.shape[1]
    values = scores[:, same]
    values.sort(axis=1)
    place = np.empty(values.shape, np.int64)
    beyond = np.empty_like(values)
    ordered = np.full(n + 1, np.inf, np.float32)
    for i, row in enumerate(scores):
        ordered[:n] = row
        ordered[:n].sort()
        place[i] = ordered.searchsorted(values[i])
        beyond[i] = ordered[place[i] + 1]
    ranks = np.where(values > -np.inf, n - place, 0)[:, ::-1]
    tied = (beyond == values) & (values > -np.inf)
    is_match = np.zeros(n, bool)
    is_match[same] = True
    for i in np.flatnonzero(tied.any(1)).tolist():
        for value in set(values[i, tied[i]].tolist()):  # of equal scores, the earlier gallery row is ahead
            equal, tie = np.flatnonzero(scores[i] == value), values[i] == value
            ahead = n - place[i, tie][0] - len(equal)
            ranks[i, tie[::-1]] = ahead + 1 + np.flatnonzero(is_match[equal])
    return ranks
