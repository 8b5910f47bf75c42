"""One Lance dataset of rows keyed by `id`: the store under galleries and datasets.

A table's version is its clock: every committed write moves it, `changes(since)` lists what happened after a version,
and a tag keeps a version readable. Rows keep their 64-bit row id through updates and compaction (stable row ids), so
the row id serves as the key of everything derived from a row.
"""

import random
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from app.failpoints import Failpoint, reached
from app.problems import Unavailable
from app.storage.checksums import check_table, drop_stale_seals, seal_table, table_files
from app.storage.disk import disk_problem
from app.storage.newest_version import NewestVersion

log = structlog.get_logger(__name__)

# Lance rejects merges that would both insert the same key only where the schema names the key.
_ID = pa.field("id", pa.string(), nullable=False, metadata={b"lance-schema:unenforced-primary-key": b"true"})
_EMBEDDING_PREFIX = "embedding@"
_FRAGMENTS_BEFORE_COMPACTION = 64
_IDS_AT_ONCE = 2**18
_ATTEMPTS = 8
_TAG_EXISTS, _TAG_GONE = "already exists", "not found"
_ATTEMPTS_OVER = 40
_LONGEST_PAUSE_SECONDS = 0.5
_TOO_MANY_WRITERS = "Too many others write the same rows at this moment. Send the request again."
_LOOKED_UP_AT_ONCE = 4096  # rows; more are found by reading all
_CONFLICTS = ("Too many concurrent writers", "commit conflict")
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
class Written:
    """What an upsert did, and the version that holds it."""

    inserted: int
    updated: int
    version: int


