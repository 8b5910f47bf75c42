"""What to do next: every way on, from keeping the old model to re-embedding all, with its quality and its cost."""

from __future__ import annotations

from typing import Any

from models.proof.gate import VerdictInputs
from models.proof.report import Rung


def advise(inputs: VerdictInputs, accepted: bool) -> tuple[Rung, ...]:
    """The rungs of an upgrade, cheapest first. What was accepted is recommended, else to stay."""
    n = inputs.gallery_rows
    instant_suffices = (
        accepted and inputs.instant is not None and inputs.instant_passes and inputs.instant.mean >= inputs.cross.mean
    )
    crossing = "compatible" if inputs.trained else "instant" if instant_suffices else "transform"
    if accepted and not inputs.crossing_passes:
        crossing = "fused"
    best = crossing if accepted else "stay"
    rungs: list[tuple[Any, ...]] = [
        ("stay", inputs.old_old, False, 0, 0, "keep the old model"),
        *_crossing_rungs(inputs),
        ("re_embed", inputs.re_embed, True, n, n, "embed every item with the new model"),
    ]
    return tuple(
        Rung(
            name,
            quality,
            predicted,
            embedded,
            rewritten,
            name == best,
            note,
            embeddings_per_query=2 if name == "fused" else 1,
        )
        for name, quality, predicted, embedded, rewritten, note in rungs
    )


def _crossing_rungs(inputs: VerdictInputs) -> list[tuple[Any, ...]]:
    """The rungs between staying and re-embedding everything, as arguments of Rung without `recommended`."""
    n, predicted = inputs.gallery_rows, inputs.uncovered_rows > 0
    if inputs.trained:
        return [
            (
                "compatible",
                inputs.cross,
                predicted,
                0,
                0,
                "new queries search the old vectors, zero-padded, as they are",
            )
        ]
    unseen = "re-embed the items of groups without pairs, transform the rest"
    return [
        ("instant", inputs.instant, False, 0, 0, inputs.instant_note),
        *_fused_rung(inputs, predicted),
        ("transform", inputs.cross, predicted, 0, n, "rewrite the gallery's vectors, re-embed nothing"),
        (
            "backfill",
            inputs.backfill,
            True,
            inputs.uncovered_rows,
            n,
            unseen if predicted else "no group is without pairs",
        ),
    ]


def _fused_rung(inputs: VerdictInputs, predicted: bool) -> list[tuple[Any, ...]]:
    if inputs.fused is None:
        return []
    note = (
        f"every query is embedded by both models, and the new one's opinion weighs {inputs.fused.alpha:.0%}; no vector"
        " rewritten"
    )
    return [("fused", inputs.fused.quality, predicted, 0, 0, note)]
