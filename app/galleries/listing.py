"""The items of a gallery one after the other: a page at a time, or all of one version as an Arrow stream."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from app.galleries.item_columns import ItemColumns
from app.galleries.schemas import ItemField
from app.galleries.service import Galleries
from app.problems import BadRequest
from app.storage.lance_table import ROW_ID

EXPORT_TAG = "export-"
"""How the tags begin that keep the version of an export readable while it goes on."""

_LARGEST_ROW_ID = 2**62
_ROW_ID_DIGITS = 19
_BATCH_BYTES = 2**20
_BATCH_ROWS = 4096
_PLANNED_BYTES, _PLANNED_PAYLOAD_BYTES = 256, 4096  # of an item without its vectors; a payload may take 16 times more
_AHEAD_BYTES = 2**24


@dataclass(frozen=True)
class ListedRow:
    """One item of a listing. row: its row id, by which a cursor finds the place again; shown: its JSON object."""

    row: int
    shown: dict[str, Any]


class ItemListing:
    """Lists and exports the items of galleries."""

    def __init__(self, galleries: Galleries) -> None:
        self._galleries = galleries

    def rows_after(
        self, gallery: str, fields: Sequence[ItemField], model: str | None, cursor: str | None, limit: int
    ) -> list[ListedRow]:
        """Up to `limit` items in order of their row ids, after the one named by the cursor.

        An item that is there throughout is listed exactly once, whatever is written between two pages; each page is of
        one version. model: whose vectors are shown. Raises NotFound for the gallery, Unprocessable for the model, and
        BadRequest for a cursor that holds no row id.
        """
        after = -1 if cursor is None else _row_of(cursor)
        info = self._galleries.info(gallery)
        store = self._galleries.store(info)
        columns = ItemColumns.of(info, store, fields, model)
        version = store.items.version
        rows = store.items.rows_after(after, limit, version=version)
        found = store.items.by_row(rows, columns.read(store.items.columns(version)), version=version)
        found = found.take(np.argsort(found.column(ROW_ID).to_numpy())).combine_chunks()
        ids = found.column(ROW_ID).to_pylist()
        return [
            ListedRow(row, _as_json(shown))
            for batch in found.to_batches(max_chunksize=max(1, found.num_rows))
            for row, shown in zip(ids, columns.shown(batch).to_pylist(), strict=True)
        ]

    def export(self, gallery: str, fields: Sequence[ItemField], model: str | None) -> Generator[bytes]:
        """All items as of one version, as an Arrow stream in parts of about a megabyte, in no order.

        The version stays readable until the last part was taken, or the iterator is closed. Raises as `rows_after`,
        with the first part.
        """
        info = self._galleries.info(gallery)
        items = self._galleries.store(info).items
        with items.pinned(f"{EXPORT_TAG}{secrets.token_hex(8)}") as version:
            columns = ItemColumns.of(info, self._galleries.store(info), fields, model)
            read = columns.read(items.columns(version))
            told = {"gallery": gallery, "version": str(version)}
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, columns.schema.with_metadata(told)) as stream:
                yield _taken(sink)
                for batch in items.scan(
                    read, version=version, batch_rows=_batch_rows(columns), ahead_bytes=_AHEAD_BYTES
                ):
                    stream.write_batch(columns.shown(batch))
                    yield _taken(sink)
            yield _taken(sink)


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
