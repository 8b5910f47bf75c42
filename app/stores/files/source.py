"""The rows of one file, or of all the files in one folder, as items: found by their ids, and read in their order.

Files are not updated but replaced. Whether they were is looked at before each call; what is being read stays as it was
opened, since a file that another has taken the place of can be read to its end.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from contextlib import closing as closing_file
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.stores.arrow_items import (
    check_columns,
    fixed_dimension,
    items_of,
    source_columns,
    texts_of_ids,
)
from app.stores.files.folder import Folder, Identity, identity
from app.stores.files.formats import open_vector_file
from app.stores.files.key_index import NOWHERE, KeyIndex, hashes_of
from app.stores.protocol import Column, Place, StoreAway, WrongPlace

_ENDINGS = (".parquet", ".arrow")
_FEW_ROWS, _BY_ID_ROWS, _IDS_ROWS = 2**8, 2**12, 2**16


@dataclass(frozen=True)
class _Part:
    """One part of one file. first: the number of its first row among all rows."""

    path: str
    number: int
    rows: int
    first: int


class SourceFiles:
    """place.collection: a file, or a folder of files that all have the same columns. Without place.id, an item's id is
    the number of its row, from 0."""

    def __init__(self, folder: Folder, place: Place, vector: str) -> None:
        """vector: place.vector."""
        self._folder, self._place, self._vector = folder, place, vector
        self._seen: dict[str, Identity] = {}
        self._parts: list[_Part] = []
        self._index: KeyIndex | None = None
        self._dimension: int | None = None
        self.schema: pa.Schema = pa.schema([])
        self.format = ""

    @property
    def rows(self) -> int:
        self._look()
        return sum(part.rows for part in self._parts)

    @property
    def dimension(self) -> int:
        """Raises WrongPlace where no row has a vector, and the type does not say how long they are."""
        self._look()
        if self._dimension is None:
            self._dimension = self._found_dimension()
        return self._dimension

    def id_type(self) -> pa.DataType:
        self._look()
        return self.schema.field(self._place.id).type if self._place.id else pa.int64()

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """In the order of the files' names and of their rows. Where `after` is not there any more, from the start."""
        self._look()
        dimension = self.dimension
        start = 0 if after is None else max(0, int(self._located([after])[0]))
        passed = after is None or self._located([after])[0] == NOWHERE
        for batch, ids in self._read(self._parts[start:], [*columns, "id"], batch_rows):
            skipped = 0
            if not passed:
                at = pc.index(ids, after).as_py()
                if at < 0:
                    continue
                skipped, passed = at + 1, True
            if skipped < batch.num_rows:
                yield items_of(batch.slice(skipped), columns, self._place, dimension, ids.slice(skipped))

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        self._look()
        dimension = self.dimension
        wanted = pa.array(dict.fromkeys(ids), pa.string())
        held = np.unique(self._located(wanted.to_pylist()))
        found: list[pa.RecordBatch] = []
        parts = [self._parts[part] for part in held if part != NOWHERE]
        for batch, texts in self._read(parts, [*columns, "id"], _BY_ID_ROWS):
            chosen = pc.is_in(texts, wanted)
            if chosen.true_count:
                found.append(items_of(batch.filter(chosen), columns, self._place, dimension, texts.filter(chosen)))
        if not found:
            nothing = pa.RecordBatch.from_pylist([], self.schema)
            return items_of(nothing, columns, self._place, dimension, pa.array([], pa.string()))
        return pa.Table.from_batches(found).combine_chunks().to_batches()[0]

    def gone(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that no row has."""
        self._look()
        return [id_ for id_, part in zip(ids, self._located(ids), strict=True) if part == NOWHERE]

    def _located(self, ids: Sequence[str]) -> np.ndarray:
        """The part that each id is in."""
        if self._place.id is None:
            firsts = np.array([part.first for part in self._parts], np.int64)
            total = sum(part.rows for part in self._parts)
            numbers = np.array([_row_number(id_, total) for id_ in ids], np.int64)
            return np.where(numbers < 0, NOWHERE, np.searchsorted(firsts, numbers, side="right") - 1)
        if self._index is None:
            self._index = self._indexed()
        return self._index.find(hashes_of(ids, len(ids)))

    def _indexed(self) -> KeyIndex:
        """Reads all ids. Raises WrongPlace for one that two rows have."""
        index = KeyIndex()
        for number, part in enumerate(self._parts):
            ids = pa.chunked_array([texts for _, texts in self._read([part], ["id"], _IDS_ROWS)], pa.string())
            keys = hashes_of(ids.to_pylist(), len(ids))
            known = index.find(keys) != NOWHERE
            counted = np.unique(keys, return_counts=True)
            if known.any() or (counted[1] > 1).any():
                again = known | np.isin(keys, counted[0][counted[1] > 1])
                raise WrongPlace(f"the id {ids[int(np.flatnonzero(again)[0])].as_py()!r} is there twice")
            index.put(keys, number)
        return index

    def _read(
        self, parts: Sequence[_Part], columns: Sequence[Column], batch_rows: int
    ) -> Iterator[tuple[pa.RecordBatch, pa.StringArray]]:
        """Rows of parts with the place's own columns that these are made of, and their ids. All files are opened before
        one is read, so that what is read is of one moment."""
        names = source_columns(columns, self._place) or [self._vector]
        with ExitStack() as closing:
            descriptors = {path: self._opened(path, closing) for path, _ in _of_files(parts)}
            for path, those in _of_files(parts):
                with closing_file(open_vector_file(path, os.dup(descriptors[path]))) as file:
                    for run in _neighbours(those):
                        first = run[0].first
                        for batch in file.batches([part.number for part in run], names, batch_rows):
                            yield batch, self._ids(batch, first)
                            first += batch.num_rows

    def _ids(self, batch: pa.RecordBatch, first: int) -> pa.StringArray:
        if self._place.id is not None:
            return texts_of_ids(batch.column(self._place.id), self._place.id)
        return pa.array(np.arange(first, first + batch.num_rows)).cast(pa.string())

    def _opened(self, path: str, closing: ExitStack) -> int:
        """Raises StoreAway where another file has taken its place since it was looked at."""
        descriptor = self._folder.open(path)
        closing.callback(os.close, descriptor)
        if identity(os.fstat(descriptor)) != self._seen[path]:
            raise StoreAway(f"{path!r} was replaced meanwhile; read again")
        return descriptor

    def _look(self) -> None:
        """Takes note of the files that there are, if they are others than before."""
        paths = self._paths()
        seen = {path: self._identity(path) for path in paths}
        if seen == self._seen:
            return
        parts: list[_Part] = []
        schemas: dict[str, pa.Schema] = {}
        first = 0
        for path in paths:
            with closing_file(open_vector_file(path, self._folder.open(path))) as file:
                check_columns(file.schema, self._place, repr(path))
                self.format = file.what
                schemas[path] = file.schema.remove_metadata()
                for number, rows in enumerate(file.part_rows):
                    if rows:
                        parts.append(_Part(path, number, rows, first))
                    first += rows
        self.schema = schemas[paths[0]]
        self._seen, self._parts, self._index, self._dimension = seen, parts, None, None

    def _paths(self) -> list[str]:
        """The resolved paths of the files, in the order of their names."""
        resolved = self._folder.resolved(self._place.collection)
        if not self._folder.is_directory(resolved):
            return [resolved]
        names = self._folder.names(resolved)
        endings = {PurePosixPath(name).suffix for name in names} & set(_ENDINGS)
        if len(endings) != 1:
            raise WrongPlace(
                f"{self._place.collection!r} is a folder, and holds "
                f"{'files of more than one kind' if endings else 'no file that ends in .parquet or .arrow'}: "
                f"{', '.join(names[:20]) or 'nothing'}"
            )
        return [self._folder.resolved(f"{resolved}/{name}") for name in names if PurePosixPath(name).suffix in endings]

    def _identity(self, path: str) -> Identity:
        descriptor = self._folder.open(path)
        try:
            return identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _found_dimension(self) -> int:
        fixed = fixed_dimension(self.schema.field(self._vector).type)
        if fixed is not None:
            return fixed
        for batch, _ in self._read(self._parts, ["vector", "id"], _FEW_ROWS):
            lengths = pc.drop_null(pc.list_value_length(batch.column(self._vector)))
            if len(lengths):
                return int(lengths[0].as_py())
        raise WrongPlace(f"no row of {self._place.collection!r} has a vector, so that their dimension is not known")


def _of_files(parts: Sequence[_Part]) -> Iterator[tuple[str, list[_Part]]]:
    """Parts by their files, in the order given."""
    return ((path, list(those)) for path, those in groupby(parts, lambda part: part.path))


def _neighbours(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Parts of one file, in runs of which each goes on where the one before ends."""
    runs = groupby(enumerate(parts), lambda numbered: numbered[1].number - numbered[0])
    return ([part for _, part in run] for _, run in runs)


def _row_number(text: str, rows: int) -> int:
    """-1 for what is no row's number."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19) or str(int(text)) != text:
        return NOWHERE
    return int(text) if int(text) < rows else NOWHERE
