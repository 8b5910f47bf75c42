"""Fits what scores are worth in another space: the two that equally many items of the gallery reach are worth the same.

A threshold decides how many items pass, so that is what it keeps: by equipercentile equating (Kolen and Brennan, "Test
Equating", chapter 2), which is monotone, and the same in both directions. The conditional mean, as isotonic regression
gives it, is pulled towards the middle the more loosely the scores are related, so that a threshold lets more pass than
before (benchmarks/scores.py compares both). Around the curve lies the interval of single items' scores.

Everything that is said of error is measured on queries that the curve was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.arrays import Floats
from models.portable import Distance, ScoreCurve, ScoreTranslation
from models.score_translation.pairs import ScorePairs

FOLDS = 5
FEWEST_QUERIES = 10
KNOTS_NEAR, KNOTS_FAR = 48, 24
FEWEST_BEYOND = 10
"""Score pairs beyond the outermost knot but the last: fewer say little of how many there are."""
INTERVAL = 0.9
PAIRS_AT_KNOT = 50
"""Score pairs around a knot, at least, that its interval is reckoned from."""
KEPT = (1, 10, 100)


@dataclass(frozen=True)
class KeptItems:
    """A threshold that keeps `items` of a gallery for each query, on average, before and after.

    old, new: the threshold and what it is translated to. before, after: how many items a held-out query keeps by them;
    same: which share of those kept after was kept before as well.
    """

    items: float
    old: float
    new: float
    before: float
    after: float
    same: float


@dataclass(frozen=True)
class FittedTranslation:
    """A translation, and what held-out queries say of it. queries: how many there were; pairs: of scores."""

    translation: ScoreTranslation
    kept: tuple[KeptItems, ...]
    queries: int
    pairs: int


def fit_score_translation(
    pairs: ScorePairs, source: Distance, target: Distance, *, items: int, seed: int = 0
) -> FittedTranslation:
    """Fits the curves of both directions on all pairs, and measures them by leaving out a fifth of the queries at a
    time. items: how many the gallery has, whose number is what `KeptItems` are reckoned for.

    Raises ValueError for fewer than `FEWEST_QUERIES` queries.
    """
    queries = pairs.queries
    if len(queries) < FEWEST_QUERIES:
        raise ValueError(f"{len(queries)} queries do not tell what scores are worth; {FEWEST_QUERIES} are the fewest")
    near = _nearness(pairs, source, target)
    fold = np.random.default_rng(seed).permutation(len(queries)) % FOLDS
    held_out = [
        _HeldOut(near.of_queries(queries[fold == k]), _knots(near.of_queries(queries[fold != k]))) for k in range(FOLDS)
    ]
    whole = _knots(near)
    backwards = [_HeldOut(_swapped(one.pairs), _Knots(one.knots.new, one.knots.old)) for one in held_out]
    translation = ScoreTranslation(
        _curve(whole, held_out, source, target), _curve(_Knots(whole.new, whole.old), backwards, target, source)
    )
    total = float(near.weight.sum())
    shares = [many / items for many in KEPT if FEWEST_BEYOND / total <= many / items <= 0.5]
    kept = tuple(_kept(share, items, whole, near, held_out, source, target) for share in shares)
    return FittedTranslation(translation, kept, len(queries), len(pairs))


@dataclass(frozen=True)
class _Knots:
    """Scores that equally many items reach, (k,) each, rising."""

    old: Floats
    new: Floats

    def __call__(self, old: Floats) -> Floats:
        """What scores of the old kind are worth in the new."""
        return np.interp(old, *_rising(self.old, self.new))


@dataclass(frozen=True)
class _HeldOut:
    """Pairs of queries that the knots were not fitted on."""

    pairs: ScorePairs
    knots: _Knots


def _nearness(pairs: ScorePairs, source: Distance, target: Distance) -> ScorePairs:
    """The pairs with distances negated, so that higher is nearer."""
    return ScorePairs(_sign(source) * pairs.old, _sign(target) * pairs.new, pairs.weight, pairs.query, pairs.items)


def _sign(metric: Distance) -> float:
    return -1.0 if metric == "l2" else 1.0


def _swapped(pairs: ScorePairs) -> ScorePairs:
    return ScorePairs(pairs.new, pairs.old, pairs.weight, pairs.query, pairs.items)


def _knots(pairs: ScorePairs) -> _Knots:
    total = float(pairs.weight.sum())
    least = min(FEWEST_BEYOND / total, 0.25)
    near = np.geomspace(least, 0.5, KNOTS_NEAR)
    far = 1 - np.geomspace(least, 0.5, KNOTS_FAR + 1)[:-1]
    shares = np.concatenate([[0.0], near, far[::-1], [1.0]])[::-1]  # from the farthest item to the nearest
    return _Knots(_reached(pairs.old, pairs.weight, shares), _reached(pairs.new, pairs.weight, shares))


def _reached(scores: Floats, weight: Floats, shares: Floats) -> Floats:
    """The scores that these shares (k,) of all items reach: (k,)."""
    order = np.argsort(-scores, kind="stable")
    beyond = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    return np.interp(shares, beyond, scores[order])


def _rising(at: Floats, value: Floats) -> tuple[Floats, Floats]:
    """The knots with those that are at the same score made one, whose value is the mean of theirs, (k,) rising each.

    Rounding may carry a mean of equal values beyond them, and so beyond the next knot's.
    """
    unique, first, place, many = np.unique(at, return_index=True, return_inverse=True, return_counts=True)
    return unique, np.clip(np.bincount(place, value) / many, value[first], value[first + many - 1])


def _curve(whole: _Knots, held_out: Sequence[_HeldOut], source: Distance, target: Distance) -> ScoreCurve:
    """The curve of scores as they are shown, with the interval and the error that held-out pairs have around it."""
    at, value = _rising(whole.old, whole.new)
    scores = np.concatenate([one.pairs.old for one in held_out])
    weight = np.concatenate([one.pairs.weight for one in held_out])
    off = np.concatenate([one.pairs.new - one.knots(one.pairs.old) for one in held_out])
    order = np.argsort(scores, kind="stable")
    scores, weight, off = scores[order], weight[order], off[order]
    middle = (at[1:] + at[:-1]) / 2
    first, last = (np.searchsorted(scores, edge) for edge in (np.append(-np.inf, middle), np.append(middle, np.inf)))
    tails = (1 - INTERVAL) / 2
    ends = np.array(
        [
            _weighted_quantiles(off[window], weight[window], (tails, 1 - tails))
            for window in (_window(a, b, len(scores)) for a, b in zip(first, last, strict=True))
        ]
    )
    low, high = value + ends[:, 0], value + ends[:, 1]
    if target == "l2":
        value, low, high = -value, -high, -low
    if source == "l2":
        at, value, low, high = -at[::-1], value[::-1], low[::-1], high[::-1]
    at, value, low, high = (np.ascontiguousarray(part) for part in (at, value, low, high))
    return ScoreCurve(at, value, low, high, float(np.average(np.abs(off), weights=weight)))


def _window(first: int, last: int, pairs: int) -> slice:
    """The pairs from `first` to `last`, and as many beside them on either side as make them enough."""
    lacking = max(PAIRS_AT_KNOT - (last - first), 0)
    first = max(min(first - lacking // 2, pairs - PAIRS_AT_KNOT), 0)
    return slice(first, max(last, first + PAIRS_AT_KNOT))


def _weighted_quantiles(values: Floats, weight: Floats, shares: Sequence[float]) -> Floats:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order]) - weight[order] / 2
    return np.asarray(np.interp(np.asarray(shares) * weight.sum(), below, values[order]))


def _kept(
    share: float,
    items: int,
    whole: _Knots,
    near: ScorePairs,
    held_out: Sequence[_HeldOut],
    source: Distance,
    target: Distance,
) -> KeptItems:
    old = _reached(near.old, near.weight, np.array([share]))
    before = after = both = 0.0
    for one in held_out:
        was, now = one.pairs.old >= old, one.pairs.new >= one.knots(old)
        before, after = before + float(one.pairs.weight @ was), after + float(one.pairs.weight @ now)
        both += float(one.pairs.weight @ (was & now))
    a_query = items / float(near.weight.sum())
    return KeptItems(
        share * items,
        _sign(source) * float(old[0]),
        _sign(target) * float(whole(old)[0]),
        before * a_query,
        after * a_query,
        both / after if after else 0.0,
    )
