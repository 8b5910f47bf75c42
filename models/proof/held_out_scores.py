"""The measurements a proof rests on: queries of held-out rows, held-out classes or regions, and the old model's own.

Queries are the pairs' new vectors; the gallery is the whole gallery, transformed by what was learned without them.
Their own entry, and what was written with it (`models.proof.writing_order`), is not searched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Known, Progress, Scores
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
from models.portable import Array, Distance, Space, Transformation, as_indexed
from models.proof.fused_scores import FusedSearch, ScoresByAlpha, alphas_for
from models.proof.inputs import ProofGallery
from models.proof.judging_labels import answerable
from models.training.threads import fits_side_by_side
from models.transformations.mixture import Mover, transform
from models.transformations.pairs import Pairs, Refit

_RECALL = METRICS.index("recall@10")
_TRANSFORMED_BYTES = 2**29

RefitMover = Callable[[Pairs], Mover]


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

    def fused_by_label(self, pairs: Codes, new: Searched, metric: RetrievalMetric) -> ScoresByAlpha:
        """CMC@1 and CMC@5 (and the average precision, where it is the `metric`) of these pairs (k,) by every α.

        new: what the new model's side of the search is: queries of these pairs, and gallery vectors in the order of the
        gallery's old ones.
        """
        old = Searched(self.pairs.old[pairs], self.gallery.old, self.source.metric)
        search = FusedSearch(old, new, self.near[pairs])
        return search.label_scores(self.pair_code[pairs], self.gallery_code, alphas_for(metric), metric)

    def fused_neighbours(self, queries: Codes, new: Searched, metric: RetrievalMetric) -> Floats:
        """Recall@10 of some judged pairs (k,), by their places among these, with the judged pairs as gallery: (k, a).

        new: the new model's side of the search, with a gallery of the judged pairs.
        """
        old = self.pairs.old[self.judged]
        search = FusedSearch(Searched(old[queries], old, self.source.metric), new, queries[:, None])
        return search.neighbours_found(_true_neighbours(self, queries), alphas_for(metric))

    def scores_by_label(self, queries: Array, pairs: Codes, vectors: Array, metric: Distance) -> Scores:
        """CMC@1, CMC@5 and average precision of these pairs' queries (k, d) against gallery vectors (N, d)."""
        return label_scores(queries, self.pair_code[pairs], vectors, self.gallery_code, metric, self.near[pairs])


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


@dataclass(frozen=True)
class PushedScores:
    """The judged pairs, by transformations pushed into their queries.

    queries: (m, d_old) float32, what the new vectors became as queries of the old gallery; score: (m,) of texts, "ip"
    or "l2", which score each of them is searched by. scores: (m, 4); fused: as of HeldOutScores.
    """

    queries: Array
    score: NDArray[np.str_]
    scores: Scores
    fused: ScoresByAlpha

    def take(self, kept: NDArray[np.bool_]) -> PushedScores:
        """Of some of the judged pairs, where `kept`, (m,) bool."""
        return PushedScores(self.queries[kept], self.score[kept], self.scores[kept], self.fused[kept])


@dataclass(frozen=True)
class HeldOutScores:
    """The judged pairs, by transformations that had not learned from them.

    scores: (m, 4) of their new vectors as queries; vectors: (m, d_new) their old vectors, transformed. fused: (m, a, 4)
    of their vectors of both models together, by every α that is tried, which is none where that was not asked for.
    pushed: by the same transformations, pushed into the queries; None where that was not asked for.
    """

    scores: Scores
    vectors: Array
    fused: ScoresByAlpha
    pushed: PushedScores | None = None

    def take(self, kept: NDArray[np.bool_]) -> HeldOutScores:
        """Of some of the judged pairs, where `kept`, (m,) bool."""
        pushed = None if self.pushed is None else self.pushed.take(kept)
        return HeldOutScores(self.scores[kept], self.vectors[kept], self.fused[kept], pushed)


