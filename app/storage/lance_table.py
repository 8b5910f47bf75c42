"""One Lance dataset of rows keyed by `id`: the store under galleries and datasets.

A table's version is its clock: every committed write moves it, `changes(since)` lists what happened after a version,
and a tag keeps a version readable. Rows keep their 64-bit row id through updates and compaction (stable row ids), so
the row id serves as the key of everything derived from a row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import lance
import numpy as np
import pyarrow as pa

from app.failpoints import Failpoint, reached
from app.storage.location import Location
from app.storage.merges import Merged, Written, delete_over, merge, merge_over
from app.storage.newest_version import NewestVersion
from app.storage.stored_rows import StoredRows, with_ids
from app.storage.table_files import TableFiles, TableGone, is_conflict, of_a_table
from app.storage.table_tags import remove_tag, set_tag, tag_names

__all__ = [
    "ROW_ID",
    "Changes",
    "StoredRows",
    "Table",
    "TableGone",
    "VersionGone",
    "Written",
    "embedding_column",
    "embedding_model",
    "is_conflict",
    "vector_type",
    "vectors_of",
]

# Lance rejects merges that would both insert the same key only where the schema names the key.
_ID = pa.field("id", pa.string(), nullable=False, metadata={b"lance-schema:unenforced-primary-key": b"true"})
_EMBEDDING_PREFIX = "embedding@"
_FRAGMENTS_BEFORE_COMPACTION = 64
_IDS_AT_ONCE = 2**18
_ATTEMPTS = 8
_LOOKED_UP_AT_ONCE = 4096  # rows; more are found by reading all
_KEEP_VERSIONS = timedelta(hours=1)
_ROWS_AHEAD = 2  # times as many row ids are looked up as rows are wanted: some are gone
_SLOWLY = {"batch_readahead": 2, "fragment_readahead": 1}
ROW_ID = "_rowid"


def embedding_column(model: str) -> str:
    """The column that holds a model's vectors. Lance takes no dot in a name; a colon is in no model id."""
    return _EMBEDDING_PREFIX + model.replace(".", ":")


def embedding_model(column: str) -> str | None:
    """The model whose vectors a column holds, or None where it is no embedding column."""
    return column.removeprefix(_EMBEDDING_PREFIX).replace(":", ".") if column.startswith(_EMBEDDING_PREFIX) else None


def vector_type(dimension: int) -> pa.DataType:
    return pa.list_(pa.float32(), dimension)


