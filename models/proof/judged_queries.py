"""What a proof by judged queries is given: queries as both models embed them, and which gallery rows answer them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.arrays import RowNumbers
from models.evaluation.judged_metrics import JudgedMetric, JudgedMetricName, Judgements
from models.portable import Array

FEWEST_QUERIES = 20  # with a relevant item that is searched: of fewer, a bootstrap's interval is too narrow

_BY_LABEL = {"cmc@1": "hit_rate@1", "cmc@5": "hit_rate@5", "map": "map", "recall@10": "recall@10"}


def judged_metric_of(metric: str) -> JudgedMetric:
    """The metric of judged queries that a gate's metric stands for: itself, or of one by label the one that asks the
    same with "relevant" for "of the same label"."""
    return JudgedMetric.parsed(_BY_LABEL.get(metric, metric))


_COMPARED: dict[JudgedMetricName, str] = {
    "hit_rate": "one of the first {k} answers is relevant in {{new}} of searches instead of {{old}}",
    "recall": "the first {k} answers hold {{new}} of what is relevant instead of {{old}}",
    "precision": "{{new}} of the first {k} answers are relevant instead of {{old}}",
    "mrr": "the first relevant of {k} answers is ranked at a mean reciprocal rank of {{new}} instead of {{old}}",
    "ndcg": "the first {k} answers reach {{new}} of what the best order would be worth (nDCG) instead of {{old}}",
    "map": "relevant answers are ranked at a mean average precision of {{new}} instead of {{old}}",
}


def compared_by_queries(metric: str) -> str:
    """What a metric of judged queries says of two searches, in words, with places for their figures, `new` and
    `old`."""
    parsed = JudgedMetric.parsed(metric)
    if parsed == JudgedMetric("hit_rate", 1):
        return "the first answer is relevant in {new} of searches instead of {old}"
    return _COMPARED[parsed.name].format(k=parsed.k)


@dataclass(frozen=True)
class JudgedQueries:
    """m queries with the vectors that will search: old (m, d_old) and new (m, d_new) float32, one row a query.

    judgements: of gallery rows. not_searched: how many judgements there are of items that the gallery has not; held:
    how many judged queries there are, those without a vector of both models among them; with_both_vectors: how many
    have one, those that were not drawn among them.
    """

    old: Array
    new: Array
    judgements: Judgements
    not_searched: int = 0
    held: int = 0
    with_both_vectors: int = 0

    def __len__(self) -> int:
        return len(self.old)

    @property
    def enough(self) -> bool:
        """Whether enough of them can be answered to judge by."""
        return int(self.judgements.answerable.sum()) >= FEWEST_QUERIES

    def answerable(self) -> JudgedQueries:
        """Those that have a relevant item in the gallery: no search could answer the others."""
        return self.take(np.flatnonzero(self.judgements.answerable))

    def take(self, queries: RowNumbers) -> JudgedQueries:
        """The queries at these places (k,), ascending."""
        part, _ = judgements_of(self.judgements, np.isin(self.judgements.query, queries), queries)
        return replace(self, old=self.old[queries], new=self.new[queries], judgements=part)

    def searching(self, rows: RowNumbers, gallery_rows: int) -> JudgedQueries:
        """The same queries where only these rows (k,), ascending, of the gallery's are searched, numbered anew."""
        place = np.full(gallery_rows, -1, np.int64)
        place[rows] = np.arange(len(rows))
        kept = place[self.judgements.row] >= 0
        j = self.judgements
        part = Judgements(len(self), j.query[kept], place[j.row[kept]], j.grade[kept])
        return replace(self, judgements=part, not_searched=self.not_searched + int((~kept).sum()))


def judgements_of(
    judgements: Judgements, some: NDArray[np.bool_], queries: RowNumbers | None = None
) -> tuple[Judgements, RowNumbers]:
    """Some of the judgements, (p,) bool, and the queries (k,) that they are numbered by: all that have one of them,
    unless given."""
    if queries is None:
        queries = np.unique(judgements.query[some])
    number = np.searchsorted(queries, judgements.query[some])
    return Judgements(len(queries), number, judgements.row[some], judgements.grade[some]), queries
