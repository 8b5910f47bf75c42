"""Where judged queries find the items that answer them, crossed by transformations that have not learned from these.

An item that is a pair is ranked in the gallery as it is crossed by a transformation learned without that pair; one
that is no pair, in the gallery as all pairs cross it, which is what will be served. So a query may be asked of several
crossings of the gallery, and each of its items has its place from the crossing that is honest about it: how many
irrelevant items are ahead of it there. Relevant items that this crossing has learned from, and may rank too well, do
not count, or a query of many relevant items would look worse than it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Floats32, Progress, RowNumbers
from models.evaluation.judged_metrics import JudgedMetric, JudgedRanks, Judgements, ranks_among
from models.evaluation.score_blocks import Searched, for_each_pair_of_blocks
from models.portable import Array, Space, Transformation, as_indexed
from models.proof.fused_scores import standardise
from models.proof.held_out_scores import RefitMover
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.judged_queries import JudgedQueries, judgements_of
from models.transformations.mixture import Mover, transform
from models.transformations.pairs import Pairs, Refit, row_digest

ALPHAS: Floats = np.arange(11) / 10
"""The weights of the new query that are tried where both models' queries search together: 0 is the old search alone, 1
the crossing alone."""


@dataclass(frozen=True)
class RanksByAlpha:
    """The rank of every judged item by every α: rank (a, p) int64, of the judgements of `gallery_rows` rows."""

    judgements: Judgements
    rank: NDArray[np.int64]
    gallery_rows: int

    def at(self, place: int) -> JudgedRanks:
        """The ranks by the α at this place of the grid."""
        return JudgedRanks(self.judgements, self.rank[place], self.gallery_rows)

    @property
    def old(self) -> JudgedRanks:
        """By the old queries alone."""
        return self.at(0)

    @property
    def new(self) -> JudgedRanks:
        """By the new queries alone."""
        return self.at(-1)

    def values(self, metric: JudgedMetric) -> Floats:
        """Every query's value by every α: (m, a) float64, NaN for a query without a relevant item."""
        return np.column_stack([self.at(place).values(metric) for place in range(len(self.rank))])


@dataclass(frozen=True)
class JudgedBench:
    """Judged queries, the gallery that they search, and the pairs from which is learned.

    pair_row: (n,) int64, the gallery row that each pair is, -1 for none. fold: (n,) int64, in which round each pair is
    held out, -1 for one that no judged item is: it is always learned from. item_fold: (N,) int64, the same of the
    gallery's rows.
    """

    queries: JudgedQueries
    gallery: ProofGallery
    pairs: Pairs
    has_side: NDArray[np.bool_] | None
    pair_row: Codes
    fold: Codes
    item_fold: Codes
    source: Space
    target: Space

    @classmethod
    def of(
        cls,
        queries: JudgedQueries,
        gallery: ProofGallery,
        learned_from: PlacedPairs,
        source: Space,
        target: Space,
        folds: int,
        seed: int,
    ) -> JudgedBench:
        """Holds out every pair that is a judged item, by its row or by its very vector, in up to `folds` rounds."""
        pairs = learned_from.pairs
        item_of: dict[bytes, int] = {}
        unit = np.full(len(gallery), -1, np.int64)
        for row in np.unique(queries.judgements.row).tolist():
            unit[row] = item_of.setdefault(row_digest(gallery.old[row]), row)
        held = np.where(learned_from.row >= 0, unit[learned_from.row], -1)
        for place in np.flatnonzero(held < 0).tolist():
            held[place] = item_of.get(row_digest(pairs.old[place]), -1)
        units = np.unique(held[held >= 0])
        fold_of = np.full(len(gallery) + 1, -1, np.int64)
        fold_of[units] = np.random.default_rng(seed).permutation(len(units)) % max(1, min(folds, len(units)))
        return cls(
            queries=queries,
            gallery=gallery,
            pairs=pairs,
            has_side=learned_from.has_side,
            pair_row=np.where(learned_from.row >= 0, learned_from.row, held),
            fold=fold_of[held],
            item_fold=fold_of[unit],
            source=source,
            target=target,
        )

    @property
    def folds(self) -> int:
        """How often something is learned anew."""
        return int(self.fold.max(initial=-1)) + 1

    @property
    def holds_out_every_pair(self) -> bool:
        """Whether a round would learn from nothing: all pairs are judged, and copies of one item."""
        return self.folds == 1 and bool((self.fold == 0).all())

    @property
    def judged_fold(self) -> Codes:
        """(p,) the round that each judgement is made in: -1 where its item is no pair."""
        return self.item_fold[self.queries.judgements.row]

    def learned_in(self, fold: int) -> Pairs:
        """The pairs that are learned from in this round."""
        return self.pairs.subset(np.flatnonzero(self.fold != fold))

    def crossed(self, h: Mover) -> Array:
        """The gallery as `h` transforms it: (N, d_new) float32."""
        return transform(h, self.gallery.old, self.gallery.side, self.gallery.has_side)

    def crossed_pairs(self, h: Mover, rows: RowNumbers) -> Array:
        """These pairs (k,) as `h` transforms their old vectors: (k, d_new) float32."""
        side = None if self.pairs.side is None else self.pairs.side[rows]
        return transform(h, self.pairs.old[rows], side, None if self.has_side is None else self.has_side[rows])


