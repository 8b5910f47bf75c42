"""Retrieval metrics: CMC top-k, mean average precision, recall@k, flips; exact and streamed.

A query that is itself in the gallery is given in `exclude`, and its own entry is left out. Scores are float32, higher
is nearer, and equal scores are ordered by gallery row, so that every result is deterministic. Query blocks are sized so
that one block of scores stays under `SCORES_IN_MEMORY` numbers; ranks are counted, not sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Metric, as_indexed

__all__ = [
    "Flips",
    "Interval",
    "LabelMetrics",
    "Metric",
    "average_precision",
    "bootstrap_mean",
    "cmc",
    "flips",
    "label_metrics",
    "labelled_rows",
    "paired_bootstrap",
    "ranks_of_first_match",
    "recall_at_k",
    "top_k",
]

Floats = NDArray[np.float32]
Labels = NDArray[Any]

SCORES_IN_MEMORY = 32_000_000
QUERIES_PER_BLOCK = 512
BELOW_EVERY_COSINE = np.float32(-2.0)
NO_MATCH = -1


@dataclass(frozen=True)
class Flips:
    """Of `total` queries, `negative` were right before and wrong after, `positive` wrong before and right after."""

    negative: int
    positive: int
    total: int


@dataclass(frozen=True)
class LabelMetrics:
    """Of every query: `ranks` (m,) int64 of the first match, and `average_precision` (m,) float64."""

    ranks: NDArray[np.int64]
    average_precision: NDArray[np.float64]


def top_k(
    queries: Floats, gallery: Floats, k: int, metric: Metric, exclude: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The k nearest gallery rows of every query, nearest first: (m, k) int64, -1 where the gallery holds fewer.

    queries: (m, d); gallery: (n, d); exclude: (m,) or (m, e) gallery rows that each query must
    not find (itself, and what would not be there for a real query), -1 for none.
    """
    found = np.full((len(queries), k), -1, np.int64)
    width = min(k, len(gallery))
    if width == 0:
        return found
    for start, scores in _score_blocks(queries, gallery, metric, exclude):
        threshold = np.partition(scores, len(gallery) - width, axis=1)[:, len(gallery) - width]
        row, column = np.nonzero(scores >= threshold[:, None])
        value = scores[row, column]
        order = np.lexsort((column, -value, row))
        row, column, value = row[order], column[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = (place < width) & (value > -np.inf)
        found[start + row[kept], place[kept]] = column[kept]
    return found


def ranks_of_first_match(
    queries: Floats,
    query_labels: Labels,
    gallery: Floats,
    gallery_labels: Labels,
    metric: Metric,
    exclude: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The 1-based rank of the first gallery row with the query's label: (m,) int64, `NO_MATCH` where there is none.

    Labels are strings or integers; None is no label and matches nothing. `exclude` as in `top_k`.
    """
    ranks = np.full(len(queries), NO_MATCH, np.int64)
    matches = _Matches(query_labels, gallery_labels)
    for start, scores in _score_blocks(queries, gallery, metric, exclude):
        for i, row in enumerate(scores):
            same = matches.of(start + i)
            if len(same) == 0:
                continue
            first = same[np.argmax(row[same])]
            best = row[first]
            if best > -np.inf:
                ahead = np.count_nonzero(row > best) + np.count_nonzero(row[:first] == best)
                ranks[start + i] = ahead + 1
    return ranks


def average_precision(
    queries: Floats,
    query_labels: Labels,
    gallery: Floats,
    gallery_labels: Labels,
    metric: Metric,
    exclude: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Average precision of every query over the whole ranking: (m,) float64, NaN where no gallery row has its label.

    The mean over queries is mAP. Arguments as in `ranks_of_first_match`.
    """
    result = np.full(len(queries), np.nan)
    matches = _Matches(query_labels, gallery_labels)
    for start, scores in _score_blocks(queries, gallery, metric, exclude):
        for i, ordered in enumerate(np.sort(scores, axis=1)):
            row, same = scores[i], matches.of(start + i)
            same = same[row[same] > -np.inf]
            if len(same) == 0:
                continue
            value = row[same]
            above = len(row) - np.searchsorted(ordered, value, side="right")
            tied = len(row) - np.searchsorted(ordered, value, side="left") - above > 1
            for j in np.flatnonzero(tied):
                above[j] += np.count_nonzero(row[: same[j]] == value[j])
            ranks = np.sort(above + 1)
            result[start + i] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
    return result


def label_metrics(
    queries: Floats,
    query_labels: Labels,
    gallery: Floats,
    gallery_labels: Labels,
    metric: Metric,
    exclude: NDArray[np.int64] | None = None,
) -> LabelMetrics:
    """`ranks_of_first_match` and `average_precision` of the same search; arguments as there."""
    given = (queries, query_labels, gallery, gallery_labels, metric, exclude)
    return LabelMetrics(ranks_of_first_match(*given), average_precision(*given))


def labelled_rows(
    labelled: NDArray[np.bool_], gallery: Floats, labels: Labels, exclude: NDArray[np.int64] | None
) -> tuple[Floats, Labels, NDArray[np.int64] | None]:
    """The gallery and its labels without the rows that are not `labelled` (n,), and `exclude` in the rows left."""
    if labelled.all():
        return gallery, labels, exclude
    left = np.append(np.where(labelled, np.cumsum(labelled) - 1, -1), -1)
    return gallery[labelled], labels[labelled], None if exclude is None else left[exclude]


def cmc(ranks: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether the first match is among the top k (cumulative match characteristic): (m,) bool from (m,) ranks."""
    return (ranks >= 1) & (ranks <= k)


def recall_at_k(found: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of `truth` that is in `found`: (m,) float64 from (m, k) gallery rows each; -1 in `truth` is padding."""
    real = truth >= 0
    hits = np.zeros(len(truth))
    for column in range(truth.shape[1]):
        hits += real[:, column] & (found == truth[:, column, None]).any(1)
    share: NDArray[np.float64] = hits / np.maximum(real.sum(1), 1)
    return share


def flips(before: ArrayLike, after: ArrayLike) -> Flips:
    """Negative and positive flips between two (m,) bool answers to the same queries."""
    b, a = np.asarray(before, bool), np.asarray(after, bool)
    return Flips(int((b & ~a).sum()), int((~b & a).sum()), len(b))


class _Matches:
    """For each query, the gallery rows of its label in ascending order."""

    def __init__(self, query_labels: Labels, gallery_labels: Labels) -> None:
        values = [*np.asarray(gallery_labels).tolist(), *np.asarray(query_labels).tolist()]
        names = {name: code for code, name in enumerate(dict.fromkeys(v for v in values if v is not None))}
        codes = np.fromiter((names.get(v, -1) for v in values), np.int64, len(values))
        in_gallery, self._query = codes[: len(gallery_labels)], codes[len(gallery_labels) :]
        self._order = np.argsort(in_gallery, kind="stable")
        self._bounds = np.searchsorted(in_gallery[self._order], np.arange(len(names) + 1))

    def of(self, query: int) -> NDArray[np.int64]:
        label = self._query[query]
        if label < 0:
            return self._order[:0]
        return self._order[self._bounds[label] : self._bounds[label + 1]]


def _score_blocks(
    queries: Floats, gallery: Floats, metric: Metric, exclude: NDArray[np.int64] | None
) -> Iterator[tuple[int, Floats]]:
    """(first query, scores (b, n) float32), block after block of queries; each block overwrites the last one's array.

    Excluded entries score −inf; a zero gallery row under cosine scores below every other row.
    """
    if queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(f"queries have dimension {queries.shape[1:]}, the gallery {gallery.shape[1:]}")
    gallery = np.asarray(gallery, np.float32)
    excluded = exclude[:, None] if exclude is not None and exclude.ndim == 1 else exclude
    squared = np.einsum("ij,ij->i", gallery, gallery)
    with np.errstate(divide="ignore"):
        scale = np.where(squared > 0, 1 / np.sqrt(squared), 0).astype(np.float32)
    zero = np.flatnonzero(squared == 0)
    step = int(np.clip(SCORES_IN_MEMORY // max(len(gallery), 1), 1, QUERIES_PER_BLOCK))
    buffer = np.empty((min(step, len(queries)), len(gallery)), np.float32)
    for start in range(0, len(queries), step):
        block = as_indexed(np.asarray(queries[start : start + step], np.float32), metric)
        scores = np.matmul(block, gallery.T, out=buffer[: len(block)])
        if metric == "cosine":
            scores *= scale
            scores[:, zero] = BELOW_EVERY_COSINE
        elif metric == "l2":
            scores -= squared / 2
        if excluded is not None:
            query, place = np.nonzero(excluded[start : start + step] >= 0)
            scores[query, excluded[start + query, place]] = -np.inf
        yield start, scores