def cross_val_scores(
    bench: ProofBench,
    fold: Codes,
    refit: RefitMover,
    *,
    fused: RetrievalMetric,
    learned: Array | None = None,
    push: bool = False,
    progress: Progress | None = None,
) -> HeldOutScores:
    """The judged pairs' scores by cross-validation: each fold by a transformation fitted on the others.

    Recall is not among them, NaN: it is of the judged pairs among each other, and `with_recall` adds it once it is
    known which of them are judged.

    fold: (n,) int64 the fold of each pair, -1 to learn from it always. learned: (m, d_new) the judged pairs' old
    vectors as transformed where their fold is *not* the one held out; None takes each from its own fold. fused: the
    metric in which the search by both models is measured as well. push: whether what `refit` learns can be pushed into
    queries, and this is measured too.
    """
    folds = int(fold.max()) + 1
    scores = np.full((len(bench.judged), len(METRICS)), np.nan)
    by_alpha, pushed = _empty_by_alpha(bench, fused), _empty_pushed(bench, fused) if push else None
    vectors = np.zeros((len(bench.judged), bench.target.dimension), np.float32) if learned is None else learned.copy()
    judged_fold, metric = fold[bench.judged], bench.target.metric
    if push and bench.labelled:
        _ = bench.indexed_old  # made here, once: threads that all find it lacking would each make one

    def hold_out(k: int) -> None:
        h = refit(bench.pairs.subset(np.flatnonzero(fold != k)))
        queries = np.flatnonzero(judged_fold == k)
        rows = bench.judged[queries]
        vectors[queries] = bench.transformed_pairs(h, rows)
        if bench.labelled:
            gallery = bench.transformed_gallery(h)
            scores[queries] = bench.scores_by_label(bench.pairs.new[rows], rows, gallery, metric)
            by_alpha[queries] = bench.fused_by_label(rows, Searched(bench.pairs.new[rows], gallery, metric), fused)
        if pushed is not None and isinstance(h, Transformation):
            _fill(pushed, queries, _pushed_by_label(bench, h, queries, fused))

    with fits_side_by_side(bench.folds_at_once) as threads:
        for done, _ in enumerate(threads.map(hold_out, range(folds)), start=1):
            if progress is not None:
                progress(done, folds)
    return HeldOutScores(scores, vectors, by_alpha, pushed)


def with_recall(
    bench: ProofBench, measured: HeldOutScores, fold: Codes, fused: RetrievalMetric, learned: Array | None = None
) -> HeldOutScores:
    """What `cross_val_scores` measured, with recall@10 besides: of the judged pairs of `bench`, which are those that
    were measured, among each other.

    fold, fused and learned, (m, d_new) of these judged pairs: as for `cross_val_scores`.
    """
    scores, by_alpha = measured.scores.copy(), measured.fused.copy()
    truth, metric = _true_neighbours(bench), bench.target.metric
    for queries in _batches(fold[bench.judged], learned is None):
        gallery = measured.vectors if learned is None else learned.copy()
        gallery[queries] = measured.vectors[queries]
        new = bench.pairs.new[bench.judged[queries]]
        answers = top_k(new, gallery, NEIGHBOURS, metric, queries)
        scores[queries, _RECALL] = recall_at_k(answers, truth[queries])
        if fused == "recall@10":
            by_alpha[queries, :, _RECALL] = bench.fused_neighbours(queries, Searched(new, gallery, metric), fused)
    pushed = None if measured.pushed is None else _pushed_with_recall(bench, measured.pushed, fused)
    return HeldOutScores(scores, measured.vectors, by_alpha, pushed)


def cross_val_pushed_scores(bench: ProofBench, fold: Codes, refit: Refit, fused: RetrievalMetric) -> PushedScores:
    """The judged pairs' scores by cross-validation, each fold's transformation pushed into its queries.

    The old gallery is searched as it is. fold: (n,) int64 and `fused` as for `cross_val_scores`.
    """
    pushed = _empty_pushed(bench, fused)
    judged_fold = fold[bench.judged]
    if bench.labelled:
        _ = bench.indexed_old  # made here, once

    def hold_out(k: int) -> None:
        h = refit(bench.pairs.subset(np.flatnonzero(fold != k)))
        queries = np.flatnonzero(judged_fold == k)
        _fill(pushed, queries, _pushed_by_label(bench, h, queries, fused))

    with fits_side_by_side(bench.folds_at_once) as threads:
        deque(threads.map(hold_out, range(int(fold.max()) + 1)), maxlen=0)
    return _pushed_with_recall(bench, pushed, fused)


def pushed_scores(bench: ProofBench, h: Transformation, fused: RetrievalMetric) -> PushedScores:
    """The scores of all judged pairs, whose new vectors `h`, which has not learned from them, turns into queries of the
    old gallery. fused: as for `cross_val_scores`."""
    return _pushed_with_recall(bench, _pushed_by_label(bench, h, np.arange(len(bench.judged)), fused), fused)


def _pushed_by_label(bench: ProofBench, h: Transformation, queries: Codes, fused: RetrievalMetric) -> PushedScores:
    """Some judged pairs (k,), by their places among these, pushed by `h`; recall is not measured, NaN."""
    rows = bench.judged[queries]
    pushed = h.push(bench.pairs.new[rows])
    scores = np.full((len(rows), len(METRICS)), np.nan)
    by_alpha = np.full((len(rows), len(alphas_for(fused)), len(METRICS)), np.nan)
    if bench.labelled:
        gallery = bench.indexed_old
        scores = bench.scores_by_label(pushed.queries, rows, gallery, pushed.score)
        by_alpha = bench.fused_by_label(rows, Searched(pushed.queries, gallery, pushed.score), fused)
    return PushedScores(pushed.queries, np.full(len(rows), pushed.score), scores, by_alpha)


