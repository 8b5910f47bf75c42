"""A live index: an immutable snapshot of any engine, the writes since then, and the switch to the next snapshot."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.index.axes_choice import choose_axes
from app.index.block import LEAST_REDUCED, VectorBlock, as_indexed
from app.index.delta import Delta
from app.index.exact import best_of, one_thread
from app.index.group_reach import reach_for
from app.index.groups import EXACT_REACH, Groups
from app.index.leading import Axes
from app.index.numbered_rows import NumberedRows
from app.index.protocol import PADDING, Held, Hits, MemoryUse, RowIds, Vectors
from app.index.published import IndexSnapshot
from app.index.row_positions import RowPositions
from app.index.selections import Selections
from models.portable import Distance

_REBUILD_LEAST = 10_000  # rows
_REBUILD_SHARE, _REBUILD_MOST = 0.1, 200_000  # of the snapshot's rows, and rows at most
_RESTAMPS_MOST = 200_000  # rows; every write sorts as many anew
_SETTLED_MOST = 2**20  # rows, of 16 bytes
_GROWTH_SHARE, _GROWTH_MOST = 0.05, 20_000  # of a graph, which is not built anew but grown

_UNGROUPED_LEAST, _UNGROUPED_SHARE = 4_096, 0.0625  # rows written since others were grouped, and of those grouped
_EXACT = 1.0  # recall

ARRANGING = "arranging rows"
"""The name of threads that have rows written since the snapshot searched sooner than one after the other."""


@dataclass(frozen=True, eq=False)
class _State:
    """What a search sees: swapped as one, never changed. `base` is the snapshot's block without what was rewritten.

    slots: where each of the delta's rows that can be found stands. versions: (n,) int64 the version of each of the
    delta's rows. The base's rows are as of the version `base_since`, but for those in `settled`, which were written
    between that version and the snapshot's, and for those in `restamps`, which were written since the snapshot, though
    with the vectors that they have there: of these, both say the version.
    """

    version: int
    snapshot: IndexSnapshot | None
    base: VectorBlock | None
    delta: VectorBlock
    slots: NumberedRows
    versions: RowIds
    restamps: NumberedRows
    base_since: int
    settled: NumberedRows


class LiveIndex:
    """A `VectorIndex` over a snapshot and a delta, of which as much is found as the snapshot finds of its own rows.

    Searches take no lock, run on the calling thread alone and release the GIL while they compare. Without a snapshot
    every row is in the delta: an exact index in memory.
    """

    def __init__(
        self, metric: Distance, dimension: int, *, snapshot: IndexSnapshot | None = None, version: int = 0
    ) -> None:
        """version: that of the store when it held nothing, where there is no snapshot. Raises ValueError as `swap`."""
        self.metric: Distance = metric
        self.dimension = dimension
        self.scores: frozenset[Distance] = frozenset({metric, "ip", "l2"})
        self._writing = threading.Lock()
        self._selections = Selections()
        self._delta = Delta(metric, dimension)
        self._axes_sought = False
        self._arranging = False
        self._written = NumberedRows.none()  # the version of its last write since the snapshot, if not restamped
        nothing = NumberedRows.none()
        self._state = _State(
            version, None, None, self._delta.block, self._delta.slots, self._delta.versions, nothing, version, nothing
        )
        self._since = version
        if snapshot is not None:
            self.swap(snapshot)

    @property
    def version(self) -> int:
        return self._state.version

    def frozen(self) -> LiveIndex:
        """The index as it is now, whatever is written to this one later: to search it, and to know of which version
        that was. Costs nothing; nothing may be written to it."""
        return copy.copy(self)  # every read takes the one state, which is exchanged and never changed

    @property
    def snapshot(self) -> IndexSnapshot | None:
        """The published snapshot that is searched; None before the first."""
        return self._state.snapshot

    @property
    def lost(self) -> bool:
        """Whether the snapshot was found to be gone, so that the index must be opened anew."""
        snapshot = self._state.snapshot
        return snapshot is not None and snapshot.lost

    @property
    def rebuild_due(self) -> bool:
        """Whether so much was written since the snapshot that a new one should be published from the store."""
        snapshot = self._state.snapshot
        rows, graph = (snapshot.manifest.rows, snapshot.manifest.kind == "hnsw") if snapshot else (0, False)
        share, most = (_GROWTH_SHARE, _GROWTH_MOST) if graph else (_REBUILD_SHARE, _REBUILD_MOST)
        restamped = len(self._state.restamps) > _RESTAMPS_MOST
        return restamped or len(self._written) > min(max(_REBUILD_LEAST, share * rows), most)

    def __len__(self) -> int:
        state = self._state
        return len(state.delta) + (len(state.base) if state.base else 0)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        score_as: Distance | None = None,
        allowed: RowIds | None = None,
        effort: int | None = None,
    ) -> Hits:
        state, score = self._state, score_as or self.metric
        if score not in self.scores:
            raise ValueError(f"this index scores by {', '.join(sorted(self.scores))}, not by {score}")
        if k < 1:
            raise ValueError(f"k is at least 1, not {k}")
        if effort is not None and effort < 1:
            raise ValueError(f"effort is at least 1, not {effort}")
        queries, ranked, _ = as_indexed(self._matrix(queries), score)
        if not ranked.all():
            raise ValueError("a zero query has no cosine with anything")
        delta, base = state.delta, state.base
        if allowed is not None and len(delta.rows):
            delta = delta.only(np.flatnonzero(np.isin(delta.rows, allowed)))
        if base is not None and state.snapshot is not None and allowed is not None:
            whole, ids = base, state.snapshot.ids
            base = self._selections.of(whole, allowed, lambda: whole.only(ids.positions(allowed)))
        parts: list[Hits] = []
        with one_thread():
            if base is not None and state.snapshot is not None:
                parts.append(state.snapshot.search(base, queries, k, score, effort))
            if delta.ranked.count or not parts:
                floor = parts[0].scores[:, -1] if parts else None  # what is no better is not among the k nearest
                approximate = score == self.metric and effort is None and _promised(state.snapshot) != _EXACT
                parts.append(delta.search(queries, k, score, floor=floor, exact=not approximate))
        hits = _merged(parts, k, score)
        zeros = [block.rows[block.zeros] for block in (delta, base) if block is not None and len(block.zeros)]
        return _with_zeros(hits, np.sort(np.concatenate(zeros)), queries, score) if zeros else hits

    def versions(self, rows: RowIds) -> RowIds:
        return self._held(self._state, rows, None)

    def versions_found(self, rows: RowIds) -> RowIds:
        state = self._state
        versions = np.full(len(rows), -1 if state.snapshot is None else state.base_since)
        state.settled.over(rows, versions)
        state.restamps.over(rows, versions)
        if len(state.slots):
            slots = state.slots.of(rows)
            in_delta = slots >= 0
            versions[in_delta] = state.versions[slots[in_delta]]
        return versions

    def held(self, rows: RowIds) -> Held:
        vectors = np.zeros((len(rows), self.dimension), np.float32)
        return Held(vectors, self._held(self._state, rows, vectors))

    @staticmethod
    def _held(state: _State, rows: RowIds, vectors: Vectors | None) -> RowIds:
        """The versions of the rows; their vectors are written to `vectors`, where that is given."""
        versions = np.full(len(rows), -1)
        if state.base is not None and state.snapshot is not None:
            places = state.snapshot.ids.located(rows)
            in_base = np.flatnonzero(state.base.finds(places))
            stamps = np.full(len(in_base), state.base_since)
            state.settled.over(rows[in_base], stamps)
            state.restamps.over(rows[in_base], stamps)
            versions[in_base] = stamps
            if vectors is not None:
                vectors[in_base] = state.snapshot.vectors_at(places[in_base])
        if not len(state.slots):
            return versions
        slots = state.slots.of(rows)
        in_delta = np.flatnonzero(slots >= 0)
        versions[in_delta] = state.versions[slots[in_delta]]
        if vectors is not None:
            vectors[in_delta] = state.delta.vectors_at(slots[in_delta])
        return versions

    def apply(self, rows: RowIds, vectors: Vectors, removed: RowIds, *, version: int) -> None:
        rows, vectors = np.asarray(rows, np.int64), self._matrix(vectors)
        if rows.shape != (len(vectors),):
            raise ValueError(f"one row id per vector: {rows.shape} ids for {len(vectors)} vectors")
        RowPositions(rows)  # refuses ids that are negative or come twice
        with self._writing:
            state = self._state
            if version < state.version:
                raise ValueError(f"the index is at version {state.version}, past {version}")
            same = self._held_already(state, rows, vectors) & ~np.isin(rows, removed)
            restamps = state.restamps.numbered(rows[same], version)
            rows, vectors = rows[~same], vectors[~same]
            touched = np.union1d(rows, np.asarray(removed, np.int64))
            with one_thread():  # groups may move
                self._delta.replace(touched, rows, vectors, version)
            self._written = self._written.numbered(touched, version)
            base = state.base
            if state.snapshot is not None and base is not None:
                base = base.without(state.snapshot.ids.positions(touched))
            self._state = self._with_delta(
                replace(state, version=version, base=base, restamps=restamps.without(touched))
            )
            self._arrange_if_due()

    def _held_already(self, state: _State, rows: RowIds, vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Which of the rows (n,) can be found in the base with these very vectors (n, d), to the bit. Those
        whose vectors a server keeps are not asked for, and count as others. Raises ValueError as `as_indexed`."""
        same = np.zeros(len(rows), bool)
        if state.snapshot is None or state.base is None:
            return same
        places = state.snapshot.ids.located(rows)
        in_base = np.flatnonzero(state.base.finds(places))
        units, ranked, _ = as_indexed(vectors[in_base], self.metric)
        held = state.base.vectors_at(places[in_base])
        equal = (units.view(np.uint32) == held.view(np.uint32)).all(axis=1)
        directed = places[in_base] < state.base.ranked.size
        known = ~directed | (places[in_base] < len(state.base.vectors))
        same[in_base] = equal & known & (ranked == directed)
        return same

    def upsert(self, rows: RowIds, vectors: Vectors, *, version: int) -> None:
        self.apply(rows, vectors, np.empty(0, np.int64), version=version)

    def remove(self, rows: RowIds, *, version: int) -> None:
        none = np.empty(0, np.int64)
        self.apply(none, np.empty((0, self.dimension), np.float32), rows, version=version)

    def swap(self, snapshot: IndexSnapshot) -> None:
        """Puts a newer snapshot under the writes that came after its version; searches go on meanwhile.

        Raises ValueError where it is of another metric or dimension, or older than what the delta began from.
        """
        manifest = snapshot.manifest
        if (manifest.metric, manifest.dimension) != (self.metric, self.dimension):
            raise ValueError(f"a snapshot of {manifest.metric} in {manifest.dimension} dimensions does not fit")
        with self._writing:
            if snapshot.version < self._since:
                raise ValueError(f"version {snapshot.version} is older than {self._since}, which the index began from")
            base_since, settled = self._settled_in(snapshot)
            self._written = self._written.above(snapshot.version)
            later = self._written.rows
            groups, published = self._delta.block.groups, snapshot.block.ranked.count
            grouped = groups is not None and not groups.origin.passed(published)
            with one_thread():
                self._delta = self._delta.only(
                    later, grouped=grouped and _promised(snapshot) == _promised(self._state.snapshot)
                )
            self._axes_sought = self._delta.block.reduced is not None
            self._since = snapshot.version
            base = snapshot.block.without(snapshot.ids.positions(later))
            version = max(self._state.version, snapshot.version)
            # Their vectors are those of the snapshot before, and so those of any between that one and their versions.
            restamps = self._state.restamps.above(snapshot.version)
            self._state = self._with_delta(
                replace(
                    self._state,
                    version=version,
                    snapshot=snapshot,
                    base=base,
                    restamps=restamps,
                    base_since=base_since,
                    settled=settled,
                )
            )
            self._arrange_if_due()  # groups were of the delta before

    def _settled_in(self, snapshot: IndexSnapshot) -> tuple[int, NumberedRows]:
        """`base_since` and `settled` with a newer snapshot: rows that were not written between the two stay as of the
        version that they were, so that what others keep of them under it stays good.

        They begin anew where it is not known what was written by the snapshot's version, or once that is too much.
        """
        state, until = self._state, snapshot.version
        if state.snapshot is None or until > state.version:
            return until, NumberedRows.none()
        settled = state.settled
        for written in (state.restamps.until(until), self._written.until(until)):
            settled = settled.numbered(written.rows, written.numbers)
        return (until, NumberedRows.none()) if len(settled) > _SETTLED_MOST else (state.base_since, settled)

    def _with_delta(self, state: _State) -> _State:
        """What is searched, with the delta as it is now."""
        delta = self._delta
        return replace(state, delta=delta.block, slots=delta.slots, versions=delta.versions)

    def _axes_due(self) -> bool:
        """Whether nobody has looked yet whether the delta is sooner searched by fewer coordinates, once it is large."""
        return not self._axes_sought and self._state.delta.ranked.count >= LEAST_REDUCED

    def _groups_due(self) -> bool:
        """Whether many rows of a large delta are in no group yet, or groups were measured beside far fewer published
        rows. Without published rows, groups are of no use."""
        delta, base = self._state.delta, self._state.base
        if base is None or not base.ranked.count or delta.ranked.count < LEAST_REDUCED:
            return False
        if delta.groups is not None and delta.groups.origin.stale(base.ranked.count):
            return True
        grouped = delta.groups.count if delta.groups else 0
        return len(delta.rows) - grouped >= max(_UNGROUPED_LEAST, _UNGROUPED_SHARE * grouped)

    def _arrange_if_due(self) -> None:
        """To be called by whoever is writing, with the lock held."""
        if not self._arranging and (self._axes_due() or self._groups_due()):
            threading.Thread(target=self._arrange, name=ARRANGING, daemon=True).start()
            self._arranging = True

    def _arrange(self) -> None:
        """In a thread, beside searches and writes, since it takes tenths of a second: has the delta searched by fewer
        coordinates and in groups, for as long as there is something to do."""
        try:
            with one_thread():
                while True:
                    with self._writing:
                        written, now, seek = self._delta, self.frozen(), self._axes_due()
                        if not seek and not self._groups_due():
                            self._arranging = False
                            return
                    if seek:
                        self._reduce(written, now)
                    else:
                        self._group(written, now)
        except BaseException:
            with self._writing:
                self._arranging = False  # the next write tries again
            raise

    def _reduce(self, written: Delta, now: LiveIndex) -> None:
        """Has rows that were written searched by fewer coordinates, where that is sooner done in the index as it is
        now; unless they come to be in a snapshot, or in another delta, meanwhile."""
        axes = now._axes()
        while True:
            block = written.block
            reduced = None if axes is None else axes.reduce(block.vectors)
            with self._writing:
                if written is not self._delta:
                    return
                if axes is None or reduced is None or written.search_by(axes, block, reduced):
                    self._axes_sought = True
                    self._renew_state()
                    return

    def _group(self, written: Delta, now: LiveIndex) -> None:
        """Has the rows that were written by now searched in groups, unless they are elsewhere meanwhile."""
        state = now._state
        block, groups = state.delta, state.delta.groups
        end = len(block.rows) & ~7  # as `Bitmap.after` takes it
        compared = (block.reduced.vectors if block.reduced else block.vectors)[:end]
        published = 0 if state.base is None else state.base.ranked.count
        if groups is None or groups.origin.outgrown(end, published):
            groups, measured = Groups.learned(compared), False
        else:
            measured = not groups.origin.stale(published)
            groups = groups.with_more(compared[groups.count :]) if groups.count < end else groups
        if not measured:
            groups = groups.reaching(*self._measured(groups, state))
        with self._writing:
            if written is self._delta and written.search_in(groups, block):
                self._renew_state()

    def _measured(self, groups: Groups, state: _State) -> tuple[float, int]:
        """The reach of groups of the delta, and beside how many published rows it was measured: 0 where every answer
        must be exact, or the published vectors are not here."""
        snapshot, base, promised = state.snapshot, state.base, _promised(state.snapshot)
        if snapshot is None or base is None or not len(base.vectors) or promised == _EXACT:
            return EXACT_REACH, 0

        def search(queries: Vectors, k: int) -> Hits:
            return snapshot.search(base, queries, k, self.metric)

        reach = reach_for(groups, state.delta, state.slots, base.vectors, search, self.metric, promised)
        return reach, base.ranked.count

    def _renew_state(self) -> None:
        """Has searches see the delta as it is now, of the same version."""
        self._state = self._with_delta(self._state)

    def _axes(self) -> Axes | None:
        """Those by which the delta is searched soonest, if any."""
        delta, base = self._state.delta, self._state.base
        here = base is not None and len(base.vectors) > 0  # and not on a server

        def kth(queries: Vectors, k: int, score: Distance) -> Vectors:
            found = self.search(queries, k, score_as=score) if here else delta.search(queries, k, score)
            return found.scores[:, -1]

        return choose_axes(base.vectors if base is not None and here else delta.vectors, delta, self.metric, kth)

    def memory(self) -> MemoryUse:
        state = self._state
        use = state.snapshot.memory() if state.snapshot else MemoryUse(0, 0)
        return MemoryUse(use.mapped, use.resident + self._delta.nbytes + state.settled.nbytes)

    def _matrix(self, vectors: Vectors) -> Vectors:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(f"vectors are (n, {self.dimension}), not {vectors.shape}")
        return vectors


def _promised(snapshot: IndexSnapshot | None) -> float:
    """The recall that is promised of an index above this snapshot: _EXACT where that finds all, or there is none."""
    if snapshot is None or snapshot.manifest.tuning(snapshot.manifest.metric) is None:
        return _EXACT
    return snapshot.manifest.options.recall_for(snapshot.manifest.rows)


def _merged(parts: list[Hits], k: int, score: Distance) -> Hits:
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    return best_of(rows, scores, rows != PADDING, k, score)


def _with_zeros(hits: Hits, zeros: RowIds, queries: Vectors, score: Distance) -> Hits:
    """The zero rows of a cosine index, by row id, in the places that the others left empty."""
    lengths = np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
    worst = {"cosine": np.full(len(queries), -1.0), "ip": -lengths, "l2": lengths + 1}[score].astype(np.float32)
    query, place = np.nonzero(hits.rows == PADDING)
    place_among_zeros = place - (hits.rows != PADDING).sum(axis=1)[query]
    fits = place_among_zeros < len(zeros)
    query, place = query[fits], place[fits]
    hits.rows[query, place] = zeros[place_among_zeros[fits]]
    hits.scores[query, place] = worst[query]
    return hits
