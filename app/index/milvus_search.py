"""The nearest rows of a Milvus collection: Milvus proposes, and what it proposes is scored as every index scores.

The collection holds each row under its id. Its vectors are compared by inner product alone, whatever the score:

- Of a cosine index they are of unit length, so that inner product, cosine and distance order them alike.
- Otherwise each has its squared length after its own components, x′ = (x, ‖x‖²): the inner product with (q, 0) is q·x,
  and that with (2q, -1) is ‖q‖² - ‖q - x‖².

Milvus gives 16,384 rows at most, and takes the ids that a filter lists as text. So where rows are left out, or equal
scores leave it open which rows are nearest, the collection is searched slice by slice, a slice being the rows between
two ids. A slice that cannot be told apart any further is small enough for all its vectors to be fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.exact import MARGIN, best_of, padding, ranked, rounding
from app.index.milvus_server import MOST_BYTES, MOST_HITS, ROW, MilvusServer, Proposed
from app.index.protocol import PADDING, Hits, RowIds, Vectors
from app.index.row_positions import RowPositions
from models.portable import Distance

_FETCHED = 512  # rows whose vectors are fetched rather than searched
_LISTED = 16_384  # ids in one filter
_OVERFETCH = 2_048  # rows searched for so that enough are left when those left out are passed over
_GROWTH = 8
_QUERIES = 1_024  # in one search


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCollection:
    """A collection that can be searched.

    rows: (n,) int64 ascending, all of it. ids: at which position each stands, of these and perhaps others. unit:
    whether it holds unit vectors, which have nothing after their components. longest: no vector is longer. everything:
    whether a search looks at every row. strong: whether rows may have been inserted seconds ago.
    """

    server: MilvusServer
    name: str
    rows: RowIds
    ids: RowPositions
    dimension: int
    unit: bool
    longest: float
    everything: bool
    strong: bool

    @property
    def width(self) -> int:
        """The length of a vector as it is stored."""
        return self.dimension if self.unit else self.dimension + 1

    @property
    def most_hits(self) -> int:
        """Rows that one query may ask for."""
        return min(MOST_HITS, MOST_BYTES // self.bytes_per_hit)

    @property
    def bytes_per_hit(self) -> int:
        return 4 * self.width + 16

    def vectors(self, rows: RowIds) -> Vectors:
        """The vectors of rows (n,) of the collection: (n, d) float32."""
        return self.server.vectors(self.name, rows, self.width, strong=self.strong)[:, : self.dimension]


def stored(vectors: Vectors, unit: bool) -> Vectors:
    """Vectors (n, d) as a collection holds them."""
    if unit:
        return vectors
    squares = np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True).astype(np.float32)
    return np.hstack([vectors, squares])


def nearest_rows(
    collection: LoadedCollection, selected: Bitmap, queries: Vectors, k: int, score: Distance, effort: dict[str, int]
) -> Hits:
    """The k nearest of the rows at the selected positions to each query (m, d), as indexed.

    effort: Milvus's parameter, `ef` or `nprobe`, where the collection does not look at every row.
    """
    hits = padding(len(queries), k, score)
    search = _SlicedSearch(collection, selected, k, score, effort)
    for start in range(0, len(queries) if selected.count else 0, _QUERIES):
        part = slice(start, start + _QUERIES)
        answer = search.nearest(queries[part])
        hits.rows[part], hits.scores[part] = answer.rows, answer.scores
    return hits


@dataclass(frozen=True, slots=True)
class _Slice:
    """The rows at positions start … end - 1, of which `limit` are asked for.

    listed: whether Milvus is told which of them are meant; otherwise those that are not are passed over here.
    """

    start: int
    end: int
    limit: int
    listed: bool


@dataclass(frozen=True, slots=True, eq=False)
class _SliceAnswer:
    """hits: of the slice. bound: (m,) float64, the similarity that no row of it left out exceeds."""

    hits: Hits
    bound: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A slice, which of the batch's queries (a,) it was searched for, and their answer."""

    piece: _Slice
    queries: Positions
    answer: _SliceAnswer

    def only(self, kept: npt.NDArray[np.bool_]) -> _Asked:
        """For some (a,) of its queries."""
        hits = Hits(self.answer.hits.rows[kept], self.answer.hits.scores[kept])
        return _Asked(self.piece, self.queries[kept], _SliceAnswer(hits, self.answer.bound[kept]))


