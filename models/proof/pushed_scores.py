"""The judged pairs of a proof, by transformations pushed into their queries, which search the old gallery as it is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Scores
from models.evaluation.retrieval_metrics import METRICS, NEIGHBOURS, RetrievalMetric, recall_at_k, top_k
from models.evaluation.score_blocks import Searched
from models.portable import Array, Distance, Transformation, as_indexed
from models.proof.bench import RECALL, ProofBench
from models.proof.fused_scores import ScoresByAlpha, alphas_for
from models.training.threads import fits_side_by_side
from models.transformations.pairs import Refit


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

    @classmethod
    def unmeasured(cls, bench: ProofBench, fused: RetrievalMetric) -> PushedScores:
        """Of all judged pairs, to be filled in."""
        judged = len(bench.judged)
        queries, score = np.zeros((judged, bench.source.dimension), np.float32), np.full(judged, "", "<U2")
        unmeasured = np.full((judged, len(METRICS)), np.nan)
        return cls(queries, score, unmeasured, bench.unmeasured_by_alpha(fused))

    def fill(self, queries: Codes, part: PushedScores) -> None:
        """Fills in some judged pairs (k,), by their places among these."""
        self.queries[queries], self.score[queries] = part.queries, part.score
        self.scores[queries], self.fused[queries] = part.scores, part.fused


def cross_val_pushed_scores(bench: ProofBench, fold: Codes, refit: Refit, fused: RetrievalMetric) -> PushedScores:
    """The judged pairs' scores by cross-validation, each fold's transformation pushed into its queries.

    The old gallery is searched as it is. fold: (n,) int64 and `fused` as for `cross_val_scores`.
    """
    pushed = PushedScores.unmeasured(bench, fused)
    judged_fold = fold[bench.judged]
    if bench.labelled:
        _ = bench.indexed_old  # made here, once

    def hold_out(k: int) -> None:
        h = refit(bench.pairs.subset(np.flatnonzero(fold != k)))
        queries = np.flatnonzero(judged_fold == k)
        pushed.fill(queries, pushed_by_label(bench, h, queries, fused))

    with fits_side_by_side(bench.folds_at_once) as threads:
        deque(threads.map(hold_out, range(int(fold.max()) + 1)), maxlen=0)
    return pushed_with_recall(bench, pushed, fused)


def pushed_scores(bench: ProofBench, h: Transformation, fused: RetrievalMetric) -> PushedScores:
    """The scores of all judged pairs, whose new vectors `h`, which has not learned from them, turns into queries of the
    old gallery. fused: as for `cross_val_scores`."""
    return pushed_with_recall(bench, pushed_by_label(bench, h, np.arange(len(bench.judged)), fused), fused)


def pushed_by_label(bench: ProofBench, h: Transformation, queries: Codes, fused: RetrievalMetric) -> PushedScores:
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


def pushed_with_recall(bench: ProofBench, pushed: PushedScores, fused: RetrievalMetric) -> PushedScores:
    """The same with recall@10 besides: of the judged pairs of `bench`, which are those pushed, among each other."""
    scores, by_alpha = pushed.scores.copy(), pushed.fused.copy()
    old = as_indexed(bench.pairs.old[bench.judged], bench.source.metric)
    by: Distance
    for by in ("ip", "l2"):
        queries = np.flatnonzero(pushed.score == by)
        asked = pushed.queries[queries]
        answers = top_k(asked, old, NEIGHBOURS, by, queries)
        scores[queries, RECALL] = recall_at_k(answers, bench.true_neighbours(queries))
        if fused == "recall@10":
            by_alpha[queries, :, RECALL] = bench.fused_neighbours(queries, Searched(asked, old, by), fused)
    return PushedScores(pushed.queries, pushed.score, scores, by_alpha)
