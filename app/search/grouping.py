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

from app.index import PADDING, Hits
from app.index.protocol import WORST
from app.search.ranking import Rank, Ranking
from app.search.row_labels import UNLABELLED, RowLabels
from models.portable import Distance

_FIRST, _MOST, _GROWTH = 64, 4_096, 4  # items looked at for one query: at first, at most at once, and what comes next
_HITS_AT_ONCE = 2**20  # which bounds memory
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
            whole = _take(groups[query], first, query, labels, size, sign) or fetch == len(labels)
            if not whole:
                _look_further(rank, notes, query, groups[query], labels, k, size, sign)
    best = [_nearest(found, k) for found in groups]
    _fill(rank, notes, best, labels, size, sign)
    return Ranking(_hits([_nearest(found, k) for found in best], k, size, sign, score), notes.exact, notes.note)


def _take(groups: dict[int, _Group], hits: Hits, query: int, labels: RowLabels, size: int, sign: int) -> bool:
    """Adds the items found for one query, a line of the hits, to the groups of their labels; whether there were no
    more to be found."""
    rows, scores = hits.rows[query], hits.scores[query]
    real = rows != PADDING
    codes = labels.of(rows)
    for row, code, one in zip(rows[real].tolist(), codes[real].tolist(), scores[real].tolist(), strict=True):
        if code != UNLABELLED:
            group = groups.setdefault(code, _Group())
            if len(group.nearest) < size:
                group.nearest.append((sign * one, row))
    return not real.all()


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
    """Searches the items of the labels that may have nearer ones than were found, for all queries that found them."""
    lacking: dict[int, list[int]] = defaultdict(list)
    for query, groups in enumerate(best):
        for code, group in groups.items():
            if len(group.nearest) < min(size, labels.count(code)):
                lacking[code].append(query)
    for codes in _packed(sorted(lacking, key=labels.count), labels):
        rows = np.concatenate([labels.with_code(code) for code in codes])
        fetch = size if len(codes) == 1 else len(rows)
        queries = np.unique(np.concatenate([lacking[code] for code in codes]))
        for which in np.array_split(queries, -(-len(queries) * fetch // _HITS_AT_ONCE)):
            hits = notes.hits(rank(which, fetch, rows))
            for place, query in enumerate(which.tolist()):
                alone: dict[int, _Group] = {}
                _take(alone, hits, place, labels, size, sign)
                best[query].update((code, group) for code, group in alone.items() if code in best[query])


def _packed(codes: Sequence[int], labels: RowLabels) -> Iterator[list[int]]:
    """The labels, those with the fewest items first, in parts whose items can be ranked all at once; a label with more
    items than that is a part of its own."""
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
