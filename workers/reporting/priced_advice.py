"""The advice with prices: every way on, those that serving and backfilling add among them, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.artifacts.crossings import Crossing
from app.settings import Settings
from models.proof.report import ProofReport, Rung
from models.re_embedding.backfill_curve import Curve, CurvePoint
from models.re_embedding.costs import ReEmbeddingWork, UnitCosts, cost_of
from models.transformations.pairs import Pairs

BUDGETS = (0.05, 0.1, 0.25, 0.5)  # shares of the gallery re-embedded that are priced
TIMED = 4_096  # vectors that a transformation is timed on


@dataclass(frozen=True)
class Rate:
    """dimension: d_new; seconds_per_vector: of applying the transformation here."""

    dimension: int
    seconds_per_vector: float


def timed(crossing: Crossing, pairs: Pairs) -> Rate:
    """How long this hardware takes over a vector."""
    old, side = pairs.old[:TIMED], None if pairs.side is None else pairs.side[:TIMED]
    start = time.perf_counter()
    crossing.apply(old, side, np.full(len(old), side is not None))
    return Rate(crossing.chosen.card.target.dimension, (time.perf_counter() - start) / len(old))


def priced(report: ProofReport, beside: Mapping[str, Any], rate: Rate, settings: Settings) -> list[dict[str, Any]]:
    """The rungs of a proof as JSON, each with its `cost`; `beside`: what else the report says of the gallery.

    A cascade ranks as the rewritten gallery would, but for the measured overlap; its quality is not known where that
    falls short of what was asked. A backfill starts with the least
    certain items; its quality is predicted from held-out pairs.
    """
    units = UnitCosts(
        embedding_seconds=settings.cost_embedding_seconds,
        embedding_price=settings.cost_embedding_price,
        compute_price=settings.cost_compute_price,
        storage_price=settings.cost_storage_price,
    )
    return [
        rung | {"cost": asdict(cost_of(_work(rung), rate.dimension, rate.seconds_per_vector, units))}
        for rung in _rungs(report, beside)
    ]


def _rungs(report: ProofReport, beside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    said = report.to_json()["advice"]
    of = {rung.name: rung for rung in report.advice}
    for rung in said:
        yield rung
        if rung["name"] == "instant" and "cascade" in beside:
            yield _cascade(of["transform"], beside["cascade"])
        if rung["name"] == "transform" and "uncertainty" in beside.get("backfill", {}).get("curves", {}):
            curve = beside["backfill"]["curves"]["uncertainty"]
            points = tuple(CurvePoint(**point) for point in curve["points"])
            for share in BUDGETS:
                yield _backfill(Curve(curve["order"], curve["measure"], points), share, report.basis.gallery_rows)


def _cascade(transform: Rung, measured: Mapping[str, Any]) -> dict[str, Any]:
    enough = measured["measured"] >= measured["overlap"]
    quality = asdict(transform.quality) if transform.quality and enough else None
    note = (
        f"{measured['k']} candidates by the linear push are transformed and ranked anew for each query: "
        f"{measured['measured']:.1%} of what the rewritten gallery finds, and no vector rewritten"
    )
    return _rung("cascade", quality, 0, 0, note)


def _backfill(curve: Curve, share: float, rows: int) -> dict[str, Any]:
    point = curve.at(share)
    quality = {"mean": point.mean, "low": point.low, "high": point.high, "basis": "predicted from held-out pairs"}
    embedded = int(np.ceil(share * rows))
    note = f"re-embed the {share:.0%} that the transformation is least certain of, transform the rest"
    return _rung("backfill", quality, embedded, rows, note) | {"share": share}


def _rung(name: str, quality: Any, embedded: int, rewritten: int, note: str) -> dict[str, Any]:
    return {
        "name": name,
        "quality": quality,
        "predicted": True,
        "items_to_re_embed": embedded,
        "vectors_rewritten": rewritten,
        "recommended": False,
        "note": note,
    }


def _work(rung: Mapping[str, Any]) -> ReEmbeddingWork:
    embedded, rewritten = rung["items_to_re_embed"], rung["vectors_rewritten"]
    return ReEmbeddingWork(embedded, rewritten - embedded, rewritten)
