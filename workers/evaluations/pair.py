"""The evaluation of a pair of models: figures, comparison, what re-embedding would give, and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from app.evaluations.holdings import Holding
from app.evaluations.schemas import LABEL, PairEvaluation
from app.upgrades.accepted_crossings import AcceptedCrossing
from models.evaluation.compatibility import Benchmark, compatibility_scores, retention, update_gain
from models.evaluation.searches import SearchResult, compare
from models.json_values import plain
from workers.context import StepFailed
from workers.evaluations.searches import SEED, Crossed, SearchBench
from workers.rows.evaluation_rows import payload_values


def evaluate_pair(
    bench: SearchBench, asked: PairEvaluation, accepted_crossings: dict[str, AcceptedCrossing], items: Holding | None
) -> dict[str, Any]:
    """The result, JSON. accepted_crossings: by upgrade, those that `asked` names; items: of the gallery, if any."""
    new, old, against = asked.queries, str(asked.gallery), asked.against
    truth = bench.truth(new)

    def hop(via: str | None) -> list[AcceptedCrossing]:
        return [] if via is None else [accepted_crossings[via]]

    crossed = bench.search(new, old, hop(asked.via))
    cross = bench.measure(crossed, truth)
    result = _rows(bench) | {"kind": "pair", "search": said(crossed, cross)}
    re_embedded = bench.measure(bench.search(new, new), truth) if bench.embedded(new) else None
    result["re_embedded"] = _re_embedded(new, cross, re_embedded)
    best, result["unconstrained"] = _unconstrained(bench, asked, hop(asked.via), re_embedded)
    if against is None:
        return result | {"against": None, "comparison": None}
    other = bench.search(against.queries, against.gallery, hop(against.via))
    before = bench.measure(other, truth)
    compared = _compared(bench, asked, items, before, cross, re_embedded, best)
    return result | {"against": said(other, before), "comparison": compared}


def said(crossed: Crossed, found: SearchResult) -> dict[str, Any]:
    """A search as the result tells of it."""
    return found.to_json() | {"crossed": crossed.how}


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
    asked: PairEvaluation,
    accepted_crossings: Sequence[AcceptedCrossing],
    re_embedded: SearchResult | None,
) -> tuple[SearchResult | None, dict[str, Any]]:
    """M(new*, new*), and which model was taken for new*."""
    if (named := asked.unconstrained) is not None:
        if not bench.by_label:
            return None, {"model": named, "measured": None, "reason": "nothing is judged by labels"}
        found = bench.measure(bench.search(named, named))
        return found, {"model": named, "measured": found.to_json(), "reason": None}
    if re_embedded is not None and accepted_crossings and not any(hop.trained for hop in accepted_crossings):
        why = "the crossing was learned, and the queries' model is as it was registered: taken for new*"
        return re_embedded, {"model": asked.queries, "measured": re_embedded.to_json(), "reason": why}
    reason = "no model trained without constraint is known: name one in `unconstrained`"
    return None, {"model": None, "measured": None, "reason": reason}


def _compared(
    bench: SearchBench,
    asked: PairEvaluation,
    items: Holding | None,
    before: SearchResult,
    cross: SearchResult,
    re_embedded: SearchResult | None,
    best: SearchResult | None,
) -> dict[str, Any]:
    slices = {name: _values(bench, items, name) for name in asked.slices}
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
    old, crossed, free = (found.figure(metric).interval.mean for found in (before, cross, best))
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
