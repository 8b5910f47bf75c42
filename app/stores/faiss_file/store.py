"""An index file with its ids as one place of a connection.

Transformed vectors are gathered in a folder of Parquet files beside, as those of other files are, and made into an
index of the old one's type when it is to be read. Where the place is a symbolic link to an index that keeps its ids
itself, a switch has it lead to the new index; else the user's application reads the other file.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

import pyarrow as pa

from app.stores.batches import FloatRows, item_batch, vector_array, vector_marks
from app.stores.faiss_file.build import build_file, ids_written
from app.stores.faiss_file.ids import ENDINGS, write_ids
from app.stores.faiss_file.source import FaissSource, there
from app.stores.files.durable import replaced, writing_to
from app.stores.files.folder import FilesOptions, Folder
from app.stores.files.key_index import NOWHERE
from app.stores.files.target import ParquetTarget, TargetColumns
from app.stores.protocol import (
    Abilities,
    CannotSwitch,
    Column,
    Place,
    StoreDescription,
    Switched,
    Target,
    WrongPlace,
)

_BEFORE = ".before-crosswalk"
"""What the name of a link ends in that keeps where a switched link led."""
_BUILT_OF = "_built-of.json"


class FaissFileStore:
    """place.collection: the index file. place.id: the file of its ids, None where they are in the index or are the
    numbers of its vectors."""

    def __init__(self, folder: Folder, place: Place) -> None:
        if place.vector or place.text or place.image or place.label or place.payload:
            raise WrongPlace("a FAISS index holds vectors alone: name no column, and as `id` a file of ids, if any")
        if place.id is not None and not place.id.endswith(ENDINGS):
            raise WrongPlace(f"{place.id!r} is no file of ids: their names end in {', '.join(ENDINGS)}")
        self._folder, self._place = folder, place
        self._source = FaissSource(folder, place.id)

    @classmethod
    def open(cls, name: str, options: FilesOptions, place: Place) -> "FaissFileStore":
        return cls(Folder(options.folder, name), place)

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        with self._source.reading(self._old()) as index:
            about = index.file.about
        able = Abilities(
            snapshot="all", switching="atomic" if self._switches() else "statement", conditional_write=False
        )
        # Inner products of unit vectors are cosines; of which vectors they are, an index does not say.
        return StoreDescription(about.rows, about.dimension, "l2" if about.metric == "l2" else None, able)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """In the order of the vectors. Where `after` is not there any more, from the start."""
        with self._source.reading(self._old()) as index:
            first = 0 if after is None else int(index.places([after])[0]) + 1
            for start in range(first, index.file.about.rows, batch_rows):
                stop = min(start + batch_rows, index.file.about.rows)
                ids = index.ids.slice(start, stop - start)
                vectors = index.file.between(start, stop) if {"vector", "mark"} & set(columns) else None
                yield _items(columns, ids, vectors)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        with self._source.reading(self._old()) as index:
            found, places = there(ids, index.places(ids))
            return _items(columns, pa.array(found, pa.string()), index.file.at(places))

    def make_target(self, target: Target) -> None:
        vectors = self._vectors(target)
        if not vectors.there() and self._is_there(self._beside(target, ".faiss")):
            raise WrongPlace(f"{self._beside(target, '.faiss')!r} is there already, and is not what this upgrade makes")
        vectors.make()

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        ids = items.column("id").to_pylist()
        with self._source.reading(self._old()) as index:
            known = index.places(ids) != NOWHERE
        kept = items.filter(pa.array(known))
        self._vectors(target).write(kept.column("id"), kept.column("vector"))
        return [id_ for id_, is_known in zip(ids, known, strict=True) if not is_known]

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        return self._vectors(target).written(batch_rows, vectors)

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        return self._vectors(target).by_id(pa.array(ids, pa.string()))

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        self._vectors(target).erase(pa.array(ids, pa.string()))

    def build_index(self, target: Target) -> None:
        """Nothing where it was built of the same vectors already."""
        vectors, path = self._vectors(target), self._beside(target, ".faiss")
        vectors.settle()
        contents = vectors.contents()
        if self._is_there(path) and self._built_of(target) == contents:
            return
        with self._source.reading(self._old()) as index:
            about = index.file.about
        with self._folder.directory(str(PurePosixPath(path).parent)) as directory, writing_to(path):
            if self._place.id is not None:
                with replaced(directory, PurePosixPath(self._ids_beside(target)).name) as file:
                    write_ids(self._place.id, file, ids_written(vectors))
            with replaced(directory, PurePosixPath(path).name) as file:
                build_file(path, file.fileno(), target, vectors, about, ids_beside=self._place.id is not None)
        gathered = self._folder.directory(self._beside(target, ".parquet"))
        with gathered as directory, writing_to(path), replaced(directory, _BUILT_OF) as file:
            file.write(contents.encode())

    def switch(self, target: Target) -> Switched:
        """The index is built where vectors were written since it was."""
        self.build_index(target)
        path = self._beside(target, ".faiss")
        if not self._switches():
            ids = f", with the ids in {self._ids_beside(target)!r}" if self._place.id is not None else ""
            return Switched(f"read the index {path!r}{ids}, in place of {self._place.collection!r}")
        if self._leads_to(self._link) == path:
            return Switched(None)
        if not self._is_there(self._before):
            self._link_to(self._before, self._old())
        self._link_to(self._link, path)
        return Switched(None)

    def switch_back(self, target: Target) -> Switched:
        if not self._switches():
            return Switched(f"read the index {self._place.collection!r} again, which is as it was")
        if self._leads_to(self._link) == self._beside(target, ".faiss"):
            self._link_to(self._link, self._old())
            self._remove(self._before)
        return Switched(None)

    def drop(self, target: Target) -> None:
        path = self._beside(target, ".faiss")
        if not self._vectors(target).there():
            return
        if self._switches() and self._leads_to(self._link) == path:
            raise CannotSwitch(f"{self._place.collection!r} leads to {path!r}; switch back first")
        self._remove(path)
        if self._place.id is not None:
            self._remove(self._ids_beside(target))
        self._vectors(target).drop()

    def close(self) -> None:
        self._source.close()

    @property
    def _link(self) -> str:
        return self._folder.beside(self._place.collection, PurePosixPath(self._place.collection).name)

    @property
    def _before(self) -> str:
        return self._link + _BEFORE

    def _old(self) -> str:
        """The file of the old vectors, wherever the place leads by now."""
        self._folder.resolved(self._place.collection)
        return self._folder.resolved(self._before if self._is_there(self._before) else self._place.collection)

    def _switches(self) -> bool:
        """Two files, of which one may be of the other vectors for a moment, are not switched by us."""
        return self._place.id is None and self._leads_to(self._link) is not None

    def _vectors(self, target: Target) -> ParquetTarget:
        columns = TargetColumns("id", pa.string() if self._place.id is not None else pa.int64(), "vector")
        return ParquetTarget(self._folder, self._beside(target, ".parquet"), target, columns)

    def _beside(self, target: Target, ending: str) -> str:
        return self._folder.beside(
            self._place.collection, f"{PurePosixPath(self._place.collection).stem}.{target.name}{ending}"
        )

    def _ids_beside(self, target: Target) -> str:
        return self._beside(target, f".ids{PurePosixPath(self._place.id or '').suffix}")

    def _built_of(self, target: Target) -> str | None:
        try:
            with open(self._folder.open(f"{self._beside(target, '.parquet')}/{_BUILT_OF}"), "rb") as file:
                return file.read().decode()
        except WrongPlace:
            return None

    def _is_there(self, path: str) -> bool:
        with self._folder.directory(str(PurePosixPath(path).parent)) as directory:
            return PurePosixPath(path).name in os.listdir(directory)

    def _leads_to(self, path: str) -> str | None:
        """Where a link leads at once, within the folder; None where it is none."""
        place = PurePosixPath(path)
        with self._folder.directory(str(place.parent)) as directory:
            try:
                return os.path.normpath(place.parent / os.readlink(place.name, dir_fd=directory))
            except OSError:
                return None

    def _link_to(self, path: str, leads_to: str) -> None:
        """Makes a link, or has one lead elsewhere, in one step."""
        place, hidden = PurePosixPath(path), f".{secrets.token_hex(8)}.writing"
        with self._folder.directory(str(place.parent)) as directory, writing_to(path):
            os.symlink(os.path.relpath(leads_to, place.parent), hidden, dir_fd=directory)
            os.rename(hidden, place.name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    def _remove(self, path: str) -> None:
        place = PurePosixPath(path)
        with self._folder.directory(str(place.parent)) as directory, writing_to(path), suppress(FileNotFoundError):
            os.unlink(place.name, dir_fd=directory)


def _items(columns: Sequence[Column], ids: pa.StringArray, vectors: FloatRows | None) -> pa.RecordBatch:
    """Without texts and the like, of which an index has none."""
    values: dict[Column, pa.Array | Sequence[object]] = {
        name: [None] * len(ids) for name in ("text", "image", "label", "payload")
    }
    values["id"] = ids
    if vectors is not None:
        values["vector"], values["mark"] = vector_array(vectors), vector_marks(vectors)
    return item_batch(columns, values)
