"""Where the vectors of re-embedded items are kept: with items that lie here, or in a store of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.embedders.choice import EmbedderInput
from app.galleries.reading import MARK
from app.stores.batches import item_batch, vector_array


class ReEmbedded(Protocol):
    """The items of one generation."""

    @property
    def chosen_at_once(self) -> int:
        """How many are put in order at a time, which takes a pass over all."""

    def begin(self) -> None:
        """Brings the generation up to date, where that has to be asked for."""

    def texts(self, ids: Sequence[str]) -> dict[str, str]:
        """The texts, or images, of those of these items that have one, by id."""

    def keep(self, texts: Mapping[str, str], vectors: NDArray[np.float32]) -> set[str]:
        """Has items keep the vectors (n, d) that were made of these texts of theirs, durably. The ids of those that do:
        one that is gone, or has changed since its text was read, is left as it is."""

    def end(self) -> None:
        """Has what was kept be indexed, where that has to be asked for."""


@dataclass(frozen=True)
class ReEmbeddedHere:
    """Of a gallery whose items lie here. field: of their payloads, which is embedded."""

    crosswalk: Crosswalk
    gallery: str
    model: str
    field: str
    reads: EmbedderInput
    chosen_at_once: int

    def begin(self) -> None: ...

    def texts(self, ids: Sequence[str]) -> dict[str, str]:
        return self.crosswalk.texts.of(self.gallery, ids, self.field, self.reads)

    def keep(self, texts: Mapping[str, str], vectors: NDArray[np.float32]) -> set[str]:
        """What changed since is told as kept: it is embedded anew by whoever finds it transformed."""
        self.crosswalk.items.re_embed(self.gallery, self.model, texts, vectors, self.field)
        self.crosswalk.retirement.after_put(self.crosswalk.galleries.info(self.gallery), self.model)
        return set(texts)

    def end(self) -> None: ...


class ReEmbeddedInStore:
    """Of a gallery in a store of the user's own."""

    chosen_at_once = 65_536

    def __init__(self, crosswalk: Crosswalk, gallery: str, generation: int, field: str, reads: EmbedderInput) -> None:
        self._crosswalk = crosswalk
        self._gallery, self._generation = gallery, generation
        self._field, self._reads = field, reads
        self._marks: dict[str, int] = {}

    def begin(self) -> None:
        """As of here no write of an attempt that was killed is in doubt."""
        info = self._crosswalk.galleries.info(self._gallery)
        self._crosswalk.store_targets.catch_up(info, self._generation)

    def texts(self, ids: Sequence[str]) -> dict[str, str]:
        """Their marks are read before their texts: of an item that changes in between, no vector is written."""
        items = self._crosswalk.galleries.items(self._crosswalk.galleries.info(self._gallery))
        marks = items.by_id(ids, ["id", MARK])
        self._marks = dict(zip(marks.column("id").to_pylist(), marks.column(MARK).to_pylist(), strict=True))
        return self._texts([one for one in ids if one in self._marks])

    def keep(self, texts: Mapping[str, str], vectors: NDArray[np.float32]) -> set[str]:
        ids = list(texts)
        marks = pa.array([self._marks[item] for item in ids], pa.uint64())
        items = item_batch(("id", "vector", "mark"), {"id": ids, "vector": vector_array(vectors), "mark": marks})

        def unchanged(some: list[str]) -> NDArray[np.bool_]:
            now = self._texts(some)
            return np.array([now.get(item) == texts[item] for item in some], bool)

        info = self._crosswalk.galleries.info(self._gallery)
        return set(self._crosswalk.store_targets.re_embed(info, self._generation, items, unchanged))

    def end(self) -> None:
        self._crosswalk.store_targets.index(self._crosswalk.galleries.info(self._gallery), self._generation)

    def _texts(self, ids: Sequence[str]) -> dict[str, str]:
        return self._crosswalk.texts.of(self._gallery, ids, self._field, self._reads)
