"""Learns what scores of the old search are worth in the new one, by the pairs as queries of the upgrade's galleries.

A pair is a query as both models see it. The crossing that answers it has not learned from it: it is one of those that
the expected error is learned by, each fitted on the other folds. Items are drawn from the galleries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.artifacts.crossings import Crossing
from app.composition import Crosswalk
from app.upgrades.info import UpgradeInfo
from models.arrays import Codes, Floats, Progress
from models.json_values import plain
from models.portable import (
    Affine,
    Array,
    Card,
    ScoreRoute,
    ScoreTranslations,
    Space,
    Transformation,
    as_indexed,
)
from models.score_translation import (
    FEWEST_QUERIES,
    FittedTranslation,
    ScorePairs,
    draw_score_pairs,
    fit_score_translation,
    shown_scores,
    shown_scores_of_pushed,
)
from models.transformations.pairs import Pairs, Refit
from models.transformations.selection import Selection
from models.uncertainty import held_out_folds
from workers.rows.items import drawn_items
from workers.rows.pairs import DatasetPairs
from workers.rows.partial import Partial
from workers.training.held_out_pairs import SEED

QUERIES, ITEMS = 400, 10_000
"""How many pairs are asked as queries, and of how many items, at most."""


class KeptFits:
    """Learns transformations as `refit` does, and keeps them in the order in which they were learned."""

    def __init__(self, refit: Refit) -> None:
        self._refit = refit
        self.fits: list[Transformation] = []

    def __call__(self, pairs: Pairs) -> Transformation:
        self.fits.append(self._refit(pairs))
        return self.fits[-1]


@dataclass(frozen=True)
class LearnedScores:
    """Translations of scores by route, what held-out queries say of them, and the score pairs that they were fitted on;
    `items`: how many all galleries have."""

    translations: ScoreTranslations
    fitted: Mapping[ScoreRoute, FittedTranslation]
    drawn: Mapping[ScoreRoute, ScorePairs]
    items: int

    def to_json(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"items": self.items, "routes": {route: _reported(fitted) for route, fitted in self.fitted.items()}}


@dataclass(frozen=True)
class DrawnItems:
    """Items drawn at random. ids: n, vectors: (n, d_old) float32; of_all: how many there are."""

    ids: Sequence[str]
    vectors: Array
    side: Partial
    of_all: int


def draw_from_galleries(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> DrawnItems:
    """About `ITEMS` items of an upgrade's galleries, of each as its size is."""
    infos = [crosswalk.galleries.info(name) for name in upgrade.galleries]
    counts = [crosswalk.galleries.store(info).items.count() for info in infos]
    parts = [drawn_items(crosswalk, info, ITEMS / max(sum(counts), 1), SEED) for info in infos]
    return DrawnItems(
        [str(id) for part in parts for id in part.id],
        np.concatenate([part.vector for part in parts]),
        Partial.stacked([part.side for part in parts]),
        sum(counts),
    )


def learn_scores(
    known: DatasetPairs,
    items: DrawnItems,
    selection: Selection,
    stand_in: Affine | None,
    fits: Sequence[Transformation],
    progress: Progress,
) -> LearnedScores | None:
    """What scores of these items are worth once a crossing serves them; None where there are too few pairs to tell.

    selection: how the crossing was chosen; stand_in: what it predicts missing side-information with. fits: its like for
    each fold of `held_out_folds`, in their order, learned from the others.
    """
    source, target = selection.chosen.card.source, selection.chosen.card.target
    asked = known.pairs.new.any(axis=1) & known.pairs.old.any(axis=1)  # a zero vector is no query
    queries = np.random.default_rng(SEED).permutation(np.flatnonzero(asked))[:QUERIES]
    if not fits or len(queries) < FEWEST_QUERIES:
        return None
    fold = held_out_folds(len(known.ids), len(fits), SEED)
    parts: dict[ScoreRoute, list[ScorePairs]] = {"transformed": [], "instant": []}
    for k, fit in enumerate(fits):
        rows = queries[fold[queries] == k]
        if len(rows):
            plain_fit = fit
            if selection.instant.card != selection.chosen.card:
                plain_fit = selection.refit_instant(known.pairs.subset(np.flatnonzero(fold != k)))
            crossing = Crossing(fit if stand_in is None else replace(fit, stand_in=stand_in), plain_fit)
            for route, scored in _scored(known, rows, items, crossing).items():
                parts[route].append(scored)
        progress(k + 1, len(fits))
    drawn = {route: ScorePairs.stacked(of_folds) for route, of_folds in parts.items()}
    fitted = {
        route: fit_score_translation(pairs, source.metric, target.metric, items=items.of_all, seed=SEED)
        for route, pairs in drawn.items()
    }
    by_route = {route: one.translation for route, one in fitted.items()}
    return LearnedScores(ScoreTranslations(_card(source, target, len(queries)), by_route), fitted, drawn, items.of_all)


def _scored(known: DatasetPairs, rows: Codes, items: DrawnItems, crossing: Crossing) -> dict[ScoreRoute, ScorePairs]:
    """Scores by both models of these pairs (k,) as queries, which the crossing has not learned from, by route."""
    source, target = crossing.chosen.card.source.metric, crossing.chosen.card.target.metric
    side = items.side.values if items.side.has.any() else None
    transformed = crossing.apply(items.vectors, side, items.side.has)
    old, asked = shown_scores(known.pairs.old[rows], items.vectors, source), known.pairs.new[rows]
    pushed = crossing.plain.push(asked)
    new: dict[ScoreRoute, Floats] = {
        "transformed": shown_scores(asked, transformed, target),
        "instant": shown_scores_of_pushed(pushed, as_indexed(items.vectors, source), target),
    }
    own = _own(known, rows, items)
    return {
        route: draw_score_pairs(old, scores, rows, own, source=source, target=target, seed=SEED)
        for route, scores in new.items()
    }


def _own(known: DatasetPairs, rows: Codes, items: DrawnItems) -> list[Codes]:
    """The items, by their places, that each of these pairs is itself: one for each gallery that it is in, or none."""
    places: dict[str, list[int]] = {}
    for place, id in enumerate(items.ids):
        places.setdefault(id, []).append(place)
    return [np.array(places.get(str(known.ids[row]), []), np.int64) for row in rows]


def _card(source: Space, target: Space, queries: int) -> Card:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Card("equipercentile", source, target, None, queries, {}, {}, created_at=now)


def _reported(fitted: FittedTranslation) -> dict[str, Any]:
    """The errors of a translation, and what becomes of thresholds."""
    to_new, to_old = fitted.translation.to_new, fitted.translation.to_old
    reported: dict[str, Any] = plain(
        {
            "queries": fitted.queries,
            "pairs": fitted.pairs,
            "error": {"to_new": to_new.error, "to_old": to_old.error},
            "seen": {"old": to_new.seen, "new": to_old.seen},
            "kept": fitted.kept,
        }
    )
    return reported