@dataclass(frozen=True)
class Changes:
    """What happened between two versions: rows gone, and the rows written as they are now."""

    version: int
    removed: np.ndarray
    written: list[pa.RecordBatch]

    def __bool__(self) -> bool:
        return bool(len(self.removed) or self.written)


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
        found = self._dataset.to_table(filter=_with_ids(ids.to_pylist()), columns=["id", *columns])
        return found.take(pc.index_in(ids, value_set=found.column("id").combine_chunks()))

    def known(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Which of many ids, (n,) strings without a null, some row has: (n,) bool, in one pass over the rows."""
        known = np.zeros(len(ids), bool)
        for batch in self._dataset.scanner(columns=["id"], batch_size=_IDS_AT_ONCE).to_batches():
            places = pc.index_in(batch.column("id"), value_set=ids).drop_null()
            known[places.to_numpy()] = True
        return known


def is_conflict(error: BaseException) -> bool:
    """Whether another writer came first, which Lance says in the words of exceptions of several classes."""
    return any(words in str(error) for words in _CONFLICTS)


class VersionGone(LookupError):
    """The version to compare with was cleaned up: whoever derived something from it must begin anew."""


class Table:
    """Rows keyed by `id`, on local disk or wherever Lance can write."""

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        self._newest = NewestVersion(lance.dataset(self.uri), Path(uri))

    @classmethod
    def create(cls, uri: str | Path, columns: Sequence[pa.Field]) -> "Table":
        """An empty table; one that is there already is opened, so that creating twice is harmless."""
        schema = pa.schema([_ID, *columns])
        if not cls.exists(uri):
            try:
                lance.write_dataset(schema.empty_table(), str(uri), mode="create", enable_stable_row_ids=True)
            except OSError:
                if not cls.exists(uri):  # nobody else created it meanwhile
                    shutil.rmtree(uri, ignore_errors=True)
                    with suppress(OSError):
                        Path(uri).parent.rmdir()  # the folder made for it, if nothing else is in there
                raise
            reached(Failpoint.TABLE_CREATED)
        table = cls(uri)
        table._seal(table._latest())
        return table

    @staticmethod
    def exists(uri: str | Path) -> bool:
        """Whether a version of it was committed; the folders alone are what a full disk leaves."""
        return any((Path(uri) / "_versions").glob("*.manifest"))

    @property
    def version(self) -> int:
        """The newest committed version, whoever committed it."""
        return self._newest.get()

    @property
    def schema(self) -> pa.Schema:
        return self._latest().schema

    def columns(self, version: int | None = None) -> list[str]:
        """The names of the columns that a version has, or the newest one."""
        return list(self._at(version).schema.names)

    def has(self, column: str) -> bool:
        return column in self.schema.names

    def has_value(self, column: str) -> bool:
        """Whether there is such a column, and a row with a value in it. Reads no further than to the first one."""
        dataset = self._latest()
        if column not in dataset.schema.names:
            return False
        return bool(dataset.to_table(columns=["id"], filter=f"`{column}` IS NOT NULL", limit=1).num_rows)

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
                over = self._files(dataset)
                dataset.add_columns(field)
                reached(Failpoint.COLUMN_ADDED)
                self._seal(dataset, over)
            except (OSError, ValueError) as error:
                conflict = is_conflict(error) and attempt < _ATTEMPTS - 1
                if not (conflict or self.has(field.name)):
                    raise

    def upsert(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
        """Inserts or updates by `id`, in one commit. Columns left out keep their values in rows that are there."""
        dataset = self._latest()
        over = self._files(dataset)
        reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
        merge = dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        done = merge.execute(reader)
        reached(Failpoint.ROWS_UPSERTED)
        self._maintain(over)
        return Written(done["num_inserted_rows"], done["num_updated_rows"], int(dataset.version))

    def upsert_over(self, rows: Callable[[StoredRows], pa.RecordBatchReader]) -> Written:
        """Upserts rows that depend on those they are written over, in one commit.

        `rows` makes the new rows from the stored ones. Where another writer changes one of these in between, it is
        called again with what is stored then, so that nobody's write is lost: whatever the new rows depend on is to be
        looked up in there. What it raises before it returns is raised. Raises Unavailable where that never ends.
        """
        return self._merge_over(rows, insert=True)

    def update_over(self, rows: Callable[[StoredRows], pa.RecordBatchReader]) -> Written:
        """As `upsert_over`, but that rows of ids that are not there are passed over."""
        return self._merge_over(rows, insert=False)

    def _merge_over(self, rows: Callable[[StoredRows], pa.RecordBatchReader], *, insert: bool) -> Written:
        for attempt in range(_ATTEMPTS_OVER):
            dataset = self._latest()
            over = self._files(dataset)
            reader = rows(StoredRows(dataset))
            merge = dataset.merge_insert("id").when_matched_update_all()
            if insert:
                merge = merge.when_not_matched_insert_all()
            try:
                done = merge.conflict_retries(0).execute(reader)
            except OSError as error:
                if not is_conflict(error):
                    raise
                _pause(attempt)
                continue
            reached(Failpoint.ROWS_UPSERTED if insert else Failpoint.ROWS_UPDATED)
            self._maintain(over)
            return Written(done["num_inserted_rows"], done["num_updated_rows"], int(dataset.version))
        raise Unavailable(_TOO_MANY_WRITERS)

    def update(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Updates the given columns of rows that are there, by `id`, in one commit; how many there were."""
        reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
        dataset = self._latest()
        over = self._files(dataset)
        done = dataset.merge_insert("id").when_matched_update_all().execute(reader)
        reached(Failpoint.ROWS_UPDATED)
        self._maintain(over)
        return int(done["num_updated_rows"])

    def known(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Which of many ids, (n,) strings without a null, some row has: (n,) bool, in one pass over the rows."""
        return StoredRows(self._latest()).known(ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Removes rows by id, in one commit; how many there were."""
        keys = pa.table({"id": pa.array(sorted(set(ids)), pa.string())})
        dataset = self._latest()
        over = self._files(dataset)
        done = dataset.merge_insert("id").when_matched_delete().execute(keys)
        reached(Failpoint.ROWS_DELETED)
        self._seal(dataset, over)
        return int(done["num_deleted_rows"])

    def delete_rows(self, matching: Callable[[int], np.ndarray]) -> int:
        """Removes the rows whose row ids, (m,) int64, `matching` gives of a version, in one commit; how many.

        Where another writer changes one of these in between, it is asked again of the version that there is then. What
        it raises is raised. Raises Unavailable where that never ends.
        """
        for attempt in range(_ATTEMPTS_OVER):
            dataset = self._latest()
            over = self._files(dataset)
            version = int(dataset.version)
            keys = self._ids_of(matching(version), version)
            if not keys.num_rows:
                return 0
            try:
                done = dataset.merge_insert("id").when_matched_delete().conflict_retries(0).execute(keys)
            except OSError as error:
                if not is_conflict(error):
                    raise
                _pause(attempt)
                continue
            reached(Failpoint.ROWS_DELETED)
            self._seal(dataset, over)
            return int(done["num_deleted_rows"])
        raise Unavailable(_TOO_MANY_WRITERS)

    def _ids_of(self, rows: np.ndarray, version: int) -> pa.Table:
        """The ids of the rows with these row ids (m,), in no order: a table of the column `id`."""
        if len(rows) <= _LOOKED_UP_AT_ONCE:
            return self.by_row(rows, ["id"], version=version).select(["id"])
        kept = []
        for batch in self.scan(["id"], version=version, batch_rows=_IDS_AT_ONCE):
            read = batch.column(ROW_ID).to_numpy().astype(np.int64)
            kept.append(batch.select(["id"]).filter(pa.array(np.isin(read, rows))))
        return pa.Table.from_batches(kept)

    def check(self, version: int | None = None) -> int:
        """Compares the files of a version, or of the newest, with their checksums; how many have one. Raises
        DamagedFile."""
        return check_table(Path(self.uri), version)

    def count(self, where: str | None = None, *, version: int | None = None) -> int:
        return int(self._at(version).count_rows(where))

    def by_id(
        self, ids: Sequence[str], columns: Sequence[str] | None = None, *, version: int | None = None
    ) -> pa.Table:
        """Rows by id, in no order, with their row ids."""
        return self.where(_with_ids(ids), columns, version=version)

    def by_row(self, rows: np.ndarray, columns: Sequence[str], *, version: int | None = None) -> pa.Table:
        """Rows by row id, in no order, with their row ids; rows deleted by then are left out."""
        listed = ", ".join(map(str, rows.tolist()))
        return self.where(f"{ROW_ID} IN ({listed})" if listed else "false", columns, version=version)

    def where(self, condition: str, columns: Sequence[str] | None = None, *, version: int | None = None) -> pa.Table:
        """Rows that meet a condition, as of a version or as they are now, with their row ids."""
        return self._at(version).to_table(filter=condition, columns=_listed(columns), with_row_id=True)

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

    def fragments(self, version: int) -> list[lance.LanceFragment]:
        """The pieces of a version, each scanned on its own: the unit of work shared among workers."""
        return list(self._at(version).get_fragments())

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

    def tag(self, name: str, version: int) -> None:
        """Keeps a version readable until `untag`; tagging again moves the tag."""
        tags = self._latest().tags
        # Never listed first: Lance reads each tag that it lists, and another process may remove one meanwhile.
        try:
            tags.create(name, version)
        except ValueError as error:
            if not _says(error, _TAG_EXISTS):
                raise
            tags.update(name, version)
        reached(Failpoint.VERSION_TAGGED)

    def tags(self) -> list[str]:
        """The names of all tags."""
        for _ in range(_ATTEMPTS):
            try:
                return list(self._latest().tags.list())
            except ValueError as error:  # one was removed while they were read
                if not _says(error, _TAG_GONE):
                    raise
        return list(self._latest().tags.list())

    def untag(self, name: str) -> None:
        """Removes a tag, if there is one. A table that is gone has none."""
        try:
            self._latest().tags.delete(name)
        except ValueError as error:
            if not _says(error, _TAG_GONE):
                raise
            return
        reached(Failpoint.VERSION_UNTAGGED)

    def _maintain(self, over: Collection[Path]) -> None:
        """Seals what was written over a version of these files, and merges small fragments once there are many: every
        write adds one, and every read opens them all.

        Where another writer comes in between, that write is kept and the merging is left to the next one; so it is
        where the disk is full, since what was written before is kept.
        """
        dataset = self._latest()
        self._seal(dataset, over)
        if len(dataset.get_fragments()) < _FRAGMENTS_BEFORE_COMPACTION:
            return
        try:
            dataset.optimize.compact_files()
            reached(Failpoint.FRAGMENTS_MERGED)
            dataset.cleanup_old_versions(older_than=_KEEP_VERSIONS, error_if_tagged_old_versions=False)
            reached(Failpoint.VERSIONS_CLEANED)
            self._seal(dataset, over)
            drop_stale_seals(Path(self.uri))
        except OSError as error:
            if not is_conflict(error) and disk_problem(error, Path(self.uri)) is None:
                raise
            log.info("fragments not merged; a later write tries again", table=self.uri, why=str(error))

    def _files(self, dataset: lance.LanceDataset) -> set[Path]:
        return table_files(Path(self.uri), dataset)

    def _seal(self, dataset: lance.LanceDataset, over: Collection[Path] = ()) -> None:
        seal_table(Path(self.uri), dataset, over)

    def _latest(self) -> lance.LanceDataset:
        """A handle of this call's own at the newest version: handles move, and threads share this object."""
        return lance.dataset(self.uri)

    def _at(self, version: int | None) -> lance.LanceDataset:
        return lance.dataset(self.uri, version=version)


def _pause(attempt: int) -> None:
    """Waits before the next attempt, so that those who were in each other's way are not again."""
    time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS * (attempt + 1) / _ATTEMPTS_OVER))


def _says(error: Exception, what: str) -> bool:
    """Whether an error of Lance, which has one class for many, says this."""
    return what in str(error).lower()


def _with_ids(ids: Sequence[str]) -> str:
    """The condition of rows with one of these ids."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in ids)
    return f"id IN ({quoted})" if ids else "false"


def _ascending(rows: pa.Table) -> np.ndarray:
    """The row ids of a table that has them, in their order: (n,) int64."""
    return np.sort(rows.column(ROW_ID).to_numpy().astype(np.int64))


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
