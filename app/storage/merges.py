"""Rows written into a Lance table by their `id`, whoever else writes the same rows at the moment."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import lance
import pyarrow as pa

from app.failpoints import Failpoint, reached
from app.problems import Unavailable
from app.storage.stored_rows import StoredRows
from app.storage.table_files import Kept, TableFiles, is_conflict

_ATTEMPTS = 40
_LONGEST_PAUSE_SECONDS = 0.5
_TOO_MANY_WRITERS = "Too many others write the same rows at this moment. Send the request again."


@dataclass(frozen=True)
class Written:
    """What an upsert did, and the version that holds it."""

    inserted: int
    updated: int
    version: int


@dataclass(frozen=True)
class Merged:
    """A merge that was committed: what Lance says of it, the table as of then, and the files that were there before."""

    done: dict[str, Any]
    dataset: lance.LanceDataset
    over: Kept

    @property
    def written(self) -> Written:
        """Of an upsert."""
        return Written(self.done["num_inserted_rows"], self.done["num_updated_rows"], int(self.dataset.version))


def merge(files: TableFiles, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, insert: bool) -> Merged:
    """Updates rows by `id`, and inserts the others where that is asked for, in one commit."""
    dataset = files.latest()
    over = files.of(dataset)
    reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
    done = _by_id(dataset, insert=insert).execute(reader)
    reached(_point(insert=insert))
    return Merged(done, dataset, over)


def merge_over(files: TableFiles, rows: Callable[[StoredRows], pa.RecordBatchReader], *, insert: bool) -> Merged:
    """As `merge`, of rows that `rows` makes from those that they are written over.

    Where another writer changes one of these in between, it is called again with what is stored then, so that nobody's
    write is lost: whatever the new rows depend on is to be looked up in there. What it raises before it returns is
    raised. Raises Unavailable where that never ends.
    """

    def attempt(dataset: lance.LanceDataset) -> dict[str, Any]:
        done: dict[str, Any] = _by_id(dataset, insert=insert).conflict_retries(0).execute(rows(StoredRows(dataset)))
        reached(_point(insert=insert))
        return done

    return _unless_in_the_way(files, attempt)


def delete_over(files: TableFiles, gone: Callable[[lance.LanceDataset], pa.Table]) -> Merged:
    """Removes the rows of the ids, a table of the column `id`, that `gone` makes of the newest version; as
    `merge_over`."""

    def attempt(dataset: lance.LanceDataset) -> dict[str, Any]:
        keys = gone(dataset)
        if not keys.num_rows:
            return {"num_deleted_rows": 0}
        done: dict[str, Any] = dataset.merge_insert("id").when_matched_delete().conflict_retries(0).execute(keys)
        reached(Failpoint.ROWS_DELETED)
        return done

    return _unless_in_the_way(files, attempt)


def _unless_in_the_way(files: TableFiles, attempt: Callable[[lance.LanceDataset], dict[str, Any]]) -> Merged:
    """What an attempt on the newest version commits, tried again for as long as others come first."""
    for number in range(_ATTEMPTS):
        dataset = files.latest()
        over = files.of(dataset)
        try:
            return Merged(attempt(dataset), dataset, over)
        except OSError as error:
            if not is_conflict(error):
                raise
            _pause(number)
    raise Unavailable(_TOO_MANY_WRITERS)


def _by_id(dataset: lance.LanceDataset, *, insert: bool) -> Any:
    merge = dataset.merge_insert("id").when_matched_update_all()
    return merge.when_not_matched_insert_all() if insert else merge


def _point(*, insert: bool) -> Failpoint:
    return Failpoint.ROWS_UPSERTED if insert else Failpoint.ROWS_UPDATED


def _pause(attempt: int) -> None:
    """Waits before the next attempt, so that those who were in each other's way are not again."""
    time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS * (attempt + 1) / _ATTEMPTS))