@dataclass(frozen=True)
class JudgedRanksByRoute:
    """What the judged queries find: in the gallery as it is crossed, and in the old one with queries that are pushed,
    None where nothing is. crossed_pairs: (n, d_new) float32 the pairs' old vectors as they are crossed by what has not
    learned from them, where a query judges them."""

    crossed: RanksByAlpha
    pushed: RanksByAlpha | None
    crossed_pairs: Array


@dataclass(frozen=True)
class _Places:
    """Where judged items stand, each in the crossing that is honest about it; filled round by round.

    found: (2, a, p) int64, by every α the item's rank there, and how many irrelevant items are ahead of it.
    """

    judgements: Judgements
    found: NDArray[np.int64]

    def take(
        self, mine: NDArray[np.bool_], whole: NDArray[np.bool_], part: Judgements, rank: NDArray[np.int64]
    ) -> None:
        """Takes over the places of the judgements `mine` (p,) from a round in which all judgements of their queries,
        `whole` (p,), were ranked: as `part`, of q judgements, with ranks (a, q)."""
        own = mine[whole]
        for place, ranks in enumerate(rank):
            ahead = ranks - 1 - _relevant_ahead(part, ranks)
            self.found[:, place, mine] = ranks[own], ahead[own]

    def one_ranking(self) -> NDArray[np.int64]:
        """The ranks of relevant items as those of one ranking, (a, p), with the irrelevant ahead of them that were
        counted; that of an item judged not relevant is from its own round."""
        rank: NDArray[np.int64] = self.found[0].copy()
        relevant = np.flatnonzero(self.judgements.relevant)
        query = self.judgements.query[relevant]
        place = np.arange(len(relevant)) - np.searchsorted(query, query)
        for ranks, ahead in zip(rank, self.found[1], strict=True):
            order = relevant[np.lexsort((ranks[relevant], ahead[relevant], query))]
            ranks[order] = ahead[order] + place + 1
        return rank


