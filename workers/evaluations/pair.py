"""The evaluation of a pair of models: M(queries, gallery), compared with another pair and with full re-embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from app.evaluations.holdings import Holding
from app.evaluations.schemas import LABEL, PairEvaluation
from app.upgrades.accepted_crossings import UpgradeCrossing
from models.evaluation.compatibility import Benchmark, compatibility_scores, retention, update_gain
from models.evaluation.searches import SearchResult, compare
from models.json_values import plain
from workers.context import StepFailed
from workers.evaluations.searches import SEED, SearchBench, measured_json
from workers.rows.evaluation_rows import payload_values


def evaluate_pair(
    bench: SearchBench,
    evaluation: PairEvaluation,
    accepted_crossings: dict[str, UpgradeCrossing],
    items: Holding | None,
) -> dict[str, Any]:
    """The result, JSON.

    accepted_crossings: those that `evaluation` names, by upgrade; items: those of the gallery that is searched, None
    where the rows of the dataset are.
    """
    new, old, against = evaluation.queries, str(evaluation.gallery), evaluation.against
    truth = bench.truth(new)

    def crossings(via: str | None) -> list[UpgradeCrossing]:
        return [] if via is None else [accepted_crossings[via]]

    crossed = bench.search(new, old, crossings(evaluation.via))
    cross = bench.measure(crossed, truth)
    result = _rows(bench) | {"kind": "pair", "search": measured_json(crossed, cross)}
    re_embedded = bench.measure(bench.search(new, new), truth) if bench.embedded(new) else None
    result["re_embedded"] = _re_embedded(new, cross, re_embedded)
    best, result["unconstrained"] = _unconstrained(bench, evaluation, crossings(evaluation.via), re_embedded)
    if against is None:
        return result | {"against": None, "comparison": None}
    crossed_before = bench.search(against.queries, against.gallery, crossings(against.via))
    before = bench.measure(crossed_before, truth)
    compared = _compared(bench, evaluation, items, before, cross, re_embedded, best)
    return result | {"against": measured_json(crossed_before, before), "comparison": compared}


def _rows(bench: SearchBench) -> dict[str, Any]:
    return {
        "rows": {
            "queries": len(bench.queries),
            "queries_drawn_from": bench.queries.held,
            "gallery": len(bench.gallery),
            "gallery_drawn_from": bench.gallery.held,
        }
    }


def _re_embedded(model: str, cross: SearchResult, best: SearchResult | None) -> dict[str, Any]:
    """What full re-embedding would give, and how much of it is retained."""
    if best is None:
        return {
            "measured": None,
            "reason": f"not every row searched has a vector made by {model!r}: M({model}, {model}) is not measurable",
        }
    lost = compare(best, cross, seed=SEED)
    return {
        "measured": best.to_json(),
        "retention": {d.metric: retention(d.after.mean, d.before.mean) for d in lost.differences},
        "lost": lost.to_json(),
        "reason": None,
    }


def _unconstrained(
    bench: SearchBench,
    evaluation: PairEvaluation,
    accepted_crossings: Sequence[UpgradeCrossing],
    re_embedded: SearchResult | None,
) -> tuple[SearchResult | None, dict[str, Any]]:
    """M(new*, new*), and JSON that says which model was taken for new*, the new one trained without constraint."""
    if (named := evaluation.unconstrained) is not None:
        if not bench.by_label:
            return None, {"model": named, "measured": None, "reason": "nothing is judged by labels"}
        best = bench.measure(bench.search(named, named))
        return best, {"model": named, "measured": best.to_json(), "reason": None}
    if re_embedded is not None and accepted_crossings and not any(crossing.trained for crossing in accepted_crossings):
        why = "the crossing was learned, and the queries' model is as it was registered: taken for new*"
        return re_embedded, {"model": evaluation.queries, "measured": re_embedded.to_json(), "reason": why}
    reason = "no model trained without constraint is known: name one in `unconstrained`"
    return None, {"model": None, "measured": None, "reason": reason}


def _compared(
    bench: SearchBench,
    evaluation: PairEvaluation,
    items: Holding | None,
    before: SearchResult,
    cross: SearchResult,
    re_embedded: SearchResult | None,
    best: SearchResult | None,
) -> dict[str, Any]:
    """The differences between two searches, in every metric and slice, with what was gained in each metric."""
    slices = {name: _values(bench, items, name) for name in evaluation.slices}
    try:
        compared = compare(before, cross, slices, best=re_embedded, seed=SEED).to_json()
    except ValueError as error:
        raise StepFailed(f"The two searches cannot be compared: {error}.") from error
    for difference in compared["differences"]:
        difference |= _gains(difference["metric"], before, cross, re_embedded, best)
    return compared


def _gains(
    metric: str, before: SearchResult, cross: SearchResult, new: SearchResult | None, best: SearchResult | None
) -> dict[str, Any]:
    """Update gain by new*, and P_comp, P_up and P_1 where M(new, new) is known: of means, over the same queries."""
    gains: dict[str, Any] = {"update_gain": None, "compatibility": None}
    if best is None or metric not in {figure.metric for figure in best.figures}:
        return gains
    old, crossed, free = (result.figure(metric).interval.mean for result in (before, cross, best))
    gains["update_gain"] = plain(update_gain(crossed, old, free))
    if new is not None and free > 0:
        own = new.figure(metric).interval.mean
        gains["compatibility"] = compatibility_scores([Benchmark(old, free, crossed, own)]).to_json()
    return gains


def _values(bench: SearchBench, items: Holding | None, name: str) -> NDArray[Any]:
    """The queries' values of a slice: (m,) object."""
    if name == LABEL or items is None:
        return bench.queries.label
    values = payload_values(items.rows, bench.queries.id.tolist(), name)
    if all(value is None for value in values):
        raise StepFailed(
            f"No query can be sliced by {name!r}: no item of its id has such a field in its payload. Name a field that "
            "items have (GET /galleries/<id>/items/<item> shows one), or `label`."
        )
    return values
