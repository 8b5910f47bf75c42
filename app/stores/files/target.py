"""Transformed vectors as a folder of Parquet files, beside the file that the old ones are in.

Each write adds a file, which is there once it is whole and on disk. What is written again is in the newer file, and
taken out of the older one afterwards; a process that is killed between the two leaves rows in both, of which the newer
count, and the next write begins with clearing the older.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.stores.arrow_items import float_vectors, ids_from_texts, texts_of_ids
from app.stores.batches import vector_array
from app.stores.files.durable import clear_unfinished, replaced, writing_to
from app.stores.files.folder import Folder, Identity, identity
from app.stores.files.formats import open_vector_file
from app.stores.files.key_index import NOWHERE, KeyIndex, KeyParts, hashes_of
from app.stores.protocol import Target, WrongPlace

_ABOUT = "_crosswalk.json"  # what begins with _ or . is no part of the data to those who read such folders
_ENDING = ".parquet"
_READ_ROWS = 2**14
_UNFINISHED = ".crosswalk-unfinished"


@dataclass(frozen=True)
class TargetColumns:
    """The columns of the files. id_type: as the old file has it, so that the two can be joined."""

    id: str
    id_type: pa.DataType
    vector: str


class ParquetTarget:
    """One target at one path within the folder. Not shared between threads; one process writes at a time."""

    def __init__(self, folder: Folder, path: str, target: Target, columns: TargetColumns) -> None:
        self._folder, self._path, self._target, self._columns = folder, path, target, columns
        self._seen: dict[str, Identity] = {}
        self._index = KeyIndex()
        self._doubled = False

    def make(self) -> None:
        """Raises WrongPlace where something else is at the path."""
        if self.there():
            return
        parent, name = _split(self._path)
        hidden = self._hidden()
        with self._folder.directory(parent) as directory, writing_to(self._path):
            self._sweep(directory)
            os.mkdir(hidden, dir_fd=directory)
            with self._folder.directory(f"{parent}/{hidden}") as made, replaced(made, _ABOUT) as file:
                file.write(json.dumps(self._about()).encode())
            os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    def there(self) -> bool:
        """Whether it was made. Raises WrongPlace where what is at the path is something else."""
        parent, name = _split(self._path)
        with self._folder.directory(parent) as directory:
            if name not in os.listdir(directory):
                return False
        try:
            with open(self._folder.open(f"{self._path}/{_ABOUT}"), "rb") as file:
                about = json.load(file)
        except (WrongPlace, ValueError):
            about = None
        if about != self._about():
            raise WrongPlace(f"{self._path!r} is there already, and is not what this upgrade writes to")
        return True

    def write(self, ids: pa.StringArray, vectors: pa.FixedSizeListArray) -> None:
        """Durable when it returns."""
        if not len(ids):
            return
        self._clear()
        number = max(map(_number, self._seen), default=-1) + 1
        with self._folder.directory(self._path) as directory, writing_to(self._path):
            self._put(directory, number, pa.table([ids, vectors], ["id", "vector"]))
            keys = hashes_of(ids.to_pylist(), len(ids))
            older = self._index.find(keys)
            self._index.put(keys, number)
            self._take_out(directory, older, ids)
        self._seen = self._files()

    def erase(self, ids: pa.StringArray) -> None:
        self._clear()
        held = self._index.find(hashes_of(ids.to_pylist(), len(ids)))
        with self._folder.directory(self._path) as directory, writing_to(self._path):
            self._take_out(directory, held, ids)

    def written(self, batch_rows: int, vectors: bool) -> Iterator[pa.RecordBatch]:
        """`id` as text, and `vector`, each id once."""
        self._look()
        index = self._index
        for name in self._seen:
            yield from (batch for batch in self._current(name, index, batch_rows, vectors) if batch.num_rows)

    def by_id(self, ids: pa.StringArray) -> pa.RecordBatch:
        """`id` and `vector` of those of the ids that there are."""
        self._look()
        parts = self._index.find(hashes_of(ids.to_pylist(), len(ids)))
        batches = [
            batch.filter(pc.is_in(batch.column("id"), ids))
            for part in np.unique(parts[parts != NOWHERE])
            for batch in self._current(_name(part), self._index, _READ_ROWS, vectors=True)
        ]
        nothing = vector_array(np.empty((0, self._target.dimension), np.float32))
        held = pa.Table.from_batches(
            [pa.RecordBatch.from_arrays([pa.array([], pa.string()), nothing], ["id", "vector"]), *batches]
        )
        return held.combine_chunks().to_batches()[0] if held.num_rows else held.to_batches()[0]

    def contents(self) -> str:
        """What is another whenever a file of it is."""
        self._look()
        return json.dumps(self._seen)

    def settle(self) -> None:
        """Clears what processes that were killed have left, so that whoever reads the files sees each id once."""
        with self._folder.directory(self._path) as directory, writing_to(self._path):
            clear_unfinished(directory)
        self._clear()

    def drop(self) -> None:
        """Nothing where it is not there."""
        there = self.there()
        parent, name = _split(self._path)
        with self._folder.directory(parent) as directory, writing_to(self._path):
            if there:
                os.rename(name, self._hidden(), src_dir_fd=directory, dst_dir_fd=directory)
            self._sweep(directory)
        self._seen, self._index = {}, KeyIndex()

    def _hidden(self) -> str:
        """A name of its own for a folder that is being made or removed, by which it is known what it was to be."""
        return f".{_split(self._path)[1]}.{secrets.token_hex(8)}{_UNFINISHED}"

    def _sweep(self, directory: int) -> None:
        """Removes folders of this target that were being made or removed."""
        ours = re.compile(re.escape(f".{_split(self._path)[1]}.") + "[0-9a-f]{16}" + re.escape(_UNFINISHED))
        for left in filter(ours.fullmatch, os.listdir(directory)):
            shutil.rmtree(left, dir_fd=directory)

    def _about(self) -> dict[str, Any]:
        return {"target": self._target.name, "dimension": self._target.dimension, "metric": self._target.metric}

    def _look(self) -> None:
        """Takes note of the files that there are, if they are others than before."""
        if not self.there():
            raise WrongPlace(f"there is no {self._path!r}, in which the vectors of this upgrade would be")
        files = self._files()
        if files == self._seen:
            return
        index, doubled = KeyIndex(), False
        for name in files:
            for batch in self._read(name, 2**16, vectors=False):
                keys = hashes_of(batch.column("id").to_pylist(), batch.num_rows)
                doubled |= bool((index.find(keys) != NOWHERE).any())
                index.put(keys, _number(name))
        self._seen, self._index, self._doubled = files, index, doubled

    def _files(self) -> dict[str, Identity]:
        """What files there are, from the oldest to the newest."""
        with self._folder.directory(self._path) as directory:
            names = sorted(name for name in os.listdir(directory) if name.startswith("part-"))
            return {name: identity(os.stat(name, dir_fd=directory, follow_symlinks=False)) for name in names}

    def _clear(self) -> None:
        """Before a write: takes note of the files, and takes out of the older ones what newer ones hold as well."""
        self._look()
        if not self._doubled:
            return
        with self._folder.directory(self._path) as directory, writing_to(self._path):
            for name in self._seen:
                batches = list(self._current(name, self._index, _READ_ROWS, vectors=True))
                self._put(directory, _number(name), pa.Table.from_batches(batches))
        self._seen, self._doubled = self._files(), False

    def _take_out(self, directory: int, parts: KeyParts, ids: pa.StringArray) -> None:
        """Removes rows from the files that they are in. parts: where each id is."""
        for part in np.unique(parts[parts != NOWHERE]):
            rows = pa.Table.from_batches(self._read(_name(part), _READ_ROWS, vectors=True))
            self._put(directory, int(part), rows.filter(pc.invert(pc.is_in(rows.column("id"), ids))))

    def _put(self, directory: int, number: int, rows: pa.Table) -> None:
        """Has one file hold these rows and no others; none where there are none."""
        name = _name(number)
        if not rows.num_rows:
            os.unlink(name, dir_fd=directory)
            return
        ids = ids_from_texts(rows.column("id").combine_chunks(), self._columns.id_type)
        table = pa.table([ids, rows.column("vector")], [self._columns.id, self._columns.vector])
        with replaced(directory, name) as file:
            pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)

    def _current(self, name: str, index: KeyIndex, batch_rows: int, vectors: bool) -> Iterator[pa.RecordBatch]:
        """What a file holds, without what a newer one does."""
        for batch in self._read(name, batch_rows, vectors):
            parts = index.find(hashes_of(batch.column("id").to_pylist(), batch.num_rows))
            yield batch.filter(pa.array(parts == _number(name)))

    def _read(self, name: str, batch_rows: int, vectors: bool) -> Iterator[pa.RecordBatch]:
        """What a file holds: `id` as text, and `vector`."""
        path = f"{self._path}/{name}"
        file = open_vector_file(path, self._folder.open(path))
        try:
            columns = [self._columns.id, *([self._columns.vector] if vectors else [])]
            for batch in file.batches(range(len(file.part_rows)), columns, batch_rows):
                ids = texts_of_ids(batch.column(0), self._columns.id)
                made = [ids, *([float_vectors(batch.column(1), self._target.dimension, ids)] if vectors else [])]
                yield pa.RecordBatch.from_arrays(made, ["id", "vector"][: len(made)])
        finally:
            file.close()


def _split(path: str) -> tuple[str, str]:
    place = PurePosixPath(path)
    return str(place.parent), place.name


def _name(number: int) -> str:
    return f"part-{number:08d}{_ENDING}"


def _number(name: str) -> int:
    return int(name.removeprefix("part-").removesuffix(_ENDING))
