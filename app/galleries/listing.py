"""The items of a gallery one after the other: a page at a time, or all of one version as an Arrow stream."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from app.filters import Filter, FilteredRows
from app.galleries.info import GalleryInfo
from app.galleries.item_columns import ItemColumns
from app.galleries.schemas import ItemField
from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.problems import BadRequest
from app.storage.lance_table import ROW_ID, Table

EXPORT_TAG = "export-"
"""How the tags begin that keep the version of an export readable while it goes on."""

_LARGEST_ROW_ID = 2**62
_ROW_ID_DIGITS = 19
_BATCH_BYTES = 2**20
_BATCH_ROWS = 4096
_PLANNED_BYTES, _PLANNED_PAYLOAD_BYTES = 256, 4096  # of an item without its vectors; a payload may take 16 times more
_AHEAD_BYTES = 2**24
_FEW_SHARE = 8  # rows that are less than one in so many are read one by one, and not among all others


@dataclass(frozen=True)
class ListedRow:
    """One item of a listing. row: its row id, by which a cursor finds the place again; shown: its JSON object."""

    row: int
    shown: dict[str, Any]


class ItemListing:
    """Lists and exports the items of galleries."""

    def __init__(self, galleries: Galleries, filtered: FilteredRows) -> None:
        self._galleries = galleries
        self._filtered = filtered

    def rows_after(
        self,
        gallery: str,
        fields: Sequence[ItemField],
        model: str | None,
        only: Filter | None,
        cursor: str | None,
        limit: int,
    ) -> list[ListedRow]:
        """Up to `limit` items in order of their row ids, after the one named by the cursor; of those that a filter lets
        through, where one is given.

        An item that is there throughout, and let through throughout, is listed exactly once, whatever is written
        between two pages; each page is of one version. model: whose vectors are shown. Raises NotFound for the gallery,
        Unprocessable for the model, and BadRequest for a cursor that holds no row id.
        """
        after = -1 if cursor is None else _row_of(cursor)
        info = self._galleries.info(gallery)
        store = self._galleries.store(info)
        columns = ItemColumns.of(info, store, fields, model)
        version = store.items.version
        matching = self._matching(info, store, only, version)
        if matching is None:
            rows = store.items.rows_after(after, limit, version=version)
        else:
            rows = np.sort(matching[matching > after])[:limit]
        found = store.items.by_row(rows, columns.read(store.items.columns(version)), version=version)
        found = found.take(np.argsort(found.column(ROW_ID).to_numpy())).combine_chunks()
        ids = found.column(ROW_ID).to_pylist()
        return [
            ListedRow(row, _as_json(shown))
            for batch in found.to_batches(max_chunksize=max(1, found.num_rows))
            for row, shown in zip(ids, columns.shown(batch).to_pylist(), strict=True)
        ]

    def export(
        self, gallery: str, fields: Sequence[ItemField], model: str | None, only: Filter | None = None
    ) -> Generator[bytes]:
        """All items as of one version, or those that a filter lets through, as an Arrow stream in parts of about a
        megabyte, in no order.

        The version stays readable until the last part was taken, or the iterator is closed. Raises as `rows_after`,
        with the first part.
        """
        info = self._galleries.info(gallery)
        store = self._galleries.store(info)
        items = store.items
        with items.pinned(f"{EXPORT_TAG}{secrets.token_hex(8)}") as version:
            columns = ItemColumns.of(info, store, fields, model)
            matching = self._matching(info, store, only, version)
            read = columns.read(items.columns(version))
            told = {"gallery": gallery, "version": str(version)} | ({} if only is None else {"filter": only.text})
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, columns.schema.with_metadata(told)) as stream:
                yield _taken(sink)
                for batch in _read(items, read, matching, version, _batch_rows(columns)):
                    stream.write_batch(columns.shown(batch))
                    yield _taken(sink)
            yield _taken(sink)

    def _matching(self, info: GalleryInfo, store: GalleryStore, only: Filter | None, version: int) -> np.ndarray | None:
        """The row ids (m,) int64 that a filter lets through as of a version, in no order; None for all."""
        return None if only is None else self._filtered.rows(info.folder, lambda: store.items, only, version)


def _read(
    items: Table, columns: list[str], matching: np.ndarray | None, version: int, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a version, or those of them that are `matching` (m,), in batches of up to `batch_rows`."""
    rows = np.empty(0, np.int64) if matching is None else np.sort(matching)
    if matching is not None and _FEW_SHARE * len(rows) < items.count(version=version):
        for start in range(0, len(rows), batch_rows):
            found = items.by_row(rows[start : start + batch_rows], columns, version=version)
            yield from found.combine_chunks().to_batches()
        return
    for batch in items.scan(columns, version=version, batch_rows=batch_rows, ahead_bytes=_AHEAD_BYTES):
        if matching is None:
            yield batch
        elif len(rows):
            read = batch.column(ROW_ID).to_numpy().astype(np.int64)
            kept = rows[np.searchsorted(rows, read).clip(max=len(rows) - 1)] == read
            yield batch.filter(pa.array(kept))


def _row_of(cursor: str) -> int:
    """The row id in a cursor. Raises BadRequest for anything else."""
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= _ROW_ID_DIGITS and int(cursor) <= _LARGEST_ROW_ID:
        return int(cursor)
    raise BadRequest("This cursor was not handed out by a list of items. Begin at the first page.", parameter="cursor")


def _as_json(shown: dict[str, Any]) -> dict[str, Any]:
    if shown.get("payload") is not None:
        shown["payload"] = json.loads(shown["payload"])
    return shown


def _batch_rows(columns: ItemColumns) -> int:
    """How many items make a part of about `_BATCH_BYTES`."""
    vectors: int = sum(field.type.list_size for field in columns.fields if pa.types.is_fixed_size_list(field.type))
    payload = _PLANNED_PAYLOAD_BYTES if "payload" in columns.stored else 0
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // (_PLANNED_BYTES + payload + 4 * vectors)))


def _taken(sink: io.BytesIO) -> bytes:
    """What was written to a sink, which is empty then."""
    written = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return written
