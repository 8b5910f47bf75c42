"""The rows that filters let through: worked out in memory, and kept for as long as the items are of one version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np

from app.filters.expression import FilterField, fields_of
from app.filters.field_block import FieldBlock, NoRoom, RowNumbers, block_of, columns_needed
from app.filters.gallery_columns import GalleryColumns
from app.filters.parsing import Filter
from app.storage.lance_table import Table

_RESULTS_SHARE = 4  # of the memory, one part is for the rows that filters let through
_BATCH_ROWS = 2**16
_OVERHEAD_BYTES = 400  # of the objects that keep one result
_REMEMBERED = 1_000  # sets of fields that did not fit

_Result = tuple[str, int, str]
"""A gallery, the version of its items, and a filter's text."""


class FilteredRows:
    """Evaluates filters over any gallery, with at most `bytes_at_most` of columns and results kept.

    The columns of a field are built when a filter first looks at it, from one pass over the items, and followed from
    then on. Those not used for longest make room for others. A filter whose fields do not fit at all is evaluated by a
    pass over the items each time: slower, and the same rows.
    """

    def __init__(self, bytes_at_most: int) -> None:
        self._columns_room = bytes_at_most - bytes_at_most // _RESULTS_SHARE
        self._results_room = bytes_at_most // _RESULTS_SHARE
        self._lock = threading.Lock()
        self._galleries: dict[str, GalleryColumns] = {}
        self._used: OrderedDict[tuple[str, FilterField], None] = OrderedDict()
        self._unfitting: OrderedDict[tuple[str, frozenset[FilterField]], None] = OrderedDict()
        self._results: OrderedDict[_Result, RowNumbers] = OrderedDict()

    def rows(self, gallery: str, items: Callable[[], Table], only: Filter, version: int) -> RowNumbers | None:
        """The row ids (a,) of the items that a filter lets through as of a version; None for all, of whatever version.

        gallery: names the items' table, which `items` opens. The same filter and version get the same array, which is
        not to be written to.
        """
        fields = fields_of(only.condition)
        if not fields:
            nothing = np.empty(0, np.int64)
            nothing.flags.writeable = False
            return None if len(_WHATEVER.matching(only.condition)) else nothing
        name = (gallery, version, only.text)
        with self._lock:
            if (known := self._results.get(name)) is not None:
                self._results.move_to_end(name)
                return known
        found = [block.matching(only.condition) for block in self._blocks(gallery, items, version, fields)]
        rows = np.concatenate([np.empty(0, np.int64), *found])
        rows.flags.writeable = False
        self._keep(name, rows)
        return rows

    def _blocks(
        self, gallery: str, items: Callable[[], Table], version: int, fields: frozenset[FilterField]
    ) -> Iterator[FieldBlock]:
        with self._lock:
            columns = self._galleries.setdefault(gallery, GalleryColumns())
            for field in fields:
                self._used[gallery, field] = None
                self._used.move_to_end((gallery, field))
            fits = (gallery, fields) not in self._unfitting
        if fits:
            try:
                blocks = columns.blocks(items, version, fields, lambda: self._columns_room - columns.nbytes(fields))
            except NoRoom:
                with self._lock:
                    self._unfitting[gallery, fields] = None
                    if len(self._unfitting) > _REMEMBERED:
                        self._unfitting.popitem(last=False)
            else:
                self._make_room()
                yield from blocks
                return
        for batch in items().scan(columns_needed(fields), version=version, batch_rows=_BATCH_ROWS):
            yield block_of([batch], fields)

    def _make_room(self) -> None:
        """Lets go of the columns that were not used for longest, until the others fit."""
        while True:
            with self._lock:
                taken = sum(columns.nbytes() for columns in self._galleries.values())
                if taken <= self._columns_room or not self._used:
                    return
                (gallery, field), _ = self._used.popitem(last=False)
                columns = self._galleries[gallery]
                if all(other != gallery for other, _ in self._used):
                    del self._galleries[gallery]
            columns.drop(field)  # which waits while others are built

    def _keep(self, name: _Result, rows: RowNumbers) -> None:
        with self._lock:
            if name in self._results:
                return
            self._results[name] = rows
            self._results_room -= _cost(name, rows)
            while self._results_room < 0:
                self._results_room += _cost(*self._results.popitem(last=False))


def _cost(name: _Result, rows: RowNumbers) -> int:
    """Bytes that keeping a result takes."""
    return _OVERHEAD_BYTES + 4 * len(name[2]) + rows.nbytes


_WHATEVER = FieldBlock(np.zeros(1, np.int64), np.ones(1, bool), {})
"""One item, for filters that look at nothing."""
