"""Learns what scores of the old search are worth in the new one, by queries of the upgrade's galleries.

A query is one that its datasets hold in vectors of both models, or else a pair. The crossing that answers it has not
learned from it: it is one of those that the expected error is learned by, each fitted on the other folds. Items are
drawn from the galleries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifacts.crossings import Crossing
from app.composition import Crosswalk
from app.datasets.store import RELEVANT
from app.evaluations.holdings import of_queries
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
from models.training.threads import fits_side_by_side
from models.transformations.selection import Selection
from models.uncertainty import held_out_folds
from workers.rows.evaluation_rows import read
from workers.rows.items import drawn_items
from workers.rows.pairs import DatasetPairs
from workers.rows.partial import Partial
from workers.training.held_out_pairs import SEED

QUERIES, ITEMS = 400, 10_000
"""How many queries are asked, and of how many items, at most."""

FEWEST_ITEMS = 10


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
    counts = [crosswalk.galleries.items(info).count() for info in infos]
    parts = [drawn_items(crosswalk, info, ITEMS / max(sum(counts), 1), SEED) for info in infos]
    return DrawnItems(
        [str(id) for part in parts for id in part.id],
        np.concatenate([part.vector for part in parts]),
        Partial.stacked([part.side for part in parts]),
        sum(counts),
    )


@dataclass(frozen=True)
class ScoreQueries:
    """Queries as both models see them. old: (m, d_old), new: (m, d_new) float32. fold: (m,) int64, which crossing has
    not learned from each, of those that were fitted without a fold. ids: (m,) object, of the items that they are
    themselves, which are not asked of; None where they are none.
    """

    old: Array
    new: Array
    fold: Codes
    ids: NDArray[Any] | None

    @classmethod
    def of_pairs(cls, known: DatasetPairs, folds: int) -> ScoreQueries:
        """Pairs as queries, some of them, each in the fold in which `held_out_folds` holds it out."""
        rows = np.sort(np.random.default_rng(SEED).permutation(len(known.ids))[:QUERIES])
        fold = held_out_folds(len(known.ids), folds, SEED)
        return cls(known.pairs.old[rows], known.pairs.new[rows], fold[rows], known.ids[rows])._without_zeros()

    @classmethod
    def given(
        cls, crosswalk: Crosswalk, upgrade: UpgradeInfo, folds: int, *, judged_alone: bool
    ) -> ScoreQueries | None:
        """Some of the queries, apart from rows, that the upgrade's datasets hold in vectors of both models; None where
        there are too few. No crossing has learned from any, so each is put into any fold. judged_alone: leaves out
        those that nobody judged, where crossings have learned from them."""
        for dataset in reversed(upgrade.asked.datasets):
            held = of_queries(crosswalk.datasets, dataset)
            if held is not None:
                where = [held.given(RELEVANT)] if judged_alone else []
                found = read(crosswalk, held, [upgrade.source, upgrade.target], where=where, most=QUERIES, seed=SEED)
                old, new = (found.vectors[model].values for model in (upgrade.source, upgrade.target))
                queries = cls(old, new, np.arange(len(found)) % folds, None)._without_zeros()
                if queries.enough:
                    return queries
        return None

    @property
    def enough(self) -> bool:
        return len(self.fold) >= FEWEST_QUERIES

    def of_fold(self, fold: int) -> ScoreQueries:
        return self._some(self.fold == fold)

    def _without_zeros(self) -> ScoreQueries:
        """Those that are queries: a zero vector is none."""
        return self._some(np.asarray(self.old.any(axis=1) & self.new.any(axis=1))) if len(self.fold) else self

    def _some(self, which: NDArray[np.bool_]) -> ScoreQueries:
        ids = None if self.ids is None else self.ids[which]
        return ScoreQueries(self.old[which], self.new[which], self.fold[which], ids)


def queries_of(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, known: DatasetPairs, folds: int, *, judged_alone: bool = False
) -> ScoreQueries | None:
    """What scores are looked at by: queries of the upgrade's datasets, or else its pairs, unless a model embeds queries
    apart from items, whose scores are then others. None where there are too few. folds: that crossings were fitted in;
    judged_alone: as of `given`.
    """
    if not folds:
        return None
    if (given := ScoreQueries.given(crosswalk, upgrade, folds, judged_alone=judged_alone)) is not None:
        return given
    apart = any(crosswalk.models.get(model).queries == "apart" for model in (upgrade.source, upgrade.target))
    of_pairs = ScoreQueries.of_pairs(known, folds)
    return None if apart or not of_pairs.enough else of_pairs


def learn_scores(
    known: DatasetPairs,
    queries: ScoreQueries,
    items: DrawnItems,
    selection: Selection,
    stand_in: Affine | None,
    fits: Sequence[Transformation],
    progress: Progress,
) -> LearnedScores | None:
    """What scores of these items are worth once a crossing serves them; None where there are too few items to tell.

    selection: how the crossing was chosen; stand_in: what it predicts missing side-information with. fits: its like for
    each fold of `held_out_folds`, in their order, learned from the others. A route whose scores are beyond what numbers
    hold is left out.
    """
    source, target = selection.chosen.card.source, selection.chosen.card.target
    if len(items.ids) < FEWEST_ITEMS:
        return None
    fold = held_out_folds(len(known.ids), len(fits), SEED)
    parts: dict[ScoreRoute, list[ScorePairs]] = {"transformed": [], "instant": []}

    def score(k: int) -> dict[ScoreRoute, ScorePairs]:
        asked, fit = queries.of_fold(k), fits[k]
        if not len(asked.fold):
            return {}
        plain_fit = fit
        if selection.instant.card != selection.chosen.card:
            plain_fit = selection.refit_instant(known.pairs.subset(np.flatnonzero(fold != k)))
        crossing = Crossing(fit if stand_in is None else replace(fit, stand_in=stand_in), plain_fit)
        return _scored(asked, k, items, crossing)

    with fits_side_by_side() as threads:
        for done, found in enumerate(threads.map(score, range(len(fits))), start=1):
            for route, scored in found.items():
                parts[route].append(scored)
            progress(done, len(fits))
    drawn = {route: ScorePairs.stacked(of_folds) for route, of_folds in parts.items()}
    fitted = {
        route: fit_score_translation(pairs, source.metric, target.metric, items=items.of_all, seed=SEED)
        for route, pairs in drawn.items()
        if np.isfinite(pairs.old).all() and np.isfinite(pairs.new).all()
    }
    by_route = {route: one.translation for route, one in fitted.items()}
    card = _card(source, target, len(queries.fold))
    return LearnedScores(ScoreTranslations(card, by_route), fitted, drawn, items.of_all) if fitted else None


def _scored(queries: ScoreQueries, fold: int, items: DrawnItems, crossing: Crossing) -> dict[ScoreRoute, ScorePairs]:
    """Scores by both models of the queries of a fold, one or more, that the crossing has not learned from; by route."""
    source, target = crossing.chosen.card.source.metric, crossing.chosen.card.target.metric
    side = items.side.values if items.side.has.any() else None
    transformed = crossing.apply(items.vectors, side, items.side.has)
    old, pushed = shown_scores(queries.old, items.vectors, source), crossing.plain.push(queries.new)
    new: dict[ScoreRoute, Floats] = {
        "transformed": shown_scores(queries.new, transformed, target),
        "instant": shown_scores_of_pushed(pushed, as_indexed(items.vectors, source), target),
    }
    own, names = _own(queries, items), fold * QUERIES + np.arange(len(queries.fold))
    return {
        route: draw_score_pairs(old, scores, names, own, source=source, target=target, seed=SEED)
        for route, scores in new.items()
    }


def _own(queries: ScoreQueries, items: DrawnItems) -> list[Codes]:
    """The items, by their places, that each of the queries is itself: one for each gallery that it is in, or none."""
    if queries.ids is None:
        return [np.empty(0, np.int64)] * len(queries.fold)
    places: dict[str, list[int]] = {}
    for place, id in enumerate(items.ids):
        places.setdefault(id, []).append(place)
    return [np.array(places.get(str(id), []), np.int64) for id in queries.ids]


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
