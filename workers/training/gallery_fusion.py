"""Learns and keeps what fuses the old and the new model's queries in one gallery."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.artifacts.crossings import Crossing
from app.artifacts.folder import UpgradeArtifacts
from models.portable import Alphas, Array, Fusion, Moments, save_fusion
from models.proof.report import ProofReport
from workers.rows.items import Items

_AT_ONCE = 8_192


def keep_fusion(
    artifacts: UpgradeArtifacts, gallery: str, crossing: Crossing, proof: ProofReport, items: Items
) -> None:
    """Writes the weights that a proof chose, with the moments of the items' old and transformed vectors.

    Nothing is written where the proof did not measure the fused search. Raises OSError.
    """
    if (fused := proof.fused) is None:
        return
    card = crossing.chosen.card
    fusion = Fusion(
        replace(card, method="fused", settings={"transformation": card.sha256, "metric": fused.metric}, metrics={}),
        Moments.of(items.vector, card.source.metric),
        Moments.of_parts(_transformed(crossing, items), card.target.metric),
        Alphas(pushed=fused.pushed_alpha, exact=fused.alpha),
    )
    save_fusion(fusion, artifacts.fusion(gallery))


def _transformed(crossing: Crossing, items: Items) -> Iterator[Array]:
    """Some items at a time, so that a gallery is not held in memory twice."""
    for start in range(0, len(items.id), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        has = items.side.has[some]
        yield crossing.apply(items.vector[some], items.side.values[some] if has.any() else None, has)
