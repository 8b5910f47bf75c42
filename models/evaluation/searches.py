"""Evaluates searches, with confidence intervals, and compares one search with another.

A search has the queries of one model and a gallery of vectors in the space where they are compared: queries and gallery
of one model are a self test, M(old, old); new queries against a transformed or compatible gallery are a cross test.
Gallery rows without a label are not ranked, queries without a label not counted. A query whose label no other gallery
row has could not be answered right by any search: it is not counted by label either. Intervals are of 95 %,
bootstrapped over queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Labels, RowNumbers
from models.evaluation.bootstrap import Interval, bootstrap_mean
from models.evaluation.compatibility import Criterion, UpdateGain, criterion, oracle_gain, retention, update_gain
from models.evaluation.retrieval_metrics import (
    NEIGHBOURS,
    NO_MATCH,
    Flips,
    cmc,
    label_metrics,
    labelled_rows,
    recall_at_k,
    top_k,
)
from models.evaluation.slices import SlicedBy, counted_flips, slice_by
from models.json_values import plain
from models.portable import Array, Distance

RECALL = f"recall@{NEIGHBOURS}"
KS = (1, 5, 10)


class NothingToMeasure(ValueError):
    """No query has a label or true neighbours to be judged by; the message says why."""


@dataclass(frozen=True)
class GallerySearch:
    """Queries (m, d) float32 and the gallery (n, d) float32 that they search, compared by `metric`."""

    name: str
    queries: Array
    gallery: Array
    metric: Distance


@dataclass(frozen=True)
class Figure:
    """One metric's mean over the `queries` that it counts; per_query: (m,) float64, NaN for a query not counted."""

    metric: str
    interval: Interval
    queries: int
    per_query: NDArray[np.float64]


@dataclass(frozen=True)
class SearchResult:
    """The evaluation of one search. score: what compares its vectors; figures: cmc@k, map and recall@10, as
    measured."""

    name: str
    score: Distance
    queries: int
    gallery_rows: int
    unlabelled_queries: int
    unmatched_queries: int
    figures: tuple[Figure, ...]

    def figure(self, metric: str) -> Figure:
        """The figure of a metric; raises KeyError where it was not measured."""
        for figure in self.figures:
            if figure.metric == metric:
                return figure
        raise KeyError(metric)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values, without the values of single queries."""
        fields = {name: plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "figures"}
        return fields | {"figures": [_figure_json(figure) for figure in self.figures]}


@dataclass(frozen=True)
class Difference:
    """One metric before and after, over the `queries` that count in both; `criterion` judges after − before.

    update_gain, oracle_gain = best / before and retention = after / best compare with the best possible search; None
    where there is none, the ratios also where they would divide by 0.
    """

    metric: str
    queries: int
    before: Interval
    after: Interval
    criterion: Criterion
    update_gain: UpdateGain | None
    oracle_gain: float | None
    retention: float | None


@dataclass(frozen=True)
class Comparison:
    """Two searches by the same queries, compared by every metric and in slices of the queries.

    flips: of the answers at rank 1 (cmc@1), None where not measured; sliced_metric: the metric of the slices.
    """

    before: str
    after: str
    differences: tuple[Difference, ...]
    flips: Flips | None
    sliced_metric: str
    slices: tuple[SlicedBy, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        comparison: dict[str, Any] = plain(self)
        return comparison


def own_entries(query_ids: Sequence[str], gallery_ids: Sequence[str]) -> RowNumbers:
    """The gallery row with each query's id, -1 where there is none: (m,) int64, to be excluded; ids are unique."""
    row = {id: i for i, id in enumerate(gallery_ids)}
    return np.fromiter((row.get(id, -1) for id in query_ids), np.int64, len(query_ids))


def true_neighbours(search: GallerySearch, exclude: RowNumbers | None = None) -> RowNumbers:
    """The 10 nearest rows by a search that is the ground truth (full re-embedding): (m, 10) int64, -1 padded.

    exclude: (m,) or (m, e) gallery rows that each query must not find, -1 for none.
    """
    return top_k(search.queries, search.gallery, NEIGHBOURS, search.metric, exclude)


