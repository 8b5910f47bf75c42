"""Partial backfilling: the curve of retrieval quality over the share of a gallery that was re-embedded.

Source: FastFill, arXiv 2303.04766. At the fractions i/21 the first ⌊i·n/21⌋ items of an order have their real new
vectors and the others their transformed ones; the mean over the fractions is the figure of merit. An order is given:
which item is re-embedded first is ruled by `app.galleries.orders`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from models.arrays import Codes, Floats
from models.evaluation.bootstrap import Interval, percentile_interval, resampled_sums
from models.evaluation.retrieval_metrics import RetrievalMetric, average_precision, recall_at_k, top_k
from models.evaluation.score_blocks import for_each_block, middle_of
from models.portable import Array, Distance

DEPTH: dict[RetrievalMetric, int] = {"cmc@1": 1, "cmc@5": 5, "recall@10": 10}

STEPS = 21
STRAIGHT: frozenset[RetrievalMetric] = frozenset({"cmc@1", "cmc@5"})
"""Measures whose curve is predicted as a straight line. Among a few pairs of a class real vectors and transformed ones
get into each other's way; in a gallery that mostly costs the first answers next to nothing. Where it does cost them,
the curve departs from the line as that of the pairs does: the intervals reach as far."""
SOON = 0.05
"""The share of a gallery whose re-embedding does most (1 − 1/e) of what it does for groups that had no pairs: a few
real vectors of a group answer its queries."""
_MOST_CURVED = 2.0  # how much more curved the gallery's curve is taken to be than that of the pairs, at most
NORMAL_95 = 2 * 1.959964  # width of a 95 % interval in standard deviations


@dataclass(frozen=True)
class CurvePoint:
    """The quality where `share` of the gallery has its real vectors, with the ends of its 95 % interval."""

    share: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Retrieval quality where items are re-embedded in the order of this name; points by rising share, from 0 to 1."""

    order: str
    measure: RetrievalMetric
    points: tuple[CurvePoint, ...]

    @property
    def mean(self) -> float:
        """The mean of the curve over its fractions: FastFill's figure of merit."""
        return float(np.mean([point.mean for point in self.points]))

    def at(self, share: float) -> CurvePoint:
        """The point at any share from 0 to 1, interpolated between its neighbours."""
        shares = [point.share for point in self.points]
        columns = zip(*((point.mean, point.low, point.high) for point in self.points), strict=True)
        mean, low, high = (float(np.interp(share, shares, column)) for column in columns)
        return CurvePoint(float(np.clip(share, 0, 1)), mean, low, high)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, the mean of the curve among them."""
        return {
            "order": self.order,
            "measure": self.measure,
            "mean": self.mean,
            "points": [asdict(point) for point in self.points],
        }


def predicted_curve(
    transformed: Array,
    new: Array,
    codes: Codes | None,
    order: Codes,
    metric: Distance,
    measure: RetrievalMetric,
    start: Interval | None = None,
    end: Interval | None = None,
    *,
    soon: Interval | None = None,
    queries: Array | None = None,
    truth: Codes | None = None,
    name: str = "uncertainty",
    resamples: int = 2000,
    seed: int = 0,
) -> Curve:
    """The curve that a gallery is expected to take, learned from held-out pairs alone.

    transformed: (n, d) by refits that had not learned from each pair; new: (n, d); codes: (n,) or None; order: (n,)
    of the pairs. They are queries and gallery, own entry excluded. `start` and `end`, 95 % intervals of M(new, h) and
    M(new, new) on the gallery, take the place of the pairs' own, which are of a smaller gallery: the pairs then tell
    by how much the curve departs from the straight line between its ends, in proportion to their distance; of a
    measure in `STRAIGHT`, how far its intervals reach. Without `end`, the gallery's errors are taken to shrink and grow
    as the pairs' do. queries: (n, d) of the pairs, where they are not their new vectors; truth: as of `values_along`.
    soon: the quality with groups that had no pairs re-embedded and no other, where there are such: a straight curve
    rises by what that gains within the first items (`SOON`), and by the rest evenly.
    Where the gallery is far denser than the pairs (two pairs of a class, say), the curve rises sooner than foretold:
    the intervals tell nothing of that. Raises ValueError for a measure by label without labels.
    """
    if measure != "recall@10" and codes is None:
        raise ValueError(f"{measure} needs labels; recall@10 does not")
    known = np.full(len(new), -1) if codes is None else codes
    own = np.arange(len(new))
    values = values_along(
        new if queries is None else queries,
        known,
        transformed,
        new,
        known,
        order,
        metric,
        own,
        measure,
        truth=truth,
        steps=STEPS,
    )
    # A pair whose label no other has could be answered right by no vectors at all.
    shared = np.bincount(known[known >= 0], minlength=int(known.max(initial=-1)) + 1) > 1
    judged = own if measure == "recall@10" else np.flatnonzero((known >= 0) & np.append(shared, False)[known])
    drawn = resampled_sums(values.T[judged], seed=seed, resamples=resamples) / max(1, len(judged))
    curves = np.vstack([values[:, judged].mean(axis=1), drawn])
    if start is not None and end is not None:
        ends = _drawn_ends(start, end, seed, resamples)
        bent = _between(curves, *ends, _MOST_CURVED)
        if depends_on_order(measure):
            return _curve(name, measure, bent)
        if soon is None:
            return _curve(name, measure, _between(curves, *ends, 0.0), as_far_as=bent)
        first = _drawn_ends(start, soon, seed, resamples)
        return _curve(name, measure, _rising(*first, ends[1], curves.shape[1]), as_far_as=bent)
    if start is not None:
        curves = _in_proportion(curves, _drawn_ends(start, start, seed, resamples)[0])
    return _curve(name, measure, curves)


def depends_on_order(measure: RetrievalMetric) -> bool:
    """Whether the curve between two given ends is predicted to depend on the order in which items are re-embedded."""
    return measure not in STRAIGHT


def values_along(
    queries: Array,
    query_codes: Codes,
    transformed: Array,
    new: Array,
    gallery_codes: Codes,
    order: Codes,
    metric: Distance,
    exclude: Codes | None,
    measure: RetrievalMetric,
    *,
    truth: Codes | None = None,
    steps: int = STEPS,
    ends: tuple[Floats, Floats] | None = None,
) -> Floats:
    """Every query's value at the fractions i/steps, i = 0…steps: (steps + 1, m) float64.

    queries: (m, d); transformed, new: (n, d) float32, the same items; codes: (m,) and (n,), -1 for no label; order:
    (n,) rows, first re-embedded first; exclude: (m,) or (m, e) gallery rows that a query must not find. "recall@10" is
    of the rows in `truth` (m, 10), by default the neighbours by new vectors. The others go by label: items without one
    are not searched, queries without one count 0. Fraction 0 equals M(new, h) and fraction 1 M(new, new). Between two
    fractions only a slice of the gallery changes, so the best of every slice are found once, in either form. ends: the
    average precisions (m,) at fractions 0 and 1, which no order changes, where they are known.
    """
    if measure != "recall@10" and not (gallery_codes >= 0).all():
        labelled = gallery_codes >= 0
        place = np.append(np.where(labelled, np.cumsum(labelled) - 1, -1), -1)
        exclude = None if exclude is None else place[exclude]
        transformed, new, gallery_codes = transformed[labelled], new[labelled], gallery_codes[labelled]
        order = place[order[labelled[order]]]
    bounds = [i * len(order) // steps for i in range(steps + 1)]
    if measure == "map":
        values = np.empty((steps + 1, len(queries)))
        mixed = np.array(transformed, np.float32)
        if ends is not None:
            values[0], values[-1] = ends
        for i, bound in enumerate(bounds):
            if ends is not None and i in (0, steps):
                continue
            mixed[order[:bound]] = new[order[:bound]]
            values[i] = np.nan_to_num(average_precision(queries, query_codes, mixed, gallery_codes, metric, exclude))
        return values
    depth, slices = DEPTH[measure], [np.sort(order[a:b]) for a, b in pairwise(bounds)]
    origin = middle_of(new)  # of both, whose scores are compared
    before = _best_of_slices(queries, transformed, metric, exclude, slices, depth, origin)
    after = _best_of_slices(queries, new, metric, exclude, slices, depth, origin)
    if measure == "recall@10" and truth is None:
        truth = top_k(queries, new, depth, metric, exclude)
    values = np.empty((steps + 1, len(queries)))
    for i in range(steps + 1):
        score = np.concatenate([after.score[:, :i], before.score[:, i:]], axis=1)
        row: Codes = np.concatenate([after.row[:, :i], before.row[:, i:]], axis=1)
        nearest = _best(score.reshape(len(queries), -1), row.reshape(len(queries), -1), depth)
        if measure == "recall@10" and truth is not None:
            values[i] = recall_at_k(nearest, truth)
        else:
            values[i] = ((nearest >= 0) & (gallery_codes[nearest] == query_codes[:, None])).any(axis=1)
    return values


@dataclass(frozen=True)
class _Best:
    """What every query finds best in every slice of the gallery: score (m, slices, k), -inf for none, row likewise."""

    score: Array
    row: Codes


def _best_of_slices(
    queries: Array,
    gallery: Array,
    metric: Distance,
    exclude: Codes | None,
    slices: list[Codes],
    k: int,
    origin: Array,
) -> _Best:
    """slices: the rows of each; queries, gallery, metric and exclude as in `values_along`; origin: (d,) the point that
    scores are taken about."""
    best = _Best(
        np.full((len(queries), len(slices), k), -np.inf, np.float32),
        np.full((len(queries), len(slices), k), -1, np.int64),
    )

    def take(rows: Codes, scores: Array) -> None:
        every = np.arange(len(rows))
        for i, columns in enumerate(slices):
            part = scores[:, columns]
            for place in range(min(k, len(columns))):
                first = part.argmax(axis=1)  # of equal scores the earlier gallery row, as columns rise
                score = part[every, first]
                best.score[rows, i, place] = score
                best.row[rows, i, place] = np.where(score > -np.inf, columns[first], -1)
                part[every, first] = -np.inf

    for_each_block(take, queries, gallery, metric, exclude, origin=origin)
    return best


def _best(score: Array, row: Codes, k: int) -> Codes:
    """The k rows of the best scores, equal ones by row: (m, c), (m, c) → (m, k), -1 for none."""
    first = np.lexsort((row, -score), axis=1)[:, :k]
    best: Codes = np.take_along_axis(row, first, axis=1)
    return best


def _drawn_ends(start: Interval, end: Interval, seed: int, resamples: int) -> tuple[Floats, Floats]:
    """Both ends and then draws of them, (1 + resamples, 1) each; one has the same luck as the other."""
    luck = np.append(0.0, np.random.default_rng(seed).standard_normal(resamples))[:, None]
    drawn_start, drawn_end = (one.mean + luck * (one.high - one.low) / NORMAL_95 for one in (start, end))
    return drawn_start, drawn_end


def _between(curves: Floats, start: Floats, end: Floats, steepest: float) -> Floats:
    """Curves (r, points) bent from their own ends to others (r, 1): the straight line, and the departure from it, in
    proportion to the distance of the ends, but `steepest` times at most."""
    share = np.linspace(0, 1, curves.shape[1])
    first, last = curves[:, :1], curves[:, -1:]
    departure = curves - first - share * (last - first)
    wide = np.where(np.abs(last - first) > 1e-9, last - first, 1e-9)
    return np.asarray(start + share * (end - start) + np.clip((end - start) / wide, 0, steepest) * departure)


def _rising(start: Floats, soon: Floats, end: Floats, points: int) -> Floats:
    """Curves (r, points) from start to end, (r, 1) each, that rise by soon − start within the first items."""
    share = np.linspace(0, 1, points)
    reached = -np.expm1(-share / SOON) / -np.expm1(-1 / SOON)
    return np.asarray(start + reached * np.maximum(soon - start, 0) + share * (end - np.maximum(soon, start)))


def _in_proportion(curves: Floats, start: Floats) -> Floats:
    """Curves (r, points) that begin at `start` (r, 1), their errors being the same multiples of the first as before."""
    errors = 1 - curves
    multiple = np.ones_like(errors)
    np.divide(errors, errors[:, :1], out=multiple, where=errors[:, :1] > 0)
    return np.asarray(1 - (1 - start) * multiple)


def _curve(name: str, measure: RetrievalMetric, curves: Floats, as_far_as: Floats | None = None) -> Curve:
    """The first of these curves (r, points), at equal steps of the share from 0 to 1; the others, draws of it, tell its
    intervals. as_far_as: (r, points) another curve and draws of it, whose intervals are to be held as well."""
    intervals, further = _intervals(curves), _intervals(curves if as_far_as is None else as_far_as)
    last = len(intervals) - 1
    points = (
        CurvePoint(i / last, each.mean, min(each.low, other.low), max(each.high, other.high))
        for i, (each, other) in enumerate(zip(intervals, further, strict=True))
    )
    return Curve(name, measure, tuple(points))


def _intervals(curves: Floats) -> list[Interval]:
    return [percentile_interval(float(each[0]), each[1:]) for each in np.clip(curves, 0, 1).T]
