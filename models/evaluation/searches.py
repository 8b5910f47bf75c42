"""Retrieval measured on any pair of models: a search's figures with intervals, and one search against another.

A search has the queries of one model and the gallery as vectors of the space that they are searched in: the same model
twice is a self test, M(old, old); new queries against a transformed or compatible gallery are a cross test. Items
without a label are neither right nor wrong: such gallery rows are not ranked, such queries not counted. A query whose
label no gallery row but its own has counts as wrong. Intervals are 95 %, bootstrapped over queries.
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
from models.evaluation.retrieval_metrics import NO_MATCH, Flips, cmc, label_metrics, labelled_rows, recall_at_k, top_k
from models.evaluation.slices import SlicedBy, counted_flips, slice_by
from models.json_values import plain
from models.portable import Array, Distance

NEIGHBOURS = 10
RECALL = f"recall@{NEIGHBOURS}"
KS = (1, 5, 10)


class NothingToMeasure(ValueError):
    """No query can be judged, by label or by true neighbours; the text says why."""


@dataclass(frozen=True)
class GallerySearch:
    """queries: (m, d) float32; gallery: (n, d) float32 in the space that they are searched in; `metric` its score."""

    name: str
    queries: Array
    gallery: Array
    metric: Distance


@dataclass(frozen=True)
class Figure:
    """One metric over `queries` queries; per_query: (m,) float64, NaN for a query that it does not count."""

    metric: str
    interval: Interval
    queries: int
    per_query: NDArray[np.float64]


@dataclass(frozen=True)
class SearchResult:
    """What one search was found to be worth; figures in the order cmc@k, map, recall@10, as far as measured."""

    name: str
    score: Distance
    queries: int
    gallery_rows: int
    unlabelled_queries: int
    unmatched_queries: int
    figures: tuple[Figure, ...]

    def figure(self, metric: str) -> Figure:
        """The figure of this name; raises KeyError where it was not measured."""
        for figure in self.figures:
            if figure.metric == metric:
                return figure
        raise KeyError(metric)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is kept for every query stays out."""
        said = {name: plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "figures"}
        return said | {"figures": [_said(figure.metric, figure.interval, figure.queries) for figure in self.figures]}


@dataclass(frozen=True)
class Difference:
    """One metric before and after on the `queries` that both count; `criterion` judges after − before.

    update_gain, oracle_gain = best / before and retention = after / best: None where there is no best, or as they say.
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
    """Two searches by the same queries, metric by metric and slice by slice.

    flips: of the first answers (cmc@1), None where it was not measured; sliced_metric: what the slices are judged in.
    """

    before: str
    after: str
    differences: tuple[Difference, ...]
    flips: Flips | None
    sliced_metric: str
    slices: tuple[SlicedBy, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and finite numbers, ready for `json.dumps`."""
        comparison: dict[str, Any] = plain(self)
        return comparison


def own_entries(query_ids: Sequence[str], gallery_ids: Sequence[str]) -> RowNumbers:
    """The gallery row of each query's own entry, -1 where it has none: (m,) int64, to be excluded; ids are unique."""
    row = {id: i for i, id in enumerate(gallery_ids)}
    return np.fromiter((row.get(id, -1) for id in query_ids), np.int64, len(query_ids))


def true_neighbours(search: GallerySearch, exclude: RowNumbers | None = None) -> RowNumbers:
    """What a search that is taken for the truth (full re-embedding) finds: (m, 10) int64 gallery rows, -1 padded."""
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
    """CMC@k for every k of `ks` and mAP by label, recall@10 by the `truth`: as far as labels and truth are given.

    query_labels: (m,), gallery_labels: (n,) strings or integers, None for none; exclude: (m,) or (m, e) gallery rows
    that each query must not find, -1 for none (`own_entries`); truth: (m, ≥ 10) gallery rows, nearest first, -1 padded.
    The same seed draws the same queries for every search of as many. Raises ValueError where shapes do not fit, and
    NothingToMeasure where no query can be judged.
    """
    m, n = len(search.queries), len(search.gallery)
    _check(m, n, query_labels, gallery_labels, exclude, truth)
    columns: dict[str, NDArray[np.float64]] = {}
    unlabelled = unmatched = 0
    if query_labels is not None and gallery_labels is not None:
        counted = _labelled(query_labels)
        gallery, labels, left_out = labelled_rows(_labelled(gallery_labels), search.gallery, gallery_labels, exclude)
        found = label_metrics(search.queries, query_labels, gallery, labels, search.metric, left_out)
        unlabelled, unmatched = int((~counted).sum()), int((counted & (found.ranks == NO_MATCH)).sum())
        if counted.any():
            for k in ks:
                columns[f"cmc@{k}"] = np.where(counted, cmc(found.ranks, k), np.nan)
            columns["map"] = np.where(counted, np.nan_to_num(found.average_precision), np.nan)
    if truth is not None:
        answered = (truth[:, :NEIGHBOURS] >= 0).any(1)
        shares = recall_at_k(true_neighbours(search, exclude), truth[:, :NEIGHBOURS])
        if answered.any():
            columns[RECALL] = np.where(answered, shares, np.nan)
    if not columns:
        raise NothingToMeasure(
            f"{search.name}: none of the {m} queries has a label or a true neighbour to be judged by; "
            "give labels on both sides, or the vectors of the model that is taken for the truth"
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
    """`after` against `before` on the same queries, in the same order, over the metrics that both have.

    slices: for each name, the queries' values (m,), None for none; they are judged in `metric` (default: the first).
    best: M(new*, new*) on the same queries, from which update gain, oracle gain and retention follow. Raises ValueError
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


def _said(metric: str, interval: Interval, queries: int) -> dict[str, Any]:
    said: dict[str, Any] = {"metric": metric, "queries": queries} | plain(interval)
    return said
