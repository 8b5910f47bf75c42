"""A transformed generation in a store of the user's own, as it is now: by what was noted as its vectors were written
there, and by how far the crossing is expected to miss, of the old ones that are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.galleries.elsewhere import Elsewhere, opened
from app.galleries.generation_store import Standings
from app.galleries.lineage import Lineage, Projected
from app.galleries.reading import MARK, ItemsInStore, row_ids
from app.storage.lance_table import embedding_column
from app.stores.batches import vectors_of
from app.stores.kinds import ConfiguredStores
from app.stores.ledger import Noted, id_hashes, ledger_file, native_marks
from app.stores.protocol import Target

_BATCH_ROWS = 8192


@dataclass(frozen=True)
class GenerationNowInStore:
    """Of items that are as they were when the generation was last caught up with them: what was written, or changed,
    since is none of them. Each call is a pass over the store, and raises GalleryStoreAway or StoreChanged where it
    cannot be read. folder: of the target's ledger."""

    stores: ConfiguredStores
    elsewhere: Elsewhere
    lineage: Lineage
    target: Target
    folder: Path

    def standings(self) -> Standings:
        """How every item stands."""
        noted = Noted.read(ledger_file(self.folder, self.target.name))
        old = self.lineage.models[0]
        items = ItemsInStore(self.stores, self.elsewhere, old)
        parts = []
        for batch in items.scan(["id", MARK, embedding_column(old)], _BATCH_ROWS):
            with_vector = batch.filter(batch.column(embedding_column(old)).is_valid())
            marks = with_vector.column(MARK).to_numpy()
            known = noted.of(id_hashes(with_vector.column("id").to_pylist()))
            native = known == native_marks(marks)
            if len(marks):
                projected = self.lineage.project(with_vector)
                error = np.where(native, np.float32(0), projected.uncertainty)
                written = native | (known == marks)
                parts.append(Standings(projected.rows, native, error).take(written))
        return Standings.of(parts)

    def scan(self) -> Iterator[Projected]:
        """Streams every vector that was written, whoever made it; `native` and `uncertainty` are of no meaning."""
        with opened(self.stores, self.elsewhere) as store:
            for batch in store.written(self.target, batch_rows=_BATCH_ROWS, vectors=True):
                rows = row_ids(batch.column("id")).astype(np.int64)
                vectors, _ = vectors_of(batch)
                yield Projected(rows, vectors, np.zeros(len(rows), bool), np.full(len(rows), np.nan, np.float32))
