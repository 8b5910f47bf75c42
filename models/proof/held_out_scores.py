"""The judged pairs of a proof as queries, by transformations that had not learned from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Progress, Scores
from models.evaluation.retrieval_metrics import METRICS, NEIGHBOURS, RetrievalMetric, recall_at_k, top_k
from models.evaluation.score_blocks import Searched
from models.portable import Array, Transformation
from models.proof.bench import RECALL, ProofBench, label_scores
from models.proof.fused_scores import ScoresByAlpha
from models.proof.pushed_scores import PushedScores, pushed_with_recall
from models.training.threads import fits_side_by_side
from models.transformations.mixture import Mover
from models.transformations.pairs import Pairs

RefitMover = Callable[[Pairs], Mover]
Pushable = Callable[[Mover, Pairs], Transformation]
"""What is pushed into queries, given what was learned to transform the gallery, and the pairs that it learned from."""


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
    push: Pushable | None = None,
    progress: Progress | None = None,
) -> HeldOutScores:
    """The judged pairs' scores by cross-validation: each fold by a transformation fitted on the others.

    Recall is not among them, NaN: it is of the judged pairs among each other, and `with_recall` adds it once it is
    known which of them are judged.

    fold: (n,) int64 the fold of each pair, -1 to learn from it always. learned: (m, d_new) the judged pairs' old
    vectors as transformed where their fold is *not* the one held out; None takes each from its own fold. fused: the
    metric in which the search by both models is measured as well. push: what can be pushed into queries, which is
    then measured too; in the same pass over the gallery, which computes the old model's scores once for both.
    """
    folds = int(fold.max()) + 1
    scores = np.full((len(bench.judged), len(METRICS)), np.nan)
    by_alpha, pushed = bench.unmeasured_by_alpha(fused), None if push is None else PushedScores.unmeasured(bench, fused)
    vectors = np.zeros((len(bench.judged), bench.target.dimension), np.float32) if learned is None else learned.copy()
    judged_fold, metric = fold[bench.judged], bench.target.metric
    if push is not None and bench.labelled:
        _ = bench.indexed_old  # made here, once: threads that all find it lacking would each make one

    def hold_out(k: int) -> None:
        learned_from = bench.pairs.subset(np.flatnonzero(fold != k))
        h = refit(learned_from)
        queries = np.flatnonzero(judged_fold == k)
        rows = bench.judged[queries]
        vectors[queries] = bench.transformed_pairs(h, rows)
        into_queries = None
        if push is not None and pushed is not None:
            into_queries = push(h, learned_from).push(bench.pairs.new[rows])
            pushed.ask(queries, into_queries)
        if not bench.labelled:
            return
        searches = [Searched(bench.pairs.new[rows], bench.transformed_gallery(h), metric)]
        if into_queries is not None:
            searches.append(bench.old_gallery_asked(into_queries))
        of_gallery, *of_queries = bench.by_label(rows, searches, fused)
        scores[queries], by_alpha[queries] = of_gallery.alone, of_gallery.fused
        if pushed is not None and of_queries:
            pushed.found(queries, of_queries[0])

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
    truth, metric = bench.true_neighbours(), bench.target.metric
    for queries in _batches(fold[bench.judged], learned is None):
        gallery = measured.vectors if learned is None else learned.copy()
        gallery[queries] = measured.vectors[queries]
        new = bench.pairs.new[bench.judged[queries]]
        answers = top_k(new, gallery, NEIGHBOURS, metric, queries)
        scores[queries, RECALL] = recall_at_k(answers, truth[queries])
        if fused == "recall@10":
            by_alpha[queries, :, RECALL] = bench.fused_neighbours(queries, Searched(new, gallery, metric), fused)
    pushed = None if measured.pushed is None else pushed_with_recall(bench, measured.pushed, fused)
    return HeldOutScores(scores, measured.vectors, by_alpha, pushed)


def scores_without_refit(bench: ProofBench, h: Mover, fused: RetrievalMetric | None = None) -> HeldOutScores:
    """The judged pairs' scores by one transformation that has not learned from any of them, as of an evaluation set.

    fused: as for `cross_val_scores`; None to measure nothing of the kind.
    """
    rows, queries = bench.judged, np.arange(len(bench.judged))
    vectors = bench.transformed_pairs(h, rows)
    new, metric = bench.pairs.new[rows], bench.target.metric
    scores = np.full((len(rows), len(METRICS)), np.nan)
    by_alpha = bench.unmeasured_by_alpha(fused)
    if bench.labelled:
        gallery = bench.transformed_gallery(h)
        if fused is None:
            codes = bench.pair_code[rows]
            scores = label_scores(new, codes, gallery, bench.gallery_code, metric, bench.near[rows])
        else:
            (found,) = bench.by_label(rows, [Searched(new, gallery, metric)], fused)
            scores, by_alpha = found.alone, found.fused
    answers = top_k(new, vectors, NEIGHBOURS, metric, queries)
    scores[:, RECALL] = recall_at_k(answers, bench.true_neighbours())
    if fused == "recall@10":
        by_alpha[:, :, RECALL] = bench.fused_neighbours(queries, Searched(new, vectors, metric), fused)
    return HeldOutScores(scores, vectors, by_alpha)


def _batches(fold: Codes, at_once: bool) -> Iterator[Codes]:
    """The queries that are searched in one gallery: those of all folds at once, or fold by fold."""
    if at_once:
        yield np.flatnonzero(fold >= 0)
        return
    for k in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold == k)