def vectors_of(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The non-null vectors of a fixed-size-list column: `(indices (m,) int64, vectors (m, d) float32)`."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    indices = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return indices, np.asarray(flat, np.float32).reshape(len(indices), array.type.list_size)


@dataclass(frozen=True)
class Changes:
    """What happened between two versions: rows gone, and the rows written as they are now."""

    version: int
    removed: np.ndarray
    written: list[pa.RecordBatch]

    def __bool__(self) -> bool:
        return bool(len(self.removed) or self.written)


class VersionGone(LookupError):
    """The version to compare with was cleaned up: whoever derived something from it must begin anew."""


class Table:
    """Rows keyed by `id`, on local disk or wherever Lance can write.

    Every method raises TableGone where the table is not there, or goes meanwhile.
    """

    def __init__(self, location: Location | str) -> None:
        self._files = TableFiles(location)
        self.uri = self._files.uri
        self._newest = self._opened()

    @of_a_table
    def _opened(self) -> NewestVersion:
        return NewestVersion(self._latest(), self._files.folder)

    @classmethod
    def create(cls, location: Location | str, columns: Sequence[pa.Field]) -> "Table":
        """An empty table; one that is there already is opened, so that creating twice is harmless."""
        files, schema = TableFiles(location), pa.schema([_ID, *columns])
        if not files.exist():
            try:
                lance.write_dataset(schema.empty_table(), files.uri, mode="create", enable_stable_row_ids=True)
            except OSError:
                files.remove_unless_created()
                raise
            reached(Failpoint.TABLE_CREATED)
        table = cls(location)
        files.seal(files.latest())
        return table

    @staticmethod
    def exists(location: Location | str) -> bool:
        """Whether a version of it was committed; the folders alone are what a full disk leaves."""
        return TableFiles(location).exist()

    @property
    @of_a_table
    def version(self) -> int:
        """The newest committed version, whoever committed it."""
        return self._newest.get()

    @property
    @of_a_table
    def schema(self) -> pa.Schema:
        return self._latest().schema

    @of_a_table
    def columns(self, version: int | None = None) -> list[str]:
        """The names of the columns that a version has, or the newest one."""
        return list(self._at(version).schema.names)

    @of_a_table
    def has(self, column: str) -> bool:
        return column in self.schema.names

    @of_a_table
    def has_value(self, column: str) -> bool:
        """Whether there is such a column, and a row with a value in it. Reads no further than to the first one."""
        dataset = self._latest()
        if column not in dataset.schema.names:
            return False
        return bool(dataset.to_table(columns=["id"], filter=f"`{column}` IS NOT NULL", limit=1).num_rows)

    @of_a_table
    def ensure_column(self, field: pa.Field) -> None:
        """Adds a column of nulls; where another writer came first, theirs is as good.

        One that is there, of another type and without a value, is of a model that is no more: it is made anew.
        """
        for attempt in range(_ATTEMPTS):
            latest = self._latest()
            known = field.name in latest.schema.names
            if known and (latest.schema.field(field.name).type == field.type or self.has_value(field.name)):
                return
            try:
                if known:
                    latest.drop_columns([field.name])
                dataset = self._latest()
                over = self._files.of(dataset)
                dataset.add_columns(field)
                reached(Failpoint.COLUMN_ADDED)
                self._files.seal(dataset, over)
            except (OSError, ValueError) as error:
                conflict = is_conflict(error) and attempt < _ATTEMPTS - 1
                if not (conflict or self.has(field.name)):
                    raise

    @of_a_table
    def upsert(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
        """Inserts or updates by `id`, in one commit. Columns left out keep their values in rows that are there."""
        return self._settled(merge(self._files, schema, batches, insert=True))

    @of_a_table
    def upsert_over(self, rows: Callable[[StoredRows], pa.RecordBatchReader]) -> Written:
        """Upserts rows that depend on those they are written over, in one commit.

        `rows` makes the new rows from the stored ones. Where another writer changes one of these in between, it is
        called again with what is stored then, so that nobody's write is lost: whatever the new rows depend on is to be
        looked up in there. What it raises before it returns is raised. Raises Unavailable where that never ends.
        """
        return self._settled(merge_over(self._files, rows, insert=True))

    @of_a_table
    def update_over(self, rows: Callable[[StoredRows], pa.RecordBatchReader]) -> Written:
        """As `upsert_over`, but that rows of ids that are not there are passed over."""
        return self._settled(merge_over(self._files, rows, insert=False))

    @of_a_table
    def update(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Updates the given columns of rows that are there, by `id`, in one commit; how many there were."""
        return self._settled(merge(self._files, schema, batches, insert=False)).updated

    @of_a_table
    def known(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Which of many ids, (n,) strings without a null, some row has: (n,) bool, in one pass over the rows."""
        return StoredRows(self._latest()).known(ids)

    @of_a_table
    def delete(self, ids: Sequence[str]) -> int:
        """Removes rows by id, in one commit; how many there were."""
        keys = pa.table({"id": pa.array(sorted(set(ids)), pa.string())})
        dataset = self._latest()
        over = self._files.of(dataset)
        done = dataset.merge_insert("id").when_matched_delete().execute(keys)
        reached(Failpoint.ROWS_DELETED)
        self._files.seal(dataset, over)
        return int(done["num_deleted_rows"])

    @of_a_table
    def delete_rows(self, matching: Callable[[int], np.ndarray]) -> int:
        """Removes the rows whose row ids, (m,) int64, `matching` gives of a version, in one commit; how many.

        Where another writer changes one of these in between, it is asked again of the version that there is then. What
        it raises is raised. Raises Unavailable where that never ends.
        """

        def gone(dataset: lance.LanceDataset) -> pa.Table:
            version = int(dataset.version)
            return self._ids_of(matching(version), version)

        merged = delete_over(self._files, gone)
        self._files.seal(merged.dataset, merged.over)
        return int(merged.done["num_deleted_rows"])

    def _ids_of(self, rows: np.ndarray, version: int) -> pa.Table:
        """The ids of the rows with these row ids (m,), in no order: a table of the column `id`."""
        if len(rows) <= _LOOKED_UP_AT_ONCE:
            return self.by_row(rows, ["id"], version=version).select(["id"])
        kept = []
        for batch in self.scan(["id"], version=version, batch_rows=_IDS_AT_ONCE):
            read = batch.column(ROW_ID).to_numpy().astype(np.int64)
            kept.append(batch.select(["id"]).filter(pa.array(np.isin(read, rows))))
        return pa.Table.from_batches(kept)

    @of_a_table
    def check(self, version: int | None = None) -> int:
        """Compares the files of a version, or of the newest, with their checksums; how many have one. Raises
        DamagedFile."""
        return self._files.check(version)

    @of_a_table
    def count(self, where: str | None = None, *, version: int | None = None) -> int:
        return int(self._at(version).count_rows(where))

    def by_id(
        self, ids: Sequence[str], columns: Sequence[str] | None = None, *, version: int | None = None
    ) -> pa.Table:
        """Rows by id, in no order, with their row ids."""
        return self.where(with_ids(ids), columns, version=version)

    def by_row(self, rows: np.ndarray, columns: Sequence[str], *, version: int | None = None) -> pa.Table:
        """Rows by row id, in no order, with their row ids; rows deleted by then are left out."""
        listed = ", ".join(map(str, rows.tolist()))
        return self.where(f"{ROW_ID} IN ({listed})" if listed else "false", columns, version=version)

    @of_a_table
    def where(self, condition: str, columns: Sequence[str] | None = None, *, version: int | None = None) -> pa.Table:
        """Rows that meet a condition, as of a version or as they are now, with their row ids."""
        return self._at(version).to_table(filter=condition, columns=_listed(columns), with_row_id=True)

    @of_a_table
    def scan(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        version: int | None = None,
        batch_rows: int = 8192,
        ahead_bytes: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Streams rows with their row ids. ahead_bytes: about how much is read before it is asked for; left out, as
        much as Lance thinks fit for whoever is as fast as the disk."""
        patience = {} if ahead_bytes is None else _SLOWLY | {"io_buffer_size": ahead_bytes}
        scanner = self._at(version).scanner(
            columns=_listed(columns), filter=where, with_row_id=True, batch_size=batch_rows, **patience
        )
        yield from scanner.to_batches()

    @of_a_table
    def rows_after(self, after: int, limit: int, *, version: int) -> np.ndarray:
        """The row ids of up to `limit` rows after row `after` (-1: from the first on), ascending: (m,) int64.

        A row that stays keeps its row id, so whoever goes on after the last one that was listed meets every such row
        exactly once, whatever is written meanwhile. Row ids that come next are looked up; only where most of those are
        gone, or there are no more, is the list of all that are there read, a few bytes a row.
        """
        dataset = self._at(version)
        near = ", ".join(str(row) for row in range(after + 1, after + 1 + _ROWS_AHEAD * limit))
        found = _ascending(dataset.to_table(columns=[], filter=f"{ROW_ID} IN ({near})", with_row_id=True))
        if len(found) < limit:
            found = _ascending(dataset.to_table(columns=[], filter=f"{ROW_ID} >= {after + 1}", with_row_id=True))
        return found[:limit]

    @contextmanager
    def pinned(self, name: str) -> Iterator[int]:
        """Keeps the newest version, which is yielded, readable for as long as the context is open, under a tag of this
        name."""
        version = self.version
        self.tag(name, version)
        try:
            yield version
        finally:
            self.untag(name)

    @of_a_table
    def fragments(self, version: int) -> list[lance.LanceFragment]:
        """The pieces of a version, each scanned on its own: the unit of work shared among workers."""
        return list(self._at(version).get_fragments())

    @of_a_table
    def changes(self, since: int, columns: Sequence[str] | None = None, *, upto: int | None = None) -> Changes:
        """What was inserted, updated and deleted after version `since`, up to another version, or to now.

        Raises VersionGone where `since` is older than what is kept and was not tagged.
        """
        dataset = self._at(upto)
        now = int(dataset.version)
        if now <= since:
            return Changes(now, np.empty(0, np.int64), [])
        try:
            delta = dataset.delta(compared_against=since)
            removed = delta.get_deleted_row_ids().read_all().column(ROW_ID).to_numpy().astype(np.int64)
            written = [batch for reader in (delta.get_inserted_rows(), delta.get_updated_rows()) for batch in reader]
        except (OSError, RuntimeError, ValueError) as error:
            if since in {int(known["version"]) for known in dataset.versions()}:
                raise
            raise VersionGone(f"version {since} of {self.uri} is no longer kept") from error
        if columns is not None:
            kept = [ROW_ID, *(name for name in columns if name in dataset.schema.names)]
            written = [batch.select(kept) for batch in written]
        return Changes(now, removed, [batch for batch in written if batch.num_rows])

    @of_a_table
    def tag(self, name: str, version: int) -> None:
        """Keeps a version readable until `untag`; tagging again moves the tag."""
        set_tag(self._latest, name, version)

    @of_a_table
    def tags(self) -> list[str]:
        """The names of all tags."""
        return tag_names(self._latest)

    @of_a_table
    def untag(self, name: str) -> None:
        """Removes a tag, if there is one. A table that is gone has none."""
        remove_tag(self._latest, name)

    def _settled(self, merged: Merged) -> Written:
        """What a merge wrote, after which the table has its checksums, and few fragments."""
        self._files.compact(_FRAGMENTS_BEFORE_COMPACTION, _KEEP_VERSIONS, merged.over)
        return merged.written

    def _latest(self) -> lance.LanceDataset:
        return self._files.latest()

    def _at(self, version: int | None) -> lance.LanceDataset:
        return self._files.at(version)


def _ascending(rows: pa.Table) -> np.ndarray:
    """The row ids of a table that has them, in their order: (n,) int64."""
    return np.sort(rows.column(ROW_ID).to_numpy().astype(np.int64))


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
