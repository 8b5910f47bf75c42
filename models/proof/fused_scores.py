"""What a search by both models' queries finds, for every weight α of the new one, and which α to take.

A query's scores by either model are brought to the same spread over the rows that it searches, as a
`models.portable.Fusion` does it in closed form. All values of α are measured in one pass, since the scores of both
models are then at hand; and so is what the new query finds by itself, and by every other form that it is asked in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Floats32, RowNumbers, Scores
from models.evaluation.retrieval_metrics import METRICS, NEIGHBOURS, RetrievalMetric, cmc, match_ranks, metrics_of_ranks
from models.evaluation.score_blocks import Searched, for_each_block_of_all, for_each_pair_of_blocks
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
class LabelScores:
    """What queries find by label. alone: (m, 4) by themselves, fused: (m, a, 4) together with the old model's queries,
    by every α that is tried; a column for each of the METRICS, NaN where not measured."""

    alone: Scores
    fused: ScoresByAlpha


@dataclass(frozen=True)
class LabelsSearched:
    """By which labels answers are right. queries: (m,) and gallery: (n,) label codes, -1 for none.

    exclude: (m, e) rows that each query must not find, -1 for none.
    """

    queries: Codes
    gallery: Codes
    exclude: RowNumbers

    @cached_property
    def unlabelled(self) -> RowNumbers:
        """The rows without a label, which are not ranked."""
        return np.flatnonzero(self.gallery < 0)

    @cached_property
    def by_code(self) -> tuple[RowNumbers, RowNumbers]:
        """The rows in the order of their codes, and where among them each code of a query begins, and the last ends."""
        rows = np.argsort(self.gallery, kind="stable")
        return rows, np.searchsorted(self.gallery[rows], np.arange(max(self.queries.max(initial=-1), 0) + 2))

    def same(self, query: int) -> RowNumbers:
        """The rows with the label of a query, ascending: (s,)."""
        (rows, bounds), code = self.by_code, self.queries[query]
        return rows[bounds[code] : bounds[code + 1]] if code >= 0 else rows[:0]

    def hidden(self, query: int) -> RowNumbers:
        """The rows that are not ranked for a query."""
        excluded = self.exclude[query]
        return np.concatenate([self.unlabelled, excluded[excluded >= 0]])


def scores_by_label(
    old: Searched, new: Sequence[Searched], labels: LabelsSearched, alphas: Floats, metric: RetrievalMetric
) -> list[LabelScores]:
    """What each of several new searches finds by label, alone and fused with the old one at every α; of all in one
    pass over the gallery, which takes each search's scores once.

    The searches have the same queries and the same rows. Measured are CMC@1, CMC@5 and, alone or where it is the
    `metric`, the average precision. A query without a match scores 0.
    """
    m = len(labels.queries)
    found = [
        LabelScores(np.full((m, len(METRICS)), np.nan), np.full((m, len(alphas), len(METRICS)), np.nan)) for _ in new
    ]
    measured = METRICS.index("map") + (metric == "map")
    factors = alphas.astype(np.float32)
    _ = labels.by_code, labels.unlabelled  # made here, once: threads that find them lacking would each make them

    def take(rows: RowNumbers, scores: Sequence[Floats32]) -> None:
        for place, query in enumerate(rows.tolist()):
            same, hidden = labels.same(query), labels.hidden(query)
            base, *others = (side[place] for side in scores)
            standardise(base[None])
            for one, difference in zip(found, others, strict=True):
                one.alone[query, :3] = _alone(difference, same, hidden)
                one.fused[query, :, :measured] = 0.0
                standardise(difference[None])
                difference -= base
                difference[hidden] = 0.0
            base[hidden] = -np.inf
            if not (base[same] > -np.inf).any():
                continue
            for one, difference in zip(found, others, strict=True):
                ranks = _ranks_of_first(base, difference, same, factors)
                one.fused[query, :, 0], one.fused[query, :, 1] = ranks <= 1, ranks <= 5
                if metric == "map":
                    for i, factor in enumerate(factors):
                        matched = match_ranks((base + factor * difference)[None], same)
                        one.fused[query, i, 2] = metrics_of_ranks(matched).average_precision[0]

    for_each_block_of_all(take, (old, *new))
    return found


def _alone(scores: Floats32, same: RowNumbers, hidden: RowNumbers) -> Floats:
    """CMC@1, CMC@5 and average precision of one query from its scores (n,): (3,)."""
    if not len(same):
        return np.zeros(3)
    ranked = scores.copy()
    ranked[hidden] = -np.inf
    found = metrics_of_ranks(match_ranks(ranked[None], same))
    scored = [cmc(found.ranks, 1)[0], cmc(found.ranks, 5)[0], np.nan_to_num(found.average_precision[0])]
    return np.array(scored, np.float64)


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
        labels = LabelsSearched(codes, gallery_codes, self.exclude)
        return scores_by_label(self.old, (self.new,), labels, alphas, metric)[0].fused

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
    size = np.maximum(scores.max(axis=1, keepdims=True, initial=0), -scores.min(axis=1, keepdims=True, initial=0))
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
