"""A gallery's report made by hand, of figures that are exact in binary."""

from __future__ import annotations

from dataclasses import replace

from app.artifacts.cascade import Cascade
from app.artifacts.tuning import Tuning
from app.settings import Settings
from models.proof.report import (
    Basis,
    FlipCount,
    FullReEmbedding,
    LosingGroup,
    MetricResult,
    ProofReport,
    Quantity,
    Recommendation,
    Rung,
    Stratum,
    WantedPairs,
)
from models.re_embedding.backfill_curve import Curve, CurvePoint
from workers.reporting.backfill_curves import BackfillCurves
from workers.reporting.gallery_report import GalleryReport
from workers.reporting.priced_advice import Rate, priced


def quantity(mean: float) -> Quantity:
    return Quantity(mean, mean - 0.125, mean + 0.125, "test")


PROOF = ProofReport(
    accepted=True,
    reason="It is better.",
    gate="cmc@1, better than old",
    metrics=(MetricResult("cmc@1", quantity(0.5), quantity(0.75), quantity(0.25)),),
    strata=(Stratum("covered", 1.0, 1000, 10, 200, "pairs", quantity(0.5), quantity(0.75)),),
    flips=(FlipCount("covered", 3, 9, 200),),
    backfilled=FullReEmbedding("cmc@1", quantity(0.5), quantity(0.75), quantity(0.875), quantity(0.375), 1.75),
    losing_groups=(LosingGroup("a", True, 100, 20, 0.5, float("nan"), "pairs"),),
    wanted_pairs=(WantedPairs("a", 100, 4),),
    recommendation=Recommendation("transform", "Switch.", "Figures."),
    advice=(
        Rung("stay", quantity(0.5), False, 0, 0, False, "keep"),
        Rung("instant", None, False, 0, 0, False, "at once"),
        Rung("transform", quantity(0.75), False, 0, 1000, True, "rewrite"),
        Rung("re_embed", quantity(0.875), True, 1000, 1000, False, "embed"),
    ),
    notes=("A note.",),
    basis=Basis("label", "label", 1.0, 1000, 1000, 400, 200, 5, 5, 0, 2000, 0),
)
BACKFILL = BackfillCurves(
    "cmc@1",
    300,
    {
        "uncertainty": Curve(
            "uncertainty", "cmc@1", (CurvePoint(0.0, 0.75, 0.625, 0.875), CurvePoint(1.0, 0.875, 0.75, 1.0))
        )
    },
)
CASCADE = Cascade(0.95, 40, 300, 0.96875, (0.9375, 1.0), 200, 1000)
INDEX = Tuning("ivf_flat", 4, 0.875, 16, 0.984375, 200, 40)
RATE = Rate(dimension=8, seconds_per_vector=0.5)
SETTINGS = Settings(
    cost_embedding_seconds=2.0, cost_embedding_price=0.25, cost_compute_price=None, cost_storage_price=1.0
)

FULL = GalleryReport(
    proof=replace(PROOF, notes=("A note.", "Another note.")),
    recommendation=PROOF.recommendation,
    advice=priced(PROOF, RATE, SETTINGS, backfill=BACKFILL, cascade=CASCADE),
    backfill=BACKFILL,
    cascade=CASCADE,
    index=INDEX,
    items_without_side_information=7,
)
BARE = GalleryReport(PROOF, PROOF.recommendation, priced(PROOF, RATE, SETTINGS))
