"""The evaluation of a search by judged queries: what they find of the items that answer them, with paired differences.

A query none of whose relevant items is among the rows searched could not be answered by any search: it is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluations.holdings import Holding
from app.evaluations.schemas import LABEL, JudgedEvaluation
from app.upgrades.accepted_crossings import UpgradeCrossing
from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.judged_metrics import JudgedMetric, JudgedRanks, judged_ranks
from models.evaluation.searches import Figure, GallerySearch, SearchResult, compare
from workers.context import StepFailed
from workers.evaluations.searches import SEED, Crossed, SearchBench
from workers.rows.evaluation_rows import payload_values
from workers.rows.judgements import JudgedRows


@dataclass(frozen=True)
class _Measured:
    """A search and its figures; unjudged: by k, the share of unjudged items among the first k answers."""

    crossed: Crossed
    result: SearchResult
    unjudged: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        by_label = ("unlabelled_queries", "unmatched_queries")
        shown = {name: value for name, value in self.result.to_json().items() if name not in by_label}
        return shown | {"unjudged": self.unjudged, "crossed": self.crossed.how}


def evaluate_judged(
    bench: SearchBench,
    judged: JudgedRows,
    evaluation: JudgedEvaluation,
    accepted_crossings: dict[str, UpgradeCrossing],
    items: Holding | None,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """The result, JSON. accepted_crossings: those that `evaluation` names, by upgrade; items: those of the gallery that
    is searched, None where the rows of the dataset are; `tick` is called after each search. Raises StepFailed where no
    query can be answered, or sliced as was asked."""
    answerable = int(judged.judgements.answerable.sum())
    if not answerable:
        raise StepFailed(
            f"None of the {len(bench.queries)} queries has a relevant item among the rows searched. Name in `relevant` "
            "ids of these rows, with a grade above 0."
        )
    metrics = [JudgedMetric.parsed(metric) for metric in evaluation.metrics]

    def measured(queries: str, gallery: str, via: str | None) -> _Measured:
        crossed = bench.search(queries, gallery, [] if via is None else [accepted_crossings[via]])
        ranks = judged_ranks(crossed.search.queries, crossed.search.gallery, crossed.search.metric, judged.judgements)
        tick()
        cutoffs = sorted({metric.k for metric in metrics if metric.k})
        unjudged = {f"@{k}": float(np.nanmean(ranks.unjudged(k))) for k in cutoffs}
        return _Measured(crossed, _result(crossed.search, ranks, metrics), unjudged)

    after = measured(evaluation.queries, str(evaluation.gallery), evaluation.via)
    result: dict[str, Any] = {
        "kind": "judged",
        "rows": {
            "queries": len(bench.queries),
            "queries_drawn_from": bench.queries.held,
            "gallery": len(bench.gallery),
        },
        "judgements": {
            "used": len(judged.judgements.row),
            "relevant": int(judged.judgements.relevant.sum()),
            "of_items_not_searched": judged.missing,
            "queries_counted": answerable,
            "queries_without_a_relevant_item_searched": len(bench.queries) - answerable,
        },
        "search": after.to_json(),
    }
    if (against := evaluation.against) is None:
        return result | {"against": None, "comparison": None}
    before = measured(against.queries, against.gallery, against.via)
    slices = {name: _of_best_items(bench, judged, items, name) for name in evaluation.slices}
    compared = compare(before.result, after.result, slices, metric=evaluation.metrics[0], seed=SEED).to_json()
    sliced = {name: compared[name] for name in ("sliced_metric", "slices")} if evaluation.slices else {}
    return result | {"against": before.to_json(), "comparison": {"differences": compared["differences"], **sliced}}


def _of_best_items(bench: SearchBench, judged: JudgedRows, items: Holding | None, name: str) -> NDArray[Any]:
    """The label, or the value of a payload field, of the item that answers each query best: (m,) object."""
    row = judged.judgements.best_row
    if name == LABEL or items is None:
        values = bench.gallery.label
    else:
        answered = np.unique(row[row >= 0])
        values = np.full(len(bench.gallery), None, object)
        values[answered] = payload_values(items.rows, bench.gallery.id[answered].tolist(), name)
    of_query = np.full(len(row), None, object)
    of_query[row >= 0] = values[row[row >= 0]]
    if all(value is None for value in of_query):
        raise StepFailed(
            f"No query can be sliced by {name!r}: no item that answers one has such a label or field. Name a field "
            "that items have (GET /galleries/<id>/items/<item> shows one), or `label`."
        )
    return of_query


def _result(search: GallerySearch, ranks: JudgedRanks, metrics: list[JudgedMetric]) -> SearchResult:
    figures = []
    for metric in metrics:
        values = ranks.values(metric)
        counted = values[~np.isnan(values)]
        figures.append(Figure(str(metric), bootstrap_mean(counted, seed=SEED), len(counted), values))
    return SearchResult(search.name, search.metric, len(search.queries), ranks.gallery_rows, 0, 0, tuple(figures))
