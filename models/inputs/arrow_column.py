"""A column of an Arrow file as a sequence that is memory-mapped, and cheap to send to another process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa


class ArrowColumn(Sequence[Any]):
    """The values of one column of an Arrow IPC file, `bytes` or `str`, each read from the file when it is indexed.

    Every process maps the file on first use. Raises IndexError for a row that the file does not have.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._chunks: list[pa.Array] | None = None
        self._starts = np.empty(0, np.int64)

    def __len__(self) -> int:
        self._open()
        return int(self._starts[-1])

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        chunks = self._open()
        if not 0 <= place < self._starts[-1]:
            raise IndexError(f"row {place} of {self._starts[-1]}")
        chunk = int(np.searchsorted(self._starts, place, side="right")) - 1
        return chunks[chunk][int(place - self._starts[chunk])].as_py()

    def __getstate__(self) -> tuple[Path, str]:
        return self._path, self._column

    def __setstate__(self, state: tuple[Path, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # as if made anew in this process

    def _open(self) -> list[pa.Array]:
        if self._chunks is None:
            reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
            place = reader.schema.get_field_index(self._column)
            self._chunks = [reader.get_batch(number).column(place) for number in range(reader.num_record_batches)]
            self._starts = np.cumsum([0, *map(len, self._chunks)])
        return self._chunks
