"""What a search by both models' queries finds, for every weight α of the new one, and which α to take.

A query's scores by either model are brought to the same spread over the rows that it searches, as a
`models.portable.Fusion` does it in closed form. All values of α are measured in one pass, since the scores of both
models are then at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Floats32, RowNumbers
from models.evaluation.retrieval_metrics import METRICS, NEIGHBOURS, RetrievalMetric, match_ranks
from models.evaluation.score_blocks import Searched, for_each_pair_of_blocks
from models.spread import ROUNDING

ScoresByAlpha = NDArray[np.float64]
"""(queries, values of α, 4), a column for each of the METRICS; NaN where not measured."""

_STEPS = 20
_ROUNDING_OF_STANDARDISED = 1e-6
_COARSE_STEPS = 5  # for the average precision, which takes a sort for every α


def alphas_for(metric: RetrievalMetric) -> Floats:
    """The values of α that are tried where this metric is to decide: (a,), from 0, the old search, to 1, the new."""
    steps = _COARSE_STEPS if metric == "map" else _STEPS
    return np.arange(steps + 1) / steps


@dataclass(frozen=True)
class FusedSearch:
    """The same queries as each model embeds them, and the same rows in each model's space.

    exclude: (m, e) rows that each query must not find, -1 for none.
    """

    old: Searched
    new: Searched
    exclude: RowNumbers

    def label_scores(
        self, codes: Codes, gallery_codes: Codes, alphas: Floats, metric: RetrievalMetric
    ) -> ScoresByAlpha:
        """CMC@1 and CMC@5 by label codes (m,) and (n,), -1 for none, at every α; the average precision too where it is
        the `metric`. Rows without a label are not ranked; a query without a match scores 0."""
        found = np.full((len(codes), len(alphas), len(METRICS)), np.nan)
        unlabelled = np.flatnonzero(gallery_codes < 0)
        factors = alphas.astype(np.float32)
        by_code = np.argsort(gallery_codes, kind="stable")
        bounds = np.searchsorted(gallery_codes[by_code], np.arange(max(codes.max(initial=-1), 0) + 2))

        def take(rows: RowNumbers, old: Floats32, new: Floats32) -> None:
            standardise(old)
            standardise(new)
            new -= old
            for query, base, difference in zip(rows.tolist(), old, new, strict=True):
                found[query, :, :3] = 0.0
                code = codes[query]
                same = by_code[bounds[code] : bounds[code + 1]] if code >= 0 else by_code[:0]
                hidden = np.concatenate([unlabelled, self.exclude[query][self.exclude[query] >= 0]])
                base[hidden], difference[hidden] = -np.inf, 0.0
                if not len(same) or not (base[same] > -np.inf).any():
                    continue
                ranks = _ranks_of_first(base, difference, same, factors)
                found[query, :, 0], found[query, :, 1] = ranks <= 1, ranks <= 5
                if metric == "map":
                    for i, factor in enumerate(factors):
                        matched = match_ranks((base + factor * difference)[None], same)[0]
                        matched = matched[matched > 0]
                        found[query, i, 2] = float((np.arange(1, len(matched) + 1) / matched).mean())

        for_each_pair_of_blocks(take, self.old, self.new)
        if metric != "map":
            found[:, :, METRICS.index("map")] = np.nan
        return found

    def neighbours_found(self, truth: RowNumbers, alphas: Floats) -> Floats:
        """The share of the rows in `truth` (m, k), -1 for padding, among the nearest `NEIGHBOURS`: (m, a)."""
        found = np.zeros((len(truth), len(alphas)))

        def take(rows: RowNumbers, old: Floats32, new: Floats32) -> None:
            standardise(old)
            standardise(new)
            new -= old
            query, place = np.nonzero(self.exclude[rows] >= 0)
            old[query, self.exclude[rows[query], place]] = -np.inf
            new[query, self.exclude[rows[query], place]] = 0.0
            wanted = truth[rows]
            real = wanted >= 0
            width = min(NEIGHBOURS, old.shape[1])
            for i, alpha in enumerate(alphas.tolist()):
                fused = old + np.float32(alpha) * new
                least = np.partition(fused, -width, axis=1)[:, -width]
                hits = real & (np.take_along_axis(fused, wanted, axis=1) >= least[:, None])
                found[rows, i] = hits.sum(axis=1) / np.maximum(real.sum(axis=1), 1)

        for_each_pair_of_blocks(take, self.old, self.new)
        return found


def best_alpha(scores: Floats, weight: Floats) -> int:
    """Which α to take, as a place on the grid: the middle one of those within one standard error of the best.

    scores: (m, a) of queries at every α; weight: (m,) how much each query counts. The standard error is that of the
    paired difference to the best. So an α on the edge of a plateau, which noise may have made the best, is not taken.
    """
    share = weight / weight.sum()
    means = share @ scores
    behind = scores[:, [int(means.argmax())]] - scores
    error = np.sqrt(np.square(share) @ np.square(behind - share @ behind))
    near = np.flatnonzero(share @ behind <= error + 1e-12)
    return int(near[len(near) // 2])


def standardise(scores: Floats32) -> None:
    """Brings each row to mean 0 and standard deviation 1, in place; a row that is all alike, but for float32's
    rounding, to 0."""
    size = np.abs(scores).max(axis=1, keepdims=True, initial=0)
    np.divide(scores, size, out=scores, where=size > 0)  # what is squared is then at most 1, whatever the space's size
    scores -= scores.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.einsum("ij,ij->i", scores, scores) / scores.shape[1])[:, None]
    np.divide(scores, spread, out=scores, where=spread > ROUNDING)
    scores[spread[:, 0] <= ROUNDING] = 0


def _ranks_of_first(base: Floats32, difference: Floats32, same: RowNumbers, factors: Floats32) -> RowNumbers:
    """The 1-based rank of the best of the rows `same` (s,), ascending, by base + factor · difference, for each of the
    factors (a,), from 0 to 1: (a,). Of equal scores the earlier row is ahead.

    base, difference: (n,) of standardised scores. A row's score is nowhere higher than at one of the ends, so one that
    is there below the lowest of the best is never ahead, and is not looked at again.
    """
    of_same = base[same] + factors[:, None] * difference[same]
    place = of_same.argmax(axis=1)
    first, best = same[place], of_same[np.arange(len(factors)), place]
    highest = np.maximum(base, base + difference)
    rounding = np.float32(_ROUNDING_OF_STANDARDISED * np.sqrt(len(base)))  # standardised, no score exceeds √n
    rivals = np.flatnonzero(highest >= best.min() - rounding)
    scores = base[rivals] + factors[:, None] * difference[rivals]
    ahead = scores > best[:, None]
    ahead |= (scores == best[:, None]) & (rivals < first[:, None])
    ranks: RowNumbers = ahead.sum(axis=1) + 1
    return ranks