class _SlicedSearch:
    """One search of a collection, for batches of queries."""

    def __init__(
        self, collection: LoadedCollection, selected: Bitmap, k: int, score: Distance, effort: dict[str, int]
    ) -> None:
        self._collection = collection
        self._selected = selected
        self._k = k
        self._score = score
        self._effort = effort
        self._members: Positions | None = None
        size, wanted = len(collection.rows), min(k + MARGIN, collection.most_hits)
        spread = math.ceil(wanted * size / max(1, selected.count))
        whole = selected.count == size or spread <= max(wanted, min(_OVERFETCH, collection.most_hits))
        few = selected.count <= _FETCHED
        self.first = _Slice(0, size, min(spread, collection.most_hits) if whole else wanted, listed=few or not whole)

    def nearest(self, queries: Vectors) -> Hits:
        """What is searched for a query depends on that query alone, so that its answer does."""
        slack = rounding(queries, self._collection.longest, self._score)
        asked: list[_Asked] = []
        pieces = self._searchable(self.first) if self.first.listed else [self.first]
        pending = [(piece, np.arange(len(queries))) for piece in pieces]
        best = padding(len(queries), self._k, self._score)
        while pending:
            asked += [_Asked(piece, those, self._ask(piece, queries[those])) for piece, those in pending]
            best = self._merged(asked, len(queries))
            kth = best.scores[:, -1].astype(np.float64)
            worst = -np.square(kth) if self._score == "l2" else kth
            settled: list[_Asked] = []
            pending = []
            for one in asked:
                bound = one.answer.bound
                sure = np.isneginf(bound) | (worst[one.queries] > bound + slack[one.queries])
                if sure.any():
                    settled.append(one.only(sure))
                if not sure.all():
                    pending += [(piece, one.queries[~sure]) for piece in self._finer(one.piece)]
            asked = settled
        return best

    def _finer(self, piece: _Slice) -> Iterator[_Slice]:
        """What to search in place of a slice that did not tell enough."""
        most = self._collection.most_hits
        all_meant = piece.listed or self._selected.count == len(self._collection.rows)
        if all_meant and piece.limit < min(most, self._count(piece)):
            yield replace(piece, limit=min(most, piece.limit * _GROWTH))
        elif piece.listed:
            yield from self._halves(piece)
        else:
            limit = min(self._k + MARGIN, most)
            yield from self._searchable(replace(piece, limit=limit, listed=True))

    def _halves(self, piece: _Slice) -> Iterator[_Slice]:
        """A slice in two of as many rows that are meant."""
        members = self._members_of(piece)
        middle = int(members[len(members) // 2])
        limit = min(self._k + MARGIN, self._collection.most_hits)
        yield from self._searchable(_Slice(piece.start, middle, limit, listed=True))
        yield from self._searchable(_Slice(middle, piece.end, limit, listed=True))

    def _searchable(self, piece: _Slice) -> Iterator[_Slice]:
        """A listed slice in parts of which either few rows are meant, or few are not."""
        count = self._count(piece)
        if count and min(count, piece.end - piece.start - count) > _LISTED:
            yield from self._halves(piece)
        elif count:
            yield piece

    def _members_of(self, piece: _Slice) -> Positions:
        """The positions within a slice that are meant, ascending."""
        if self._members is None:
            self._members = self._selected.members()
        start, end = np.searchsorted(self._members, [piece.start, piece.end])
        return self._members[start:end]

    def _count(self, piece: _Slice) -> int:
        whole = piece.end - piece.start == len(self._collection.rows)
        return self._selected.count if whole else len(self._members_of(piece))

    def _ask(self, piece: _Slice, queries: Vectors) -> _SliceAnswer:
        if piece.listed and self._count(piece) <= _FETCHED:
            return self._fetched(piece, queries)
        at_once = max(1, MOST_BYTES // (piece.limit * self._collection.bytes_per_hit))
        parts = [self._searched(piece, queries[start : start + at_once]) for start in range(0, len(queries), at_once)]
        hits = Hits(*(np.concatenate([getattr(part.hits, name) for part in parts]) for name in ("rows", "scores")))
        return _SliceAnswer(hits, np.concatenate([part.bound for part in parts]))

    def _searched(self, piece: _Slice, queries: Vectors) -> _SliceAnswer:
        where, available = "", len(self._collection.rows)
        if piece.listed:
            where, available = self._condition(piece), self._count(piece)
        parameters = {name: max(value, piece.limit) if name == "ef" else value for name, value in self._effort.items()}
        proposed = self._collection.server.search(
            self._collection.name,
            self._augmented(queries),
            piece.limit,
            where=where,
            parameters=parameters,
            strong=self._collection.strong,
        )
        return _SliceAnswer(self._scored(proposed, queries), self._bound(proposed, queries, piece.limit, available))

    def _fetched(self, piece: _Slice, queries: Vectors) -> _SliceAnswer:
        """Of a slice of few rows, by comparing with each of them."""
        rows = self._collection.rows[self._members_of(piece)]
        vectors = np.ascontiguousarray(self._collection.vectors(rows))
        every = np.broadcast_to(np.arange(len(rows)), (len(queries), len(rows)))
        hits = ranked(queries, vectors, rows, every, self._k, self._score)
        return _SliceAnswer(hits, np.full(len(queries), -np.inf))

    def _condition(self, piece: _Slice) -> str:
        """A slice as Milvus's filter: the row ids that it lies between, and those that are meant, or are not."""
        rows, members = self._collection.rows, self._members_of(piece)
        clauses = [f"{ROW} >= {rows[piece.start]}", f"{ROW} <= {rows[piece.end - 1]}"]
        others = piece.end - piece.start - len(members)
        if others and len(members) <= others:
            clauses.append(f"{ROW} in {rows[members].tolist()}")
        elif others:
            left_out = np.setdiff1d(np.arange(piece.start, piece.end), members, assume_unique=True)
            clauses.append(f"{ROW} not in {rows[left_out].tolist()}")
        return " and ".join(clauses)

    def _augmented(self, queries: Vectors) -> Vectors:
        if self._collection.unit:
            return queries
        last = np.full((len(queries), 1), -1 if self._score == "l2" else 0, np.float32)
        return np.hstack([2 * queries if self._score == "l2" else queries, last])

    def _scored(self, proposed: Proposed, queries: Vectors) -> Hits:
        """What Milvus proposed, without what is not meant, scored here."""
        positions = proposed.positions
        if len(proposed.rows):
            places = self._collection.ids.located(proposed.rows)
            meant = (places >= 0) & self._selected.has(np.maximum(places, 0))
            positions = np.where((positions >= 0) & meant[positions], positions, PADDING)
        vectors = np.ascontiguousarray(proposed.vectors[:, : self._collection.dimension])
        return ranked(queries, vectors, proposed.rows, positions, self._k, self._score)

    def _bound(self, proposed: Proposed, queries: Vectors, limit: int, available: int) -> npt.NDArray[np.float64]:
        """The similarity, as the score has it, that no row exceeds which was not given: -inf where all were.

        Where it gave fewer than it was asked for, inf, unless those are enough and it does not look at every row.
        """
        given = (proposed.positions >= 0).sum(axis=1)
        enough = given == limit if self._collection.everything else given >= min(limit, self._k, available)
        last = np.full(len(queries), np.inf)
        last[enough] = proposed.similarity[enough, given[enough] - 1]
        last[given >= available] = -np.inf
        if self._score != "l2":
            return last
        squares = np.square(queries, dtype=np.float64).sum(axis=1)
        distances: npt.NDArray[np.float64] = 2 * last - squares - 1 if self._collection.unit else last - squares
        return distances

    def _merged(self, asked: list[_Asked], count: int) -> Hits:
        parts = [padding(count, self._k, self._score) for _ in asked]
        for part, one in zip(parts, asked, strict=True):
            part.rows[one.queries], part.scores[one.queries] = one.answer.hits.rows, one.answer.hits.scores
        rows = np.concatenate([part.rows for part in parts], axis=1)
        scores = np.concatenate([part.scores for part in parts], axis=1)
        return best_of(rows, scores, rows != PADDING, self._k, self._score)
