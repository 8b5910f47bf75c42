"""The cascade: candidates by the linear push over the untouched old index, re-ranked by the transformation itself.

No vector is rewritten. What the transformation makes of a candidate is what the rewritten gallery would hold of it, so
scores are those of the new space. A network takes tens of times as long for a query's candidates as their index to
find them, so that a gallery's rows are transformed ahead of the queries that they are candidates of, beside searches,
from the first search on and for as long as there is room to keep them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.artifacts.crossings import Crossing
from app.galleries.lineage import SIDE_INFORMATION
from app.index import PADDING, Hits, RowIds, RowPositions, VectorIndex, Vectors, as_indexed, ranked
from app.search.transformed_rows import TransformedRows
from app.search.unhurried import Unhurried
from app.short_calls import leave_event_loop
from app.storage.lance_table import ROW_ID, Table, vectors_of
from models.portable import Distance

_CANDIDATES_AT_ONCE = 200_000  # of all queries together, which bounds memory
_TABLES = 8  # crossings whose transformed rows are kept, those used last
_AHEAD_AT_ONCE = 512  # rows: 50 ms of a core through the largest network


@dataclass(frozen=True)
class CascadeSource:
    """The untouched gallery of a cascade: its items, their index, and the crossing that leads out of it."""

    items: Table
    index: VectorIndex
    crossing: Crossing
    target: Distance


class Reranking:
    """Searches by cascade, and keeps what it has transformed."""

    def __init__(self, bytes_at_most: int) -> None:
        """bytes_at_most: of transformed rows, for each crossing out of a gallery; 0 keeps none."""
        self._bytes = bytes_at_most
        self._ahead = Unhurried()
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], TransformedRows] = OrderedDict()

    @property
    def works_ahead(self) -> bool:
        """Whether rows are being transformed that no query waits for."""
        return self._ahead.busy

    def close(self) -> None:
        """Transforms no more rows ahead."""
        self._ahead.close()

    def search(
        self,
        name: tuple[str, ...],
        old: CascadeSource,
        queries: Vectors,
        k: int,
        candidates: int,
        *,
        allowed: RowIds | None = None,
        effort: int | None = None,
    ) -> tuple[Hits, bool]:
        """The k nearest of each query's candidates, and whether every row that could be found was a candidate.

        name: of the crossing and the gallery, under which transformed rows are kept. queries: (m, d_new) float32, none
        zero under cosine; candidates: at least k. Filters and effort as the index takes them.
        """
        leave_event_loop()
        kept = self._table(name, old)
        at_once = max(1, _CANDIDATES_AT_ONCE // candidates)
        parts, everything = [], candidates >= len(old.index)
        whole = True
        for start in range(0, max(1, len(queries)), at_once):
            batch = queries[start : start + at_once]
            pushed = old.crossing.plain.push(batch)
            nearest = old.index.search(
                pushed.queries, candidates, score_as=pushed.score, allowed=allowed, effort=effort
            )
            whole = whole and (everything or bool((nearest.rows[:, -1] == PADDING).all()))
            rows = np.unique(nearest.rows[nearest.rows != PADDING])
            transformed, still_held = self._transformed(kept, old, rows)
            rows, transformed = rows[still_held], transformed[still_held]
            places = RowPositions(rows).located(nearest.rows)
            parts.append(ranked(as_indexed(batch, old.target)[0], transformed, rows, places, k, old.target))
        return Hits(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts])), whole

    def transformed(self, name: tuple[str, ...], old: CascadeSource, rows: RowIds) -> Vectors:
        """The rows (n,), which the index holds and goes on holding, as a rewritten gallery would hold them: (n, d_new)
        float32. name: as of `search`."""
        return self._transformed(self._table(name, old), old, rows)[0]

    def _transformed(self, kept: TransformedRows, old: CascadeSource, rows: RowIds) -> tuple[Vectors, np.ndarray]:
        """The rows (n,) as a rewritten gallery would hold them, (n, d_new), and which the index still holds, (n,)
        bool."""
        held = old.index.held(rows)
        version = old.index.version  # read after: what came meanwhile has another version, and is made anew
        transformed, known = kept.take(rows, held.versions)
        still_held = held.versions >= 0
        fresh = np.flatnonzero(still_held & ~known)
        if len(fresh):
            side, has_side = _side(old, rows[fresh], version)
            made, _, _ = as_indexed(old.crossing.apply(held.vectors[fresh], side, has_side), old.target)
            transformed[fresh] = kept.keep(rows[fresh], held.versions[fresh], made)
        return transformed, still_held

    def _table(self, name: tuple[str, ...], old: CascadeSource) -> TransformedRows:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = made = TransformedRows(old.crossing.chosen.card.target.dimension, self._bytes)
                if self._bytes and not old.crossing.chosen.linear:
                    self._ahead.begin("transforming rows ahead of queries", self._transforming_ahead(name, made, old))
            self._kept.move_to_end(name)
            while len(self._kept) > _TABLES:
                self._kept.popitem(last=False)
            return self._kept[name]

    def _transforming_ahead(self, name: tuple[str, ...], kept: TransformedRows, old: CascadeSource) -> Iterator[None]:
        """Transforms the rows that the index holds, in their order, while there are vacant slots and `kept` is used."""
        after, looked_at = -1, 0
        while looked_at < kept.slots and self._kept.get(name) is kept:
            at_once = min(_AHEAD_AT_ONCE, kept.slots - looked_at)
            rows = old.items.rows_after(after, at_once, version=old.items.version)
            if not len(rows):
                return
            after, looked_at = int(rows[-1]), looked_at + len(rows)
            self._transformed(kept, old, rows[kept.vacant(rows)])
            yield


def _side(old: CascadeSource, rows: RowIds, version: int) -> tuple[Vectors | None, np.ndarray]:
    """Side-information (n, d_side) of the rows (n,), ascending, and which have any; None where it is not read."""
    has = np.zeros(len(rows), bool)
    dimension = old.crossing.chosen.card.side_dimension
    if dimension is None or SIDE_INFORMATION not in old.items.columns(version):
        return None, has
    side = np.zeros((len(rows), dimension), np.float32)
    listed = ", ".join(map(str, rows.tolist()))
    for batch in old.items.scan([SIDE_INFORMATION], where=f"{ROW_ID} IN ({listed})", version=version):
        present, vectors = vectors_of(batch.column(SIDE_INFORMATION))
        places = np.searchsorted(rows, batch.column(ROW_ID).to_numpy().astype(np.int64)[present])
        side[places], has[places] = vectors, True
    return side, has
