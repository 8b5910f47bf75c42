"""No id twice in one body, at 8 bytes an id."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from app.uploads.offences import Offences
from app.uploads.rows import UploadedRows

_SUSPECTS = 1000


class Ids:
    """The ids seen so far, as 64-bit hashes. Python keys its string hash anew in each process: none can aim at it."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the ids of some rows; rows that have none are no concern here."""
        if "id" in batch.schema.names:
            self._hashes.append(np.fromiter(map(hash, batch.column("id").to_pylist()), np.int64, batch.num_rows))

    def refuse_repeated(self, rows: UploadedRows, offences: Offences) -> None:
        """Notes the first ids of `rows` that came earlier in the body; what hashes alike is compared in full."""
        hashes = np.concatenate([np.empty(0, np.int64), *self._hashes])
        self._hashes.clear()
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        del ordered
        order = np.argsort(hashes, kind="stable")
        suspects = np.sort(order[1:][hashes[order[1:]] == hashes[order[:-1]]])
        del order
        for start in range(0, len(suspects), _SUSPECTS):
            alike = np.isin(hashes, hashes[suspects[start : start + _SUSPECTS]])
            alike[suspects[min(start + _SUSPECTS, len(suspects)) - 1] + 1 :] = False
            first: dict[str, int] = {}
            for row, id in _ids_at(rows, alike):
                if (earlier := first.setdefault(id, row)) != row:
                    offences.add(row, id, "id", f"is the id of row {earlier} too; an id may come once in a request")
            if offences:
                return


def _ids_at(rows: UploadedRows, wanted: np.ndarray) -> Iterator[tuple[int, str]]:
    """Rows that `wanted` (n,) bool marks, with their ids."""
    start = 0
    for batch in rows.batches():
        marked = np.flatnonzero(wanted[start : start + batch.num_rows])
        for place, id in zip(marked.tolist(), batch.column("id").take(pa.array(marked)).to_pylist(), strict=True):
            yield start + place, id
        start += batch.num_rows
