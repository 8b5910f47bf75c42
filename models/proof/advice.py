"""The gate, and what to do next: every rung of an upgrade with its quality and its cost."""

from __future__ import annotations

from typing import Any

from models.proof.gate import VerdictInputs
from models.proof.report import Rung


def advise(f: VerdictInputs, accepted: bool) -> tuple[Rung, ...]:
    """The rungs from doing nothing to re-embedding everything, one of them recommended."""
    n = f.gallery_rows
    instant_suffices = accepted and f.instant is not None and f.instant_passes and f.instant.mean >= f.cross.mean
    crossing = "compatible" if f.trained else "instant" if instant_suffices else "transform"
    best = crossing if accepted else "stay"
    rungs: list[tuple[Any, ...]] = [
        ("stay", f.old_old, False, 0, 0, "keep the old model"),
        *_crossing_rungs(f),
        ("re_embed", f.re_embed, True, n, n, "embed every item with the new model"),
    ]
    return tuple(
        Rung(name, quality, predicted, embedded, rewritten, name == best, note)
        for name, quality, predicted, embedded, rewritten, note in rungs
    )


def _crossing_rungs(f: VerdictInputs) -> list[tuple[Any, ...]]:
    n, predicted = f.gallery_rows, f.uncovered_rows > 0
    if f.trained:
        return [
            ("compatible", f.cross, predicted, 0, 0, "new queries search the old vectors, zero-padded, as they are")
        ]
    unseen = "re-embed the items of groups without pairs, transform the rest"
    return [
        ("instant", f.instant, False, 0, 0, f.instant_note),
        ("transform", f.cross, predicted, 0, n, "rewrite the gallery's vectors, re-embed nothing"),
        ("backfill", f.backfill, True, f.uncovered_rows, n, unseen if predicted else "no group is without pairs"),
    ]
