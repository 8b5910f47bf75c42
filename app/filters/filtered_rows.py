"""The rows that filters let through: worked out in memory, and kept for as long as the items are of one version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np

from app.filters.expression import FilterField, fields_of
from app.filters.field_block import FieldBlock, NoRoom, RowNumbers, block_of, columns_needed
from app.filters.gallery_columns import GalleryColumns
from app.filters.kept_results import KeptResults
from app.filters.parsing import Filter
from app.filters.row_labels import LABEL, RowLabels
from app.storage.lance_table import Table

_RESULTS_SHARE = 4  # of the memory, one part is for the rows that filters let through
_BATCH_ROWS = 2**16
_REMEMBERED = 1_000  # sets of fields that did not fit
_PASSED_OVER = 100  # times that a set of fields that did not fit is not tried again: items become fewer, and smaller


class FilteredRows:
    """Evaluates filters over any gallery, with at most `bytes_at_most` of columns and results kept.

    The columns of a field are built when a filter first looks at it, from one pass over the items, and followed from
    then on. Those not used for longest make room for others. A filter whose fields do not fit at all is evaluated by a
    pass over the items each time: slower, and the same rows. Now and then it is tried whether they fit by now.
    """

    def __init__(self, bytes_at_most: int) -> None:
        self._columns_room = bytes_at_most - bytes_at_most // _RESULTS_SHARE
        self._results = KeptResults(bytes_at_most // _RESULTS_SHARE)
        self._lock = threading.Lock()
        self._galleries: dict[str, GalleryColumns] = {}
        self._used: OrderedDict[tuple[str, FilterField], None] = OrderedDict()
        self._unfitting: OrderedDict[tuple[str, frozenset[FilterField]], int] = OrderedDict()

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
        known: RowNumbers | None = self._results.find(name)
        if known is not None:
            return known
        found = [block.matching(only.condition) for block in self._blocks(gallery, items, version, fields)]
        rows = np.concatenate([np.empty(0, np.int64), *found])
        rows.flags.writeable = False
        self._results.keep(name, rows, 4 * len(only.text) + rows.nbytes)
        return rows

    def labels(self, gallery: str, items: Callable[[], Table], version: int) -> RowLabels:
        """The labels of a gallery's items as of a version, from the columns that filters look at.

        gallery: names the items' table, which `items` opens. The same version gets the same labels.
        """
        known: tuple[int, RowLabels] | None = self._results.find(gallery)
        if known is not None and known[0] == version:
            return known[1]
        labels = RowLabels.of_blocks(self._blocks(gallery, items, version, frozenset({LABEL})))
        self._results.keep(gallery, (version, labels), labels.nbytes)
        return labels

    def _blocks(
        self, gallery: str, items: Callable[[], Table], version: int, fields: frozenset[FilterField]
    ) -> Iterator[FieldBlock]:
        with self._lock:
            columns = self._galleries.setdefault(gallery, GalleryColumns())
            for field in fields:
                self._used[gallery, field] = None
                self._used.move_to_end((gallery, field))
            fits = self._may_fit(gallery, fields)
        if fits:
            try:
                blocks = columns.blocks(items, version, fields, lambda: self._columns_room - columns.nbytes(fields))
            except NoRoom:
                with self._lock:
                    self._unfitting[gallery, fields] = _PASSED_OVER
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

    def _may_fit(self, gallery: str, fields: frozenset[FilterField]) -> bool:
        """Whether columns of the fields are tried: not for some time after they did not fit."""
        left = self._unfitting.get((gallery, fields))
        if left is None:
            return True
        if left > 1:
            self._unfitting[gallery, fields] = left - 1
        else:
            del self._unfitting[gallery, fields]
        return False


_WHATEVER = FieldBlock(np.zeros(1, np.int64), np.ones(1, bool), {})
"""One item, for filters that look at nothing."""
