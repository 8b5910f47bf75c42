"""Which items of a transformed generation have a real vector of its model: kept in memory, and level with the items."""

import threading
from dataclasses import dataclass

import numpy as np

from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.index import RowIds
from app.storage.lance_table import ROW_ID, Table, VersionGone, embedding_column

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class NativeRows:
    """The rows (n,) int64, ascending, whose vector was made by the generation's own model, as of a version of the
    items."""

    version: int
    rows: RowIds


class LiveNativeRows:
    """Follows the items: what was written since is read, and nothing else."""

    def __init__(self, galleries: Galleries) -> None:
        self._galleries = galleries
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], NativeRows] = {}

    def of(self, info: GalleryInfo, model: str, version: int) -> NativeRows:
        """The items with a vector of `model`, as of `version` of the items or of a later one."""
        key = (info.folder, model)
        kept = self._kept.get(key)
        if kept is not None and kept.version >= version:
            return kept
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.version < version:
                kept = self._kept[key] = _followed(self._galleries.store(info).items, embedding_column(model), kept)
            return kept

    def forget(self, info: GalleryInfo) -> None:
        """Lets go of a gallery that is no more."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] != info.folder}


def _followed(items: Table, column: str, kept: NativeRows | None) -> NativeRows:
    """The rows whose cell in the column is not null, from what is known of an earlier version."""
    if kept is None:
        return _read(items, column)
    try:
        changes = items.changes(kept.version, [column])
    except VersionGone:  # What happened since is no longer known: begin anew from the items.
        return _read(items, column)
    touched, native = [changes.removed], [_NONE]
    for batch in changes.written:
        rows = batch.column(ROW_ID).to_numpy().astype(np.int64)
        touched.append(rows)
        if column in batch.schema.names:
            native.append(rows[batch.column(column).is_valid().to_numpy(zero_copy_only=False)])
    stayed = np.setdiff1d(kept.rows, np.concatenate(touched), assume_unique=False)
    return NativeRows(changes.version, np.union1d(stayed, np.concatenate(native)))


def _read(items: Table, column: str) -> NativeRows:
    version = items.version
    if column not in items.columns(version):
        return NativeRows(version, _NONE)
    rows = items.where(f"`{column}` IS NOT NULL", ["id"], version=version).column(ROW_ID).to_numpy()
    return NativeRows(version, np.sort(rows.astype(np.int64)))
