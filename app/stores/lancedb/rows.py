"""Where the rows of one version of a table are: found by their ids, and put in the order of these."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.stores.arrow_items import ids_from_texts, texts_of_ids
from app.stores.files.key_index import NOWHERE, KeyPlaces, hashes_of
from app.stores.protocol import WrongPlace

LanceRowIds = npt.NDArray[np.uint64]
_ROW = "_rowid"
_READ_ROWS = 2**16


class LanceRows:
    """One version of a table, 24 bytes a row. table: at that version, to stay there."""

    def __init__(self, table: Any, key: str) -> None:
        self._table, self._key = table, key
        ids, rows = self._all()
        self._rows = rows
        self._places = KeyPlaces(hashes_of(texts_of_ids(ids, key).to_pylist(), len(ids)))
        if (again := self._places.twice()) is not None:
            raise WrongPlace(f"the id {ids[again].as_py()!r} is there twice")

    def find(self, ids: Sequence[str]) -> LanceRowIds:
        """The rows with these ids, in the order of the ids; unknown ones are left out."""
        places = self._places.find(hashes_of(ids, len(ids)))
        found: LanceRowIds = self._rows[places[places != NOWHERE]]
        return found

    def in_order(self, after: str | None) -> LanceRowIds:
        """All rows in the order of their ids, those behind `after` alone."""
        ids, rows = self._all()
        if after is not None:
            last = ids_from_texts(pa.array([after]), ids.type)[0]
            if last.is_valid:
                behind = pc.greater(ids, last)
                ids, rows = ids.filter(behind), rows[behind.to_numpy(zero_copy_only=False)]
        ordered: LanceRowIds = rows[pc.sort_indices(ids).to_numpy()]
        return ordered

    def take(self, rows: LanceRowIds, columns: Sequence[str] | None) -> pa.RecordBatch:
        """These rows, in this order. columns: None for all."""
        wanted = [*columns, _ROW] if columns is not None else [*self._table.schema.names, _ROW]
        found = self._table.take_row_ids(rows.tolist()).select(wanted).to_arrow()
        places = np.argsort(found.column(_ROW).to_numpy())
        order = places[np.searchsorted(found.column(_ROW).to_numpy()[places], rows)]
        batch = found.drop_columns([_ROW]).take(pa.array(order)).combine_chunks()
        return batch.to_batches()[0] if batch.num_rows else pa.RecordBatch.from_pylist([], batch.schema)

    def _all(self) -> tuple[pa.Array, LanceRowIds]:
        read = self._table.search().with_row_id(True).select([self._key]).to_batches(_READ_ROWS)
        table = pa.Table.from_batches(read, read.schema)
        ids = table.column(self._key).combine_chunks()
        return ids, table.column(_ROW).to_numpy()