def evaluate(
    search: GallerySearch,
    query_labels: Labels | None = None,
    gallery_labels: Labels | None = None,
    exclude: RowNumbers | None = None,
    *,
    truth: RowNumbers | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> SearchResult:
    """Evaluates a search: CMC@k and mAP where labels are given, recall@10 where the `truth` is.

    query_labels: (m,), gallery_labels: (n,) strings or integers, None for none; exclude: (m,) or (m, e) gallery rows
    that each query must not find, -1 for none (`own_entries`); truth: (m, ≥ 10) gallery rows, nearest first, -1 padded
    (`true_neighbours`). One seed resamples alike for searches of equally many queries. Raises ValueError where shapes
    do not fit, and NothingToMeasure where no query can be judged.
    """
    m, n = len(search.queries), len(search.gallery)
    _check(m, n, query_labels, gallery_labels, exclude, truth)
    columns: dict[str, NDArray[np.float64]] = {}
    unlabelled = unmatched = 0
    if query_labels is not None and gallery_labels is not None:
        counted = _labelled(query_labels)
        gallery, labels, left_out = labelled_rows(_labelled(gallery_labels), search.gallery, gallery_labels, exclude)
        by_label = label_metrics(search.queries, query_labels, gallery, labels, search.metric, left_out)
        answerable = by_label.ranks != NO_MATCH
        unlabelled, unmatched = int((~counted).sum()), int((counted & ~answerable).sum())
        counted &= answerable
        if counted.any():
            for k in ks:
                columns[f"cmc@{k}"] = np.where(counted, cmc(by_label.ranks, k), np.nan)
            columns["map"] = np.where(counted, np.nan_to_num(by_label.average_precision), np.nan)
    if truth is not None:
        answered = (truth[:, :NEIGHBOURS] >= 0).any(1)
        shares = recall_at_k(true_neighbours(search, exclude), truth[:, :NEIGHBOURS])
        if answered.any():
            columns[RECALL] = np.where(answered, shares, np.nan)
    if not columns:
        raise NothingToMeasure(
            f"{search.name}: none of the {m} queries has a true neighbour, or a label that another row searched has, "
            "to be judged by; give labels that several rows share on both sides, or the vectors of the model that is "
            "taken for the truth"
        )
    figures = tuple(_figure(name, values, seed) for name, values in columns.items())
    return SearchResult(search.name, search.metric, m, n, unlabelled, unmatched, figures)


def compare(
    before: SearchResult,
    after: SearchResult,
    slices: Mapping[str, NDArray[Any]] | None = None,
    *,
    best: SearchResult | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares two searches by the same queries in the same order, in every metric that both have.

    slices: by name, the queries' values (m,), None for no slice; they are compared in `metric` (default: the first).
    best: M(new*, new*) on the same queries, for update gain, oracle gain and retention. Raises ValueError
    where the queries differ in number, no metric is shared, or `metric` is not among those shared.
    """
    for other in (after, best):
        if other is not None and other.queries != before.queries:
            raise ValueError(f"{other.name} has {other.queries} queries, {before.name} {before.queries}: not the same")
    shared = [f.metric for f in before.figures if f.metric in {g.metric for g in after.figures}]
    if not shared or (metric is not None and metric not in shared):
        raise ValueError(
            f"{before.name} and {after.name} share {', '.join(shared) or 'no metric'}"
            + ("" if metric is None else f", not {metric}")
        )
    differences = tuple(_difference(name, before, after, best, seed) for name in shared)
    sliced = metric or shared[0]
    old, new = before.figure(sliced).per_query, after.figure(sliced).per_query
    first = (before.figure("cmc@1").per_query, after.figure("cmc@1").per_query) if "cmc@1" in shared else None
    return Comparison(
        before=before.name,
        after=after.name,
        differences=differences,
        flips=None if first is None else counted_flips(*first),
        sliced_metric=sliced,
        slices=tuple(slice_by(name, values, old, new, first, seed=seed) for name, values in (slices or {}).items()),
    )


def _figure(metric: str, values: NDArray[np.float64], seed: int) -> Figure:
    counted = values[~np.isnan(values)]
    return Figure(metric, bootstrap_mean(counted, seed=seed), len(counted), values)


def _difference(
    metric: str, before: SearchResult, after: SearchResult, best: SearchResult | None, seed: int
) -> Difference:
    sides = [before, after] if best is None else [before, after, best]
    values = np.stack([side.figure(metric).per_query for side in sides])
    values = values[:, ~np.isnan(values).any(0)]
    if values.shape[1] == 0:
        raise ValueError(f"no query is counted by {metric} in all of {', '.join(side.name for side in sides)}")
    means = values.mean(1).tolist()
    return Difference(
        metric=metric,
        queries=values.shape[1],
        before=bootstrap_mean(values[0], seed=seed),
        after=bootstrap_mean(values[1], seed=seed),
        criterion=criterion(values[1], values[0], seed=seed),
        update_gain=None if best is None else update_gain(means[1], means[0], means[2]),
        oracle_gain=None if best is None else oracle_gain(means[2], means[0]),
        retention=None if best is None else retention(means[1], means[2]),
    )


def _labelled(labels: Labels) -> NDArray[np.bool_]:
    return np.fromiter((label is not None for label in labels.tolist()), np.bool_, len(labels))


def _check(
    m: int,
    n: int,
    query_labels: Labels | None,
    gallery_labels: Labels | None,
    exclude: RowNumbers | None,
    truth: RowNumbers | None,
) -> None:
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("labels are compared: give those of the queries and those of the gallery, or neither")
    for name, given, length in (
        ("query_labels", query_labels, m),
        ("gallery_labels", gallery_labels, n),
        ("exclude", exclude, m),
        ("truth", truth, m),
    ):
        if given is not None and len(given) != length:
            raise ValueError(f"{name} has {len(given)} entries where the search has {length}")
    for name, rows in (("exclude", exclude), ("truth", truth)):
        if rows is not None and rows.size and rows.max() >= n:
            raise ValueError(f"{name} names gallery row {rows.max()} of {n}")


def _figure_json(figure: Figure) -> dict[str, Any]:
    interval: dict[str, Any] = plain(figure.interval)
    return {"metric": figure.metric, "queries": figure.queries} | interval
