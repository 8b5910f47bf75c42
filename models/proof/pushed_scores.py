"""The judged pairs of a proof, by transformations pushed into their queries, which search the old gallery as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Scores
from models.evaluation.retrieval_metrics import METRICS, NEIGHBOURS, RetrievalMetric, recall_at_k, top_k
from models.evaluation.score_blocks import Searched
from models.portable import Array, Distance, PushedQueries, Transformation, as_indexed
from models.proof.bench import RECALL, ProofBench
from models.proof.fused_scores import LabelScores, ScoresByAlpha


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

    def ask(self, queries: Codes, pushed: PushedQueries) -> None:
        """Fills in what some judged pairs (k,), by their places among these, were turned into."""
        self.queries[queries], self.score[queries] = pushed.queries, pushed.score

    def found(self, queries: Codes, by_label: LabelScores) -> None:
        """Fills in what these (k,) found by label."""
        self.scores[queries], self.fused[queries] = by_label.alone, by_label.fused


def pushed_scores(bench: ProofBench, h: Transformation, fused: RetrievalMetric) -> PushedScores:
    """The scores of all judged pairs, whose new vectors `h`, which has not learned from them, turns into queries of the
    old gallery. fused: as for `cross_val_scores`."""
    pushed, everyone = PushedScores.unmeasured(bench, fused), np.arange(len(bench.judged))
    asked = h.push(bench.pairs.new[bench.judged])
    pushed.ask(everyone, asked)
    if bench.labelled:
        pushed.found(everyone, bench.by_label(bench.judged, [bench.old_gallery_asked(asked)], fused)[0])
    return pushed_with_recall(bench, pushed, fused)


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
