"""One file of rows, in Parquet or in Arrow's two formats, read part by part whatever its size.

A part is what its format can be entered at: a row group or a record batch. Everything read is checked before it is
given on, since a file may be damaged, or made to harm: Parquet's footer is bounded and pages are checked against their
checksums, and no offset of an array leads out of it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from app.stores.files.folder import identity
from app.stores.protocol import StoreAway, WrongPlace

_PARQUET, _ARROW_FILE = b"PAR1", b"ARROW1"
_FOOTER_BYTES, _FOOTER_ENTRIES = 64 * 2**20, 2**22
_BUFFER_BYTES = 2**20
_PART_BYTES = 2**30  # of a record batch, which is read whole
_SAID = 200


class ItemFile(Protocol):
    """An opened file. Its calls raise WrongPlace where its bytes are not what its format says, and StoreAway where it
    was written to since it was opened."""

    @property
    def what(self) -> str:
        """The format, in words."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def part_rows(self) -> Sequence[int]:
        """How many rows each part has."""

    def batches(self, parts: Sequence[int], columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of these parts, ascending, in batches of at most so many rows."""

    def close(self) -> None: ...


def open_vector_file(path: str, descriptor: int) -> ItemFile:
    """The file of an open descriptor, which is its from now on, in the format that its first bytes say. path: for
    errors."""
    watched = _WatchedFile(path, descriptor)
    try:
        magic = watched.start(len(_ARROW_FILE))
        if magic.startswith(_PARQUET):
            return _ParquetRows(watched)
        return _ArrowFileRows(watched) if magic == _ARROW_FILE else _ArrowStreamRows(watched)
    except BaseException:
        watched.close()
        raise


class _WatchedFile:
    """A descriptor, and what the file was when it was opened."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self._descriptor, self._opened = path, descriptor, identity(os.fstat(descriptor))

    def start(self, count: int) -> bytes:
        return os.pread(self._descriptor, count, 0)

    def source(self) -> pa.OSFile:
        return pa.OSFile(f"/dev/fd/{self._descriptor}")  # the file that is open, whatever its name leads to by now

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            self.check()
            message = (str(error).strip().splitlines() or [type(error).__name__])[0][:_SAID]
            raise WrongPlace(f"{self.path!r} cannot be read as {what}: {message}") from None
        self.check()

    def check(self) -> None:
        if identity(os.fstat(self._descriptor)) != self._opened:
            raise StoreAway(f"{self.path!r} was written to while it was read; put another in its place instead")

    def close(self) -> None:
        os.close(self._descriptor)


class _Rows:
    what: str

    def __init__(self, file: _WatchedFile) -> None:
        self._file = file

    def close(self) -> None:
        self._file.close()

    def _checked(self, read: Callable[[], pa.RecordBatch | None]) -> pa.RecordBatch | None:
        with self._file.reading(self.what):
            batch = read()
            if batch is not None:
                batch.validate(full=True)
        return batch


class _ParquetRows(_Rows):
    what = "Parquet"

    def __init__(self, file: _WatchedFile) -> None:
        super().__init__(file)
        with file.reading(self.what):
            self._parquet = pq.ParquetFile(
                file.source(),
                pre_buffer=False,
                buffer_size=_BUFFER_BYTES,
                thrift_string_size_limit=_FOOTER_BYTES,
                thrift_container_size_limit=_FOOTER_ENTRIES,
                page_checksum_verification=True,
            )
            self.schema = self._parquet.schema_arrow
        footer = self._parquet.metadata
        self.part_rows = [footer.row_group(part).num_rows for part in range(footer.num_row_groups)]
        if min(self.part_rows, default=0) < 0 or sum(self.part_rows) != footer.num_rows:
            raise WrongPlace(f"the footer of {file.path!r} contradicts itself: its row groups are not its rows")

    def batches(self, parts: Sequence[int], columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        with self._file.reading(self.what):
            batches = self._parquet.iter_batches(batch_rows, row_groups=list(parts), columns=columns, use_threads=False)
        read = 0
        while (batch := self._checked(lambda: next(batches, None))) is not None:
            read += batch.num_rows
            yield batch.select(columns)
        if read != sum(self.part_rows[part] for part in parts):
            raise WrongPlace(f"the pages of {self._file.path!r} hold {read} rows, and not those that its footer says")


class _ArrowFileRows(_Rows):
    what = "an Arrow file"

    def __init__(self, file: _WatchedFile) -> None:
        super().__init__(file)
        with file.reading(self.what):
            reader = pa.ipc.open_file(file.source())
            self.schema = reader.schema
        first = [0] if len(self.schema) else []
        self.part_rows = [self._batch(part, first).num_rows for part in range(reader.num_record_batches)]

    def batches(self, parts: Sequence[int], columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        fields = [self.schema.get_field_index(name) for name in columns]
        for part in parts:
            yield from _slices(self._batch(part, fields).select(columns), batch_rows)

    def _batch(self, part: int, fields: list[int]) -> pa.RecordBatch:
        """Reads these fields of one batch, and nothing else of it."""
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
        batch = self._checked(lambda: pa.ipc.open_file(self._file.source(), options=options).get_batch(part))
        return _bounded(batch, self._file.path)


class _ArrowStreamRows(_Rows):
    """What Hugging Face's `save_to_disk` writes. Where its batches are is known once it was read through."""

    what = "an Arrow stream"

    def __init__(self, file: _WatchedFile) -> None:
        super().__init__(file)
        self._offsets: list[int] = []
        self.part_rows: list[int] = []
        with file.reading(self.what):
            source = file.source()
            reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            self.schema = reader.schema
        if any(pa.types.is_dictionary(field.type) for field in self.schema):
            raise WrongPlace(f"{file.path!r} is an Arrow stream with dictionaries; write it as Parquet instead")
        while True:
            start = source.tell()
            with file.reading(self.what):
                batch = next(reader, None)
            if batch is None:
                break
            self._offsets.append(start)
            self.part_rows.append(_bounded(batch, file.path).num_rows)
        source.seek(start)
        if source.read(8) not in (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0"):
            raise WrongPlace(f"{file.path!r} is cut short: the end of the Arrow stream is missing")

    def batches(self, parts: Sequence[int], columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        source = self._file.source()
        for part in parts:
            source.seek(self._offsets[part])
            batch = self._checked(lambda: pa.ipc.read_record_batch(pa.ipc.read_message(source), self.schema))
            yield from _slices(_bounded(batch, self._file.path).select(columns), batch_rows)


def _slices(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _bounded(batch: pa.RecordBatch | None, path: str) -> pa.RecordBatch:
    if batch is None or batch.nbytes > _PART_BYTES:
        raise WrongPlace(f"{path!r} has a record batch of more than {_PART_BYTES >> 20} MiB; write smaller ones")
    return batch
