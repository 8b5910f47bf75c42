"""Learns and keeps what fuses the old and the new model's queries in one gallery."""

from __future__ import annotations

from dataclasses import replace

from app.artifacts.crossings import Crossing
from app.artifacts.folder import UpgradeArtifacts
from models.portable import Alphas, Fusion, Moments, save_fusion
from models.proof.report import ProofReport
from workers.rows.items import Items


def keep_fusion(
    artifacts: UpgradeArtifacts, gallery: str, crossing: Crossing, proof: ProofReport, items: Items
) -> None:
    """Writes the weights that a proof chose, with the moments of the items' old and transformed vectors.

    Nothing is written where the proof did not measure the fused search. Raises OSError.
    """
    if (fused := proof.fused) is None:
        return
    has = items.side.has
    transformed = crossing.apply(items.vector, items.side.values if has.any() else None, has)
    card = crossing.chosen.card
    # One weight for crossed and real vectors: with two, scores in one list could not be compared.
    fusion = Fusion(
        replace(card, method="fused", settings={"transformation": card.sha256, "metric": fused.metric}, metrics={}),
        Moments.of(items.vector, card.source.metric),
        Moments.of(transformed, card.target.metric),
        Alphas(pushed=fused.pushed_alpha, exact=fused.alpha, native=fused.alpha),
    )
    save_fusion(fusion, artifacts.fusion(gallery))
