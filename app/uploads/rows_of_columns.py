"""An array in Fortran order, read by rows: the last number of the first row comes nearly last in the file."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from app.uploads.npy import Header


class RowsOfColumns:
    """What an array's columns, one after another, would read as in rows. They are kept on disk, not in memory."""

    def __init__(self, columns: Iterable[bytes], header: Header, folder: Path) -> None:
        self._rows, self._columns = header.shape
        self._dtype = header.dtype
        self._next = 0
        self._disk = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as its rows are read
        for piece in columns:
            self._disk.write(piece)
        self._disk.flush()

    def read(self, size: int) -> bytes:
        """The next whole rows in `size` bytes; fewer where the array ends, or was cut short."""
        width = self._dtype.itemsize
        count = min(size // (self._columns * width), self._rows - self._next)
        block = np.empty((count, self._columns), self._dtype)
        for column in range(self._columns if count else 0):
            data = os.pread(self._disk.fileno(), count * width, (column * self._rows + self._next) * width)
            if len(data) < count * width:
                return b""
            block[:, column] = np.frombuffer(data, self._dtype)
        self._next += count
        return block.tobytes()
