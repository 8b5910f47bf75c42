"""A dataset in files as one place of a connection."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from app.stores.files.folder import FilesOptions, Folder
from app.stores.files.source import SourceFiles
from app.stores.files.target import ParquetTarget, TargetColumns
from app.stores.protocol import Abilities, Column, Place, StoreDescription, Switched, Target, WrongPlace

_ENDINGS = (".parquet", ".arrow", ".feather")
_ROW = "file_row_number"
"""What a target's column of ids is called where the place has none: as DuckDB calls it when it reads the old file."""


class FileStore:
    """place.collection: a file's path within the folder, or that of a folder whose files are one dataset."""

    def __init__(self, folder: Folder, place: Place) -> None:
        if place.vector is None:
            raise WrongPlace("say which column holds the vectors: `vector`")
        self._folder, self._place, self._vector = folder, place, place.vector
        self._source = SourceFiles(folder, place, place.vector)
        self._opened: dict[str, ParquetTarget] = {}

    @classmethod
    def open(cls, name: str, options: FilesOptions, place: Place) -> "FileStore":
        return cls(Folder(options.folder, name), place)

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        able = Abilities(snapshot="all", switching="statement", conditional_write=False)
        return StoreDescription(self._source.rows, self._source.dimension, metric=None, abilities=able)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        return self._source.scan(columns, batch_rows=batch_rows, after=after)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        return self._source.by_id(ids, columns)

    def make_target(self, target: Target) -> None:
        self._target(target).make()

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        gone = self._source.gone(items.column("id").to_pylist())
        there = items.filter(pa.compute.invert(pa.compute.is_in(items.column("id"), pa.array(gone, pa.string()))))
        self._target(target).write(there.column("id"), there.column("vector"))
        return gone

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        return self._target(target).written(batch_rows, vectors)

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        return self._target(target).by_id(pa.array(ids, pa.string()))

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        self._target(target).erase(pa.array(ids, pa.string()))

    def build_index(self, target: Target) -> None:
        """Files have no index; leftovers of processes that were killed are cleared, so that each id is there once."""
        self._target(target).settle()

    def switch(self, target: Target) -> Switched:
        self._target(target).settle()
        return Switched(self._statement(target))

    def switch_back(self, target: Target) -> Switched:
        return Switched(f"-- read {self._place.collection!r} again, which is as it was")

    def drop(self, target: Target) -> None:
        self._target(target).drop()

    def close(self) -> None:
        """Nothing is kept open."""

    def _target(self, target: Target) -> ParquetTarget:
        path = self._target_path(target)
        if path not in self._opened:
            columns = TargetColumns(self._place.id or _ROW, self._source.id_type(), self._vector)
            self._opened[path] = ParquetTarget(self._folder, path, target, columns)
        return self._opened[path]

    def _target_path(self, target: Target) -> str:
        """Beside the file or folder, wherever a link of that name leads to."""
        collection = PurePosixPath(self._place.collection)
        stem = collection.stem if collection.suffix in _ENDINGS else collection.name
        return self._folder.beside(self._place.collection, f"{stem}.{target.name}.parquet")

    def _statement(self, target: Target) -> str:
        """In DuckDB's SQL, which reads Parquet where it lies."""
        old, new = self._place.collection, self._target_path(target)
        join, vector = _quoted(self._place.id or _ROW), _quoted(self._vector)
        if self._source.format != "Parquet":
            return f"-- read {join} and {vector} from the Parquet files in {new!r}, in place of {vector} in {old!r}"
        read = _literal(old if old.endswith(".parquet") else f"{old}/*.parquet")
        rows = read if self._place.id else f"read_parquet({read}, file_row_number = true)"
        files = _literal(f"{new}/*.parquet")
        return f"SELECT old.* REPLACE (new.{vector} AS {vector}) FROM {rows} AS old JOIN {files} AS new USING ({join})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