def _pushed_with_recall(bench: ProofBench, pushed: PushedScores, fused: RetrievalMetric) -> PushedScores:
    """The same with recall@10 besides: of the judged pairs of `bench`, which are those pushed, among each other."""
    scores, by_alpha = pushed.scores.copy(), pushed.fused.copy()
    old = as_indexed(bench.pairs.old[bench.judged], bench.source.metric)
    by: Distance
    for by in ("ip", "l2"):
        queries = np.flatnonzero(pushed.score == by)
        asked = pushed.queries[queries]
        answers = top_k(asked, old, NEIGHBOURS, by, queries)
        scores[queries, _RECALL] = recall_at_k(answers, _true_neighbours(bench, queries))
        if fused == "recall@10":
            by_alpha[queries, :, _RECALL] = bench.fused_neighbours(queries, Searched(asked, old, by), fused)
    return PushedScores(pushed.queries, pushed.score, scores, by_alpha)


def scores_without_refit(bench: ProofBench, h: Mover, fused: RetrievalMetric | None = None) -> HeldOutScores:
    """The judged pairs' scores by one transformation that has not learned from any of them, as of an evaluation set.

    fused: as for `cross_val_scores`; None to measure nothing of the kind.
    """
    rows, queries = bench.judged, np.arange(len(bench.judged))
    vectors = bench.transformed_pairs(h, rows)
    new, metric = bench.pairs.new[rows], bench.target.metric
    scores = np.full((len(rows), len(METRICS)), np.nan)
    by_alpha = _empty_by_alpha(bench, fused)
    if bench.labelled:
        gallery = bench.transformed_gallery(h)
        scores = bench.scores_by_label(new, rows, gallery, metric)
        if fused is not None:
            by_alpha = bench.fused_by_label(rows, Searched(new, gallery, metric), fused)
    answers = top_k(new, vectors, NEIGHBOURS, metric, queries)
    scores[:, _RECALL] = recall_at_k(answers, _true_neighbours(bench))
    if fused == "recall@10":
        by_alpha[:, :, _RECALL] = bench.fused_neighbours(queries, Searched(new, vectors, metric), fused)
    return HeldOutScores(scores, vectors, by_alpha)


def old_scores(bench: ProofBench) -> Scores:
    """The old model on the judged pairs: their old vectors against the old gallery; (m, 4)."""
    rows = bench.judged
    scores = np.full((len(rows), len(METRICS)), np.nan)
    old, metric = bench.pairs.old[rows], bench.source.metric
    if bench.labelled:
        scores = bench.scores_by_label(old, rows, bench.gallery.old, metric)
    answers = top_k(old, old, NEIGHBOURS, metric, np.arange(len(rows)))
    scores[:, _RECALL] = recall_at_k(answers, _true_neighbours(bench))
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


def _empty_pushed(bench: ProofBench, fused: RetrievalMetric) -> PushedScores:
    judged = len(bench.judged)
    queries, score = np.zeros((judged, bench.source.dimension), np.float32), np.full(judged, "", "<U2")
    return PushedScores(queries, score, np.full((judged, len(METRICS)), np.nan), _empty_by_alpha(bench, fused))


def _fill(whole: PushedScores, queries: Codes, part: PushedScores) -> None:
    whole.queries[queries], whole.score[queries] = part.queries, part.score
    whole.scores[queries], whole.fused[queries] = part.scores, part.fused


def _empty_by_alpha(bench: ProofBench, fused: RetrievalMetric | None) -> ScoresByAlpha:
    return np.full((len(bench.judged), 0 if fused is None else len(alphas_for(fused)), len(METRICS)), np.nan)


def _true_neighbours(bench: ProofBench, queries: Codes | None = None) -> Codes:
    """What full re-embedding would find for some judged pairs (k,), by their places among these, None for all: the
    nearest other judged pairs by new vectors; (k, NEIGHBOURS) int64."""
    new = bench.pairs.new[bench.judged]
    queries = np.arange(len(new)) if queries is None else queries
    return top_k(new[queries], new, NEIGHBOURS, bench.target.metric, queries)


def _batches(fold: Codes, at_once: bool) -> Iterator[Codes]:
    """The queries that are searched in one gallery: those of all folds at once, or fold by fold."""
    if at_once:
        yield np.flatnonzero(fold >= 0)
        return
    for k in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold == k)
