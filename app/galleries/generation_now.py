"""A transformed generation as it is now: its vectors on disk, and over them what was written to the items since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.galleries.generation_store import GenerationStore, Standings
from app.galleries.lineage import Lineage, Projected
from app.galleries.store import GalleryStore
from app.storage.lance_table import VersionGone


class TransformedNow(Protocol):
    """How a generation's items stand, and its vectors."""

    def standings(self) -> Standings: ...

    def scan(self) -> Iterator[Projected]: ...


@dataclass(frozen=True)
class GenerationNow:
    """`written` takes the place of what `generation` holds of the `superseded` rows, (m,) int64."""

    generation: GenerationStore | None
    superseded: np.ndarray
    written: list[Projected]

    @classmethod
    def of(cls, store: GalleryStore, lineage: Lineage, number: int, since: int) -> GenerationNow:
        """Of a generation whose vectors hold the items as of version `since`, or as of a later one."""
        try:
            changes, written = store.changes(lineage, since)
        except VersionGone:  # What happened since is no longer known: begin anew from the items.
            return cls(None, np.empty(0, np.int64), list(store.project(lineage)))
        superseded = np.concatenate([changes.removed, *(part.rows for part in written)])
        return cls(store.generation(number, lineage.dimension), superseded, written)

    def standings(self) -> Standings:
        """How every item stands."""
        since = Standings.of(self.written)
        if self.generation is None:
            return since
        before = self.generation.standings()
        return before.take(self._kept(before.rows)).joined(since)

    def scan(self) -> Iterator[Projected]:
        """Streams every vector."""
        for part in self.generation.scan() if self.generation is not None else ():
            kept = self._kept(part.rows)
            yield Projected(part.rows[kept], part.vectors[kept], part.native[kept], part.uncertainty[kept])
        yield from self.written

    def _kept(self, rows: np.ndarray) -> np.ndarray:
        return np.isin(rows, self.superseded, invert=True)
