"""Scores that one query gives one item in two spaces, drawn so that near items, among which thresholds lie, are all in.

Of each query, the nearest items by either score are taken, and of the rest a random sample, each of whose items counts
for as many as it stands for. So what is counted in the pairs is counted in the whole gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.arrays import Codes, Floats
from models.portable import Distance

NEAREST, REST = 100, 200
"""Items of each query: the nearest in either space, and a sample of the others."""


@dataclass(frozen=True)
class ScorePairs:
    """What queries score items in the old space and in the new one.

    old, new: (n,) float64, scores as a search shows them. weight: (n,) float64, how many items each stands for. query:
    (n,) int64, whose scores they are. items: how many items each query was compared with.
    """

    old: Floats
    new: Floats
    weight: Floats
    query: Codes
    items: int

    def __len__(self) -> int:
        return len(self.old)

    @property
    def queries(self) -> Codes:
        """The queries that there are pairs of, each once, rising."""
        return np.unique(self.query)

    def of_queries(self, queries: Codes) -> ScorePairs:
        """The pairs of these queries alone."""
        rows = np.isin(self.query, queries)
        return ScorePairs(self.old[rows], self.new[rows], self.weight[rows], self.query[rows], self.items)

    @classmethod
    def stacked(cls, parts: Sequence[ScorePairs]) -> ScorePairs:
        """The pairs of all parts, which compare with equally many items; one part or more."""
        names = ("old", "new", "weight", "query")
        old, new, weight, query = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        return cls(old, new, weight, query, parts[0].items)


def draw_score_pairs(
    old: Floats,
    new: Floats,
    query: Codes,
    own: Sequence[Codes],
    *,
    source: Distance,
    target: Distance,
    seed: int,
    nearest: int = NEAREST,
    rest: int = REST,
) -> ScorePairs:
    """Pairs of these queries' scores of all items; old, new: (m, n) float64, by the metrics of the two spaces.

    query: (m,) how the queries are told apart; own: of each query, the items that it is itself, which do not count.
    m ≥ 1. nearest, rest: how many items of each query are taken, see above.
    """
    parts, rng = [], np.random.default_rng(seed)
    for row in range(len(old)):
        others = np.delete(np.arange(old.shape[1]), own[row])
        near = np.union1d(_nearest(old[row, others], nearest, source), _nearest(new[row, others], nearest, target))
        far = np.setdiff1d(np.arange(len(others)), near, assume_unique=True)
        drawn = rng.choice(far, min(rest, len(far)), replace=False)
        taken = others[np.append(near, drawn)]
        weight = np.append(np.ones(len(near)), np.full(len(drawn), len(far) / max(len(drawn), 1)))
        parts.append(
            ScorePairs(old[row, taken], new[row, taken], weight, np.full(len(taken), query[row]), old.shape[1])
        )
    return ScorePairs.stacked(parts)


def _nearest(scores: Floats, many: int, metric: Distance) -> Codes:
    """The places of the `many` nearest by scores (n,), in any order."""
    if many >= len(scores):
        return np.arange(len(scores))
    far_to_near = scores if metric != "l2" else -scores
    return np.argpartition(-far_to_near, many)[:many]