def _relevant_ahead(judgements: Judgements, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many relevant items of the same query are ahead of each judged item: (p,); rank: (p,)."""
    order = np.lexsort((rank, judgements.query))
    relevant = judgements.relevant[order].astype(np.int64)
    before = np.cumsum(relevant) - relevant
    first = np.searchsorted(judgements.query, judgements.query)  # of each query, in either order
    ahead = np.empty(len(rank), np.int64)
    ahead[order] = before - before[first]
    return ahead


def cross_val_ranks(
    bench: JudgedBench,
    chosen: tuple[Mover, RefitMover],
    pushed: tuple[Transformation, Refit] | None,
    *,
    same: bool,
    progress: Progress | None,
) -> JudgedRanksByRoute:
    """The ranks of all judged items by cross-validation.

    chosen, pushed: what was learned from all pairs, and how to learn its like from some; same: whether the second is
    the first, and so need not be learned twice.
    """
    queries = bench.queries
    shape = (len(ALPHAS), len(queries.judgements.row))
    by_cross, by_push = (_Places(queries.judgements, np.zeros((2, *shape), np.int64)) for _ in range(2))
    vectors = np.zeros((len(bench.pairs), bench.target.dimension), np.float32)
    old_gallery = None if pushed is None else as_indexed(bench.gallery.old, bench.source.metric)
    for fold, (h, push) in enumerate(_learned(bench, chosen, pushed, same), -1):
        mine = np.flatnonzero(bench.fold == fold)
        vectors[mine] = bench.crossed_pairs(h, mine)
        some = bench.judged_fold == fold
        if some.any():
            asked = np.unique(queries.judgements.query[some])
            whole = np.isin(queries.judgements.query, asked)
            part, _ = judgements_of(queries.judgements, whole, asked)
            old = Searched(queries.old[asked], bench.gallery.old, bench.source.metric)
            new = queries.new[asked]
            crossed = Searched(new, bench.crossed(h), bench.target.metric)
            by_cross.take(some, whole, part, ranks_by_alpha(old, crossed, part))
            if push is not None and old_gallery is not None:
                turned = push.push(new)
                searched = Searched(turned.queries, old_gallery, turned.score)
                by_push.take(some, whole, part, ranks_by_alpha(old, searched, part))
        if progress is not None:
            progress(fold + 2, bench.folds + 1)
    rows, judgements = len(bench.gallery), queries.judgements
    return JudgedRanksByRoute(
        RanksByAlpha(judgements, by_cross.one_ranking(), rows),
        None if pushed is None else RanksByAlpha(judgements, by_push.one_ranking(), rows),
        vectors,
    )


def ranks_by_alpha(old: Searched, new: Searched, judgements: Judgements) -> NDArray[np.int64]:
    """The ranks of judged items by every α of `ALPHAS`: (a, p) int64; the same queries and rows on both sides."""
    rank = np.zeros((len(ALPHAS), len(judgements.row)), np.int64)
    bounds = np.searchsorted(judgements.query, np.arange(judgements.queries + 1))

    def take(rows: RowNumbers, by_old: Floats32, by_new: Floats32) -> None:
        items = [slice(bounds[query], bounds[query + 1]) for query in rows.tolist()]
        for own, first, last in zip(items, by_old, by_new, strict=True):
            rank[0, own] = ranks_among(first, judgements.row[own])
            rank[-1, own] = ranks_among(last, judgements.row[own])
        standardise(by_old)
        standardise(by_new)
        by_new -= by_old
        fused = np.empty(by_old.shape[1], np.float32)
        for own, base, difference in zip(items, by_old, by_new, strict=True):
            for place, alpha in enumerate(ALPHAS[1:-1].tolist(), 1):
                np.multiply(difference, np.float32(alpha), out=fused)
                np.add(fused, base, out=fused)
                rank[place, own] = ranks_among(fused, judgements.row[own])

    for_each_pair_of_blocks(take, old, new)
    return rank


def _learned(
    bench: JudgedBench,
    chosen: tuple[Mover, RefitMover],
    pushed: tuple[Transformation, Refit] | None,
    same: bool,
) -> Iterator[tuple[Mover, Transformation | None]]:
    """What is chosen and what is pushed: as learned from all pairs, and then without those of each fold."""
    yield chosen[0], None if pushed is None else pushed[0]
    for fold in range(bench.folds):
        pairs = bench.learned_in(fold)
        h = chosen[1](pairs)
        if pushed is None:
            yield h, None
        else:
            yield h, h if same and isinstance(h, Transformation) else pushed[1](pairs)
