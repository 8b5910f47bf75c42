"""The nearest labels, each with its nearest items: never what happens to be left of the nearest items.

A first search finds the nearest items. Where they are of too few labels, the items of all other labels are searched,
until there are enough. Where labels may have nearer items than were found, their items alone are searched: of labels
with few items, of several at once, and then all of them are ranked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.filters import UNLABELLED, RowLabels
from app.index import PADDING, Hits, RowIds
from app.index.protocol import WORST
from app.search.ranking import QueryPlaces, Rank, Ranking
from models.portable import Distance

_FIRST, _MOST, _GROWTH = 64, 4_096, 4  # items looked at for one query: at first, at most at once, and what comes next
_PER_ANSWER = 2  # times as many are looked at first as items are wanted


@dataclass
class _Group:
    """The nearest items of one label, nearest first: pairs of a score, by which a smaller one is nearer, and a row."""

    nearest: list[tuple[float, int]] = field(default_factory=list)


class _Notes:
    """What the rankings behind one answer say of themselves."""

    def __init__(self) -> None:
        self.exact, self.note = True, None  # type: bool, str | None

    def hits(self, ranking: Ranking) -> Hits:
        self.exact = self.exact and ranking.exact
        self.note = self.note or ranking.note
        return ranking.hits


def grouped(rank: Rank, queries: int, labels: RowLabels, k: int, size: int, score: Distance) -> Ranking:
    """The k nearest labels of each of the queries with the `size` nearest items of each: (queries, k · size) hits.

    A label is as near as its nearest item. Its items stand together, nearest first, padded where it has fewer. Items
    without a label are in none. labels: of the items that may be found. score: what kind the scores are of.
    """
    notes, sign = _Notes(), 1 if score == "l2" else -1
    every = np.arange(queries)
    groups: list[dict[int, _Group]] = [{} for _ in range(queries)]
    if len(labels):
        fetch = min(max(_FIRST, _PER_ANSWER * k * size), len(labels))
        first = notes.hits(rank(every, fetch, labels.allowed))
        for query in range(queries):
            if not _take(groups[query], first, query, labels, size, sign):
                _look_further(rank, notes, query, groups[query], labels, k, size, sign)
    best = [_nearest(found, k) for found in groups]
    _fill(rank, notes, best, labels, size, sign)
    return Ranking(_hits([_nearest(found, k) for found in best], k, size, sign, score), notes.exact, notes.note)


def _take(groups: dict[int, _Group], hits: Hits, query: int, labels: RowLabels, size: int, sign: int) -> bool:
    """Adds the items found for one query, a line of the hits, to the groups of their labels, which are not among the
    groups yet; whether there were no more to be found."""
    rows, scores = hits.rows[query], hits.scores[query]
    codes = labels.of(rows)
    kept = _first_of_each(codes, size)
    for row, code, one in zip(rows[kept].tolist(), codes[kept].tolist(), scores[kept].tolist(), strict=True):
        groups.setdefault(code, _Group()).nearest.append((sign * one, row))
    return bool((rows == PADDING).any())


def _first_of_each(codes: npt.NDArray[np.int32], size: int) -> QueryPlaces:
    """The places of the first `size` of each code but UNLABELLED in (n,) codes, ascending."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    nth = np.arange(len(codes)) - np.searchsorted(ordered, ordered)
    return np.sort(order[(nth < size) & (ordered != UNLABELLED)])


def _look_further(
    rank: Rank, notes: _Notes, query: int, groups: dict[int, _Group], labels: RowLabels, k: int, size: int, sign: int
) -> None:
    """Searches, for one query, the items of the labels that it has not found, until it has found k."""
    fetch, alone = _FIRST, np.array([query])
    while len(groups) < k:
        others = labels.without(groups)
        if not len(others):
            return
        fetch = min(_GROWTH * fetch, _MOST, len(others))
        before = len(groups)
        _take(groups, notes.hits(rank(alone, fetch, others)), 0, labels, size, sign)
        if len(groups) == before:  # they cannot be found: none of them has a vector here
            return


def _fill(
    rank: Rank, notes: _Notes, best: Sequence[dict[int, _Group]], labels: RowLabels, size: int, sign: int
) -> None:
    """Searches the items of the labels that may have nearer ones than were found: of each large label for all queries
    together that found it, of small ones for each query by itself, several at once."""
    large: dict[int, list[int]] = defaultdict(list)
    for query, groups in enumerate(best):
        lacking = [code for code, group in groups.items() if len(group.nearest) < min(size, labels.count(code))]
        for code in lacking:
            if labels.count(code) > _MOST:
                large[code].append(query)
        for codes in _packed([code for code in lacking if labels.count(code) <= _MOST], labels):
            rows = np.concatenate([labels.with_code(code) for code in codes])
            _refill(rank, notes, best, [query], rows, len(rows), labels, size, sign)
    for code, queries in large.items():
        _refill(rank, notes, best, queries, labels.with_code(code), size, labels, size, sign)


def _refill(
    rank: Rank,
    notes: _Notes,
    best: Sequence[dict[int, _Group]],
    queries: Sequence[int],
    rows: RowIds,
    fetch: int,
    labels: RowLabels,
    size: int,
    sign: int,
) -> None:
    """Puts the nearest of the rows, all those of some labels, in the place of what the queries found of these labels.
    fetch: how many rows are ranked: all of them, or, of one label, as many as a group has."""
    hits = notes.hits(rank(np.array(queries), fetch, rows))
    for place, query in enumerate(queries):
        alone: dict[int, _Group] = {}
        _take(alone, hits, place, labels, size, sign)
        best[query].update(alone)


def _packed(codes: Sequence[int], labels: RowLabels) -> Iterator[list[int]]:
    """The labels, of up to `_MOST` items each, in parts of up to as many together, which are ranked all at once."""
    part: list[int] = []
    items = 0
    for code in codes:
        if part and items + labels.count(code) > _MOST:
            yield part
            part, items = [], 0
        part.append(code)
        items += labels.count(code)
    if part:
        yield part


def _nearest(groups: dict[int, _Group], k: int) -> dict[int, _Group]:
    """The k nearest groups, nearest first; ties by row id, as between items."""
    return dict(sorted(groups.items(), key=lambda one: one[1].nearest[0])[:k])


def _hits(best: Sequence[dict[int, _Group]], k: int, size: int, sign: int, score: Distance) -> Hits:
    rows = np.full((len(best), k, size), PADDING, np.int64)
    scores = np.full((len(best), k, size), WORST[score], np.float32)
    for query, groups in enumerate(best):
        for place, group in enumerate(groups.values()):
            for rank_in_group, (one, row) in enumerate(group.nearest):
                rows[query, place, rank_in_group], scores[query, place, rank_in_group] = row, sign * one
    return Hits(rows.reshape(len(best), -1), scores.reshape(len(best), -1))
