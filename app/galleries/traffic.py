"""How often items were found: counted in memory by each gateway, and added up in the database from time to time.

A search only hands over which rows it found; they are counted later, in a thread. What is counted is at most what was
found: a gateway that is killed forgets what it counted since it last wrote, and where more is found than memory is kept
for, or more different items than are written at one time, the rest is passed over.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from app.galleries.info import GalleryInfo
from app.galleries.tables import GalleryRow, ItemTrafficRow
from app.index import PADDING, RowIds, RowPositions
from app.storage.database import Database

_MOST_NUMBERS = 2**20
"""Rows that wait to be counted, each as often as it was found, and what each answer takes beside them: 8 MiB."""
_BESIDE = 32
"""What an answer takes that waits, beside its rows, in numbers of 8 bytes."""
_MOST_ITEMS = 20_000
"""Items of a gallery whose counts are written at one time, those found most often."""
_ROWS_AT_ONCE = 1_000
_READ_AT_ONCE = 10_000

log = structlog.get_logger(__name__)

_Place = tuple[str, str]
"""A gallery's id and its folder, which tells it from a later one of the same id."""


@dataclass(frozen=True)
class FoundCounts:
    """How often the items of a gallery were found: `found` (n,) of those in `rows` (n,); the others never were."""

    rows: RowIds
    found: NDArray[np.int64]

    def of(self, rows: RowIds) -> NDArray[np.int64]:
        """How often each of rows (m,) was found, (m,)."""
        counts = np.zeros(len(rows), np.int64)
        places = RowPositions(rows).located(self.rows)
        counts[places[places >= 0]] = self.found[places >= 0]
        return counts


class ItemTraffic:
    """The counts of every gallery."""

    def __init__(self, database: Database, seconds: float) -> None:
        """seconds: between two times that counts are written; 0 counts nothing."""
        self._database = database
        self._seconds = seconds
        self._waiting: deque[tuple[_Place, RowIds]] = deque()
        self._numbers = 0
        self._starting, self._writing = threading.Lock(), threading.Lock()
        self._timer: threading.Timer | None = None

    def found(self, info: GalleryInfo, rows: RowIds) -> None:
        """Takes the rows that a search found, of any shape, PADDING among them; not to be changed afterwards. Less than
        a microsecond, except once in so many seconds."""
        numbers = rows.size + _BESIDE
        if not rows.size or self._numbers + numbers > _MOST_NUMBERS or not self._seconds:
            return
        self._numbers += numbers  # threads that add at one moment may lose some: it bounds memory, and counts nothing
        if rows.base is not None:  # a view keeps all that it is of
            rows = rows.copy()
        self._waiting.append(((info.id, info.folder), rows))
        if self._timer is None:
            self._write_soon()

    def counts(self, gallery: str) -> FoundCounts:
        """How often each item of a gallery was found, as far as it is written."""
        query = select(ItemTrafficRow.row, ItemTrafficRow.found).where(ItemTrafficRow.gallery == gallery)
        with self._database.read() as session:
            read = session.execute(query.execution_options(yield_per=_READ_AT_ONCE))
            # A column at a time: numpy takes ten times as long to look into each row of the database.
            parts = [np.array(tuple(zip(*part, strict=True)), np.int64) for part in read.partitions()]
        rows, found = np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1)
        return FoundCounts(rows, found)

    def forget_gone(self, gallery: str, there: Callable[[], RowIds], ending: threading.Event) -> None:
        """Removes the counts of items that are gone. there: reads the rows of all items that are there; called once the
        counts are read, and only where there are any. ending: set where it is to stop."""
        counted = self.counts(gallery).rows
        gone = np.setdiff1d(counted, there()) if len(counted) else counted
        for start in range(0, len(gone), _ROWS_AT_ONCE):
            if ending.is_set():
                return
            rows = gone[start : start + _ROWS_AT_ONCE].tolist()
            with self._database.session() as session:  # short ones: nobody waits for long
                here = ItemTrafficRow.gallery == gallery
                session.execute(delete(ItemTrafficRow).where(here, ItemTrafficRow.row.in_(rows)))

    def close(self) -> None:
        """Writes what waits, once a thread that is writing has ended: the database may be closed afterwards."""
        with self._starting:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._write()

    def _write_soon(self) -> None:
        with self._starting:
            if self._timer is None:
                self._timer = threading.Timer(self._seconds, self._written)
                self._timer.daemon = True
                self._timer.start()

    def _written(self) -> None:
        with self._starting:
            self._timer = None  # first: what is found from now on is written the next time
        self._write()

    def _write(self) -> None:
        with self._writing:
            for place, counted in self._counted():
                try:
                    self._add(place, counted)
                except Exception as error:  # nobody waits for this: such as a full disk, or a gallery deleted just now
                    log.warning("how often items were found is not counted", gallery=place[0], error=repr(error))

    def _counted(self) -> Iterator[tuple[_Place, Mapping[int, int]]]:
        """How often each row was found that waits, by gallery."""
        by_place: dict[_Place, list[RowIds]] = defaultdict(list)
        for _ in range(len(self._waiting)):
            place, rows = self._waiting.popleft()
            self._numbers = max(0, self._numbers - rows.size - _BESIDE)
            by_place[place].append(rows.ravel())
        for place, found in by_place.items():
            rows, counts = np.unique(np.concatenate(found), return_counts=True)
            rows, counts = rows[rows != PADDING], counts[rows != PADDING]
            most = np.sort(np.argsort(-counts, kind="stable")[:_MOST_ITEMS])
            yield place, dict(zip(rows[most].tolist(), counts[most].tolist(), strict=True))

    def _add(self, place: _Place, counted: Mapping[int, int]) -> None:
        gallery, folder = place
        values = [{"gallery": gallery, "row": row, "found": found} for row, found in counted.items()]
        with self._database.session() as session:  # one, as after each commit searches are resolved anew
            if session.scalar(select(GalleryRow.folder).where(GalleryRow.id == gallery)) != folder:
                return
            kind = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
            insert = kind.insert(ItemTrafficRow)
            more = {"found": ItemTrafficRow.found + insert.excluded.found}
            adding = insert.on_conflict_do_update(
                index_elements=[ItemTrafficRow.gallery, ItemTrafficRow.row], set_=more
            )
            # In order of the rows: of two gateways that write at one moment, one waits, and not each for the other.
            for start, end in pairwise([*range(0, len(values), _ROWS_AT_ONCE), len(values)]):
                session.execute(adding, values[start:end])
