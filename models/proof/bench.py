"""What a proof measures on: the judged pairs as queries of the gallery, and the scores that need no transformation.

Queries are the pairs' new vectors; the gallery is the whole gallery, transformed by what was learned without them.
Their own entry, and what was written with it (`models.proof.writing_order`), is not searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Known, Scores
from models.evaluation.retrieval_metrics import (
    METRICS,
    NEIGHBOURS,
    RetrievalMetric,
    cmc,
    label_metrics,
    labelled_rows,
    recall_at_k,
    top_k,
)
from models.evaluation.score_blocks import Searched
from models.portable import Array, Distance, PushedQueries, Space, as_indexed
from models.proof.fused_scores import (
    FusedSearch,
    LabelScores,
    LabelsSearched,
    ScoresByAlpha,
    alphas_for,
    scores_by_label,
)
from models.proof.inputs import ProofGallery
from models.proof.judging_labels import answerable
from models.transformations.mixture import Mover, transform
from models.transformations.pairs import Pairs

RECALL = METRICS.index("recall@10")
_TRANSFORMED_BYTES = 2**28


@dataclass(frozen=True)
class ProofBench:
    """The queries and the gallery of a proof, the same for every transformation that is tried on them.

    has_side: (n,) bool as the gallery's, of the pairs.
    gallery_code (N,) and pair_code (n,) int64: label codes, -1 for none; near: (n, e) int64 the gallery rows that must
    not be found by each pair's query; judged: (m,) int64 the pairs whose new vectors are the queries.
    """

    gallery: ProofGallery
    pairs: Pairs
    gallery_code: Codes
    pair_code: Codes
    near: Codes
    judged: Codes
    source: Space
    target: Space
    labelled: bool
    has_side: Known = None

    @cached_property
    def indexed_old(self) -> Array:
        """The gallery's old vectors as an index holds them: (N, d_old) float32."""
        return as_indexed(self.gallery.old, self.source.metric)

    def old_gallery_asked(self, pushed: PushedQueries) -> Searched:
        """The gallery's old vectors, searched by queries of the new model (k, d_old) that were pushed into their
        space."""
        return Searched(pushed.queries, self.indexed_old, pushed.score)

    @property
    def folds_at_once(self) -> int:
        """How many folds may be held out side by side: so many transformed galleries are in memory."""
        return max(1, _TRANSFORMED_BYTES // max(1, 4 * len(self.gallery) * self.target.dimension))

    def transformed_gallery(self, h: Mover) -> Array:
        """The gallery as `h` transforms it: (N, d_new) float32."""
        return transform(h, self.gallery.old, self.gallery.side, self.gallery.has_side)

    def transformed_pairs(self, h: Mover, rows: Codes) -> Array:
        """These pairs' old vectors as `h` transforms them: rows (k,) → (k, d_new) float32."""
        side = None if self.pairs.side is None else self.pairs.side[rows]
        return transform(h, self.pairs.old[rows], side, None if self.has_side is None else self.has_side[rows])

    def by_label(self, pairs: Codes, new: Sequence[Searched], metric: RetrievalMetric) -> list[LabelScores]:
        """What these pairs (k,) find by label in each of several searches, by itself and fused with the old model's.

        new: each with queries of these pairs, and gallery vectors in the order of the gallery's old ones. metric: what
        decides how both are fused; only where it is the average precision, this is measured of them fused.
        """
        old = Searched(self.pairs.old[pairs], self.gallery.old, self.source.metric)
        labels = LabelsSearched(self.pair_code[pairs], self.gallery_code, self.near[pairs])
        return scores_by_label(old, new, labels, alphas_for(metric), metric)

    def fused_neighbours(self, queries: Codes, new: Searched, metric: RetrievalMetric) -> Floats:
        """Recall@10 of some judged pairs (k,), by their places among these, with the judged pairs as gallery: (k, a).

        new: the new model's side of the search, with a gallery of the judged pairs.
        """
        old = self.pairs.old[self.judged]
        search = FusedSearch(Searched(old[queries], old, self.source.metric), new, queries[:, None])
        return search.neighbours_found(self.true_neighbours(queries), alphas_for(metric))

    def true_neighbours(self, queries: Codes | None = None) -> Codes:
        """What full re-embedding would find for some judged pairs (k,), by their places among these, None for all: the
        nearest other judged pairs by new vectors; (k, NEIGHBOURS) int64."""
        new = self.pairs.new[self.judged]
        queries = np.arange(len(new)) if queries is None else queries
        return top_k(new[queries], new, NEIGHBOURS, self.target.metric, queries)

    def unmeasured_by_alpha(self, fused: RetrievalMetric | None) -> ScoresByAlpha:
        """Scores of the judged pairs by every α that is tried for a metric, NaN as yet; none where it is None."""
        return np.full((len(self.judged), 0 if fused is None else len(alphas_for(fused)), len(METRICS)), np.nan)


def label_scores(
    queries: Array, codes: Codes, gallery: Array, gallery_codes: Codes, metric: Distance, exclude: Codes
) -> Scores:
    """CMC@1, CMC@5 and average precision by label codes (-1: none): (k, 4), recall NaN; no match counts as 0.

    An item without a label is neither right nor wrong: it is not ranked.
    """
    scores = np.full((len(queries), len(METRICS)), np.nan)
    gallery, gallery_codes, left_out = labelled_rows(gallery_codes >= 0, gallery, gallery_codes, exclude)
    measured = label_metrics(queries, codes, gallery, gallery_codes, metric, left_out)
    scores[:, 0], scores[:, 1] = cmc(measured.ranks, 1), cmc(measured.ranks, 5)
    scores[:, 2] = np.nan_to_num(measured.average_precision)
    return scores


def old_scores(bench: ProofBench) -> Scores:
    """The old model on the judged pairs: their old vectors against the old gallery; (m, 4)."""
    rows = bench.judged
    scores = np.full((len(rows), len(METRICS)), np.nan)
    old, metric = bench.pairs.old[rows], bench.source.metric
    if bench.labelled:
        codes, gallery = bench.pair_code[rows], bench.gallery.old
        scores = label_scores(old, codes, gallery, bench.gallery_code, metric, bench.near[rows])
    answers = top_k(old, old, NEIGHBOURS, metric, np.arange(len(rows)))
    scores[:, RECALL] = recall_at_k(answers, bench.true_neighbours())
    return scores


def among_pairs(bench: ProofBench, vectors: Array, metric: Distance, queries: Array) -> Scores:
    """By label, the judged pairs alone as queries (m, d) and gallery (m, d), as if nothing else were stored; (m, 4)."""
    codes, exclude = _pairs_alone(bench)
    return label_scores(queries, codes, vectors, codes, metric, exclude)


def answerable_among_pairs(bench: ProofBench) -> NDArray[np.bool_]:
    """Which judged pairs others of their label could answer, were nothing else stored: (m,) bool."""
    codes, exclude = _pairs_alone(bench)
    return answerable(codes, exclude, codes)


def _pairs_alone(bench: ProofBench) -> tuple[Codes, Codes]:
    """Label codes of the judged pairs, (m,), and the places among them that each must not find, (m, e), -1 for none."""
    place = np.full(len(bench.gallery) + 1, -1, np.int64)
    rows = bench.near[bench.judged]
    own = rows[:, rows.shape[1] // 2]
    place[own[own >= 0]] = np.flatnonzero(own >= 0)
    every = np.arange(len(bench.judged))
    near = place[rows]
    near[near == every[:, None]] = -1
    return bench.pair_code[bench.judged], np.column_stack([every, near])
