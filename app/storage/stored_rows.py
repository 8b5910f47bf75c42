"""The rows of one version of a table, looked up by their ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_IDS_AT_ONCE = 2**18


@dataclass(frozen=True)
class StoredRows:
    """The rows of one version of a table, to be looked at while new ones are written over them."""

    _dataset: lance.LanceDataset

    @property
    def schema(self) -> pa.Schema:
        """The columns of that version."""
        return self._dataset.schema

    def of(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """The columns of the rows with these ids, in the order of the ids; nulls where there is no such row."""
        found = self._dataset.to_table(filter=with_ids(ids.to_pylist()), columns=["id", *columns])
        return found.take(pc.index_in(ids, value_set=found.column("id").combine_chunks()))

    def known(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Which of many ids, (n,) strings without a null, some row has: (n,) bool, in one pass over the rows."""
        known = np.zeros(len(ids), bool)
        for batch in self._dataset.scanner(columns=["id"], batch_size=_IDS_AT_ONCE).to_batches():
            places = pc.index_in(batch.column("id"), value_set=ids).drop_null()
            known[places.to_numpy()] = True
        return known


def with_ids(ids: Sequence[str]) -> str:
    """The condition of rows with one of these ids."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in ids)
    return f"id IN ({quoted})" if ids else "false"
