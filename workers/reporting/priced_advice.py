"""The advice with prices: every way on, those that serving and backfilling add among them, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from app.artifacts.cascade import Cascade
from app.artifacts.crossings import Crossing
from app.settings import Settings
from models.proof.report import ProofReport, Quantity, Recommendation, Rung
from models.re_embedding.backfill_curve import Curve
from models.re_embedding.costs import Cost, ReEmbeddingWork, UnitCosts, cost_of
from models.transformations.pairs import Pairs
from workers.reporting.backfill_curves import BackfillCurves

BUDGETS = (0.05, 0.1, 0.25, 0.5)  # shares of the gallery re-embedded that are priced
TIMED = 4_096  # vectors that a transformation is timed on


@dataclass(frozen=True)
class Rate:
    """dimension: d_new; seconds_per_vector: of applying the transformation here."""

    dimension: int
    seconds_per_vector: float


def timed(crossing: Crossing, pairs: Pairs) -> Rate:
    """How long this hardware takes to transform a vector, measured on the first `TIMED` pairs."""
    old, side = pairs.old[:TIMED], None if pairs.side is None else pairs.side[:TIMED]
    start = time.perf_counter()
    crossing.apply(old, side, np.full(len(old), side is not None))
    return Rate(crossing.chosen.card.target.dimension, (time.perf_counter() - start) / len(old))


def priced(
    proof: ProofReport,
    rate: Rate,
    settings: Settings,
    *,
    backfill: BackfillCurves | None = None,
    cascade: Cascade | None = None,
) -> tuple[Rung, ...]:
    """The rungs of a proof and those that `backfill` and `cascade` add to them, each with its cost."""
    units = _unit_costs(settings)
    return tuple(replace(rung, cost=_cost(rung, rate, units)) for rung in _rungs(proof, backfill, cascade))


def priced_recommendation(proof: ProofReport, dimension: int, settings: Settings) -> Recommendation:
    """The recommendation of a proof with what the evidence costs that it asks for: embedding so many more items.

    Of judged queries no cost is known: both models embed them, and somebody judges. dimension: d_new.
    """
    said = proof.recommendation
    if said.needed is None or not said.needed.more or said.needed.kind == "judged queries":
        return said
    more, units = said.needed.more, _unit_costs(settings)
    cost = cost_of(ReEmbeddingWork(re_embedded=more, transformed=0, rewritten=0), dimension, 0.0, units)
    known = []
    if units.embedding_seconds is not None:
        known.append(f"takes about {_duration(more * units.embedding_seconds)}")
    if units.embedding_price is not None:
        known.append(f"costs about {more * units.embedding_price:,.2f}")
    costs = f"Embedding them with the new model {' and '.join(known)}." if known else ""
    return replace(said, needed=replace(said.needed, cost=cost), costs=costs)


def _unit_costs(settings: Settings) -> UnitCosts:
    return UnitCosts(
        embedding_seconds=settings.cost_embedding_seconds,
        embedding_price=settings.cost_embedding_price,
        compute_price=settings.cost_compute_price,
        storage_price=settings.cost_storage_price,
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _rungs(proof: ProofReport, backfill: BackfillCurves | None, cascade: Cascade | None) -> Iterator[Rung]:
    """A cascade stands after the rungs that leave every vector as it is by a single embedding of each query; one that
    finds too little does not serve, and is no rung."""
    by_name = {rung.name: rung for rung in proof.advice}
    last = "instant" if "instant" in by_name else "stay"
    for rung in proof.advice:
        yield rung
        if rung.name == last and cascade is not None and cascade.finds_enough:
            yield _cascade_rung(cascade, by_name["transform"])
        if rung.name == "transform" and backfill is not None:
            for share in BUDGETS:
                yield _backfill_rung(backfill.curves["uncertainty"], share, proof.basis.gallery_rows)


def _cascade_rung(cascade: Cascade, transform: Rung) -> Rung:
    """A cascade ranks as the rewritten gallery would, but for the measured overlap."""
    return Rung(
        name="cascade",
        quality=transform.quality,
        predicted=True,
        items_to_re_embed=0,
        vectors_rewritten=0,
        recommended=False,
        note=f"{cascade.k} candidates by the linear push are transformed and ranked anew for each query: "
        f"{cascade.measured:.1%} of what the rewritten gallery finds, and no vector rewritten",
    )


def _backfill_rung(curve: Curve, share: float, rows: int) -> Rung:
    """A backfill that starts with the least certain items; its quality is predicted from held-out pairs.

    curve: of the order by uncertainty; rows: of the gallery.
    """
    point = curve.at(share)
    return Rung(
        name="backfill",
        quality=Quantity(point.mean, point.low, point.high, "predicted from held-out pairs"),
        predicted=True,
        items_to_re_embed=int(np.ceil(share * rows)),
        vectors_rewritten=rows,
        recommended=False,
        note=f"re-embed the {share:.0%} that the transformation is least certain of, transform the rest",
        share=share,
    )


def _cost(rung: Rung, rate: Rate, units: UnitCosts) -> Cost:
    embedded, rewritten = rung.items_to_re_embed, rung.vectors_rewritten
    work = ReEmbeddingWork(embedded, rewritten - embedded, rewritten)
    return cost_of(work, rate.dimension, rate.seconds_per_vector, units)
