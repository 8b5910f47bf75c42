"""An index published to Milvus: its vectors in a collection of their own there, and its row ids here.

The directory that `publish` would have filled with vectors holds instead the name of the collection, written before
there is such a collection; whoever removes the directory removes the collection first. So no collection is without a
directory that names it, whenever a process is killed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np

from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock
from app.index.exact import Scan, best_of, nearest, padding
from app.index.manifest import Digest, Manifest
from app.index.milvus_search import LoadedCollection, nearest_rows
from app.index.milvus_server import MilvusServer
from app.index.protocol import PADDING, CorruptIndex, Hits, Kind, MemoryUse, RowIds, Vectors
from app.index.row_positions import RowPositions
from app.index.snapshot import ROWS
from app.problems import IndexLost
from models.portable import Distance

COLLECTION = "collection.json"
KINDS: dict[Kind, str] = {"flat": "FLAT", "hnsw": "HNSW", "ivf_flat": "IVF_FLAT", "ivf_sq8": "IVF_SQ8"}
_SETTLED_SECONDS = 60.0  # after which every replica of Milvus is taken to have what was inserted
_SCANNED = 8_192  # rows whose vectors are fetched at once


@dataclass(frozen=True, slots=True)
class CollectionName:
    """The collection that an index was published to. loaded_at: seconds since 1970, when its last row was inserted; 0
    while it is still being loaded."""

    name: str
    loaded_at: float

    def write(self, directory: Path) -> None:
        (directory / COLLECTION).write_text(json.dumps({"name": self.name, "loaded_at": self.loaded_at}))

    @classmethod
    def read(cls, directory: Path) -> CollectionName:
        """Raises CorruptIndex where it cannot be read."""
        try:
            written = json.loads((directory / COLLECTION).read_bytes())
            return cls(str(written["name"]), float(written["loaded_at"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptIndex(f"{directory}: no readable name of a collection: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class MilvusSnapshot:
    """An immutable index of one store version, whose vectors Milvus holds. `block` has the rows, and no vectors.

    gone: set once Milvus was found to have the collection no longer.
    """

    directory: Path
    manifest: Manifest
    block: VectorBlock
    ids: RowPositions
    server: MilvusServer
    collection: CollectionName
    gone: Event = field(default_factory=Event)

    @classmethod
    def load(cls, directory: Path, server: MilvusServer) -> MilvusSnapshot:
        """Opens what was published. Raises CorruptIndex where anything here is missing, short or altered, or Milvus has
        not as many rows, and Unavailable where it does not say."""
        manifest = Manifest.load(directory)
        for name, digest in manifest.files.items():
            path = directory / name
            if not path.is_file() or path.stat().st_size != digest.bytes or Digest.of(path) != digest:
                raise CorruptIndex(f"{path} is not the file that was published")
        snapshot = cls.of(directory, manifest, server)
        held, inserted = server.count(snapshot.collection.name), manifest.rows - manifest.zero_rows
        if held is None:
            raise CorruptIndex(f"Milvus has no collection {snapshot.collection.name!r}")
        if held != inserted:
            raise CorruptIndex(f"Milvus has {held} rows of {snapshot.collection.name!r}, not {inserted}")
        return snapshot

    @classmethod
    def of(cls, directory: Path, manifest: Manifest, server: MilvusServer) -> MilvusSnapshot:
        """The index that lies in a directory as a manifest says, unverified."""
        ranked = manifest.rows - manifest.zero_rows
        rows = np.fromfile(directory / ROWS, np.int64)
        nothing = np.empty((0, manifest.dimension), np.float32)
        zeros = np.arange(ranked, manifest.rows)
        block = VectorBlock(rows, nothing, Bitmap.full(ranked), zeros, manifest.longest)
        return cls(directory, manifest, block, RowPositions(rows), server, CollectionName.read(directory))

    @property
    def rows(self) -> RowIds:
        return self.block.rows

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def lost(self) -> bool:
        return self.gone.is_set()

    @property
    def checked(self) -> bool:
        """Always: vectors are Milvus's to keep, and it was asked how many there are."""
        return True

    def check_vectors(self) -> None:
        """There is nothing here to read."""

    def memory(self) -> MemoryUse:
        order = self.ids.order
        own = self.block.rows.nbytes + (0 if order is None else order.nbytes)
        return MemoryUse(0, own + self.block.ranked.bits.nbytes)

    def search(self, block: VectorBlock, queries: Vectors, k: int, score: Distance, effort: int | None = None) -> Hits:
        tuned = self.manifest.tuning(score)
        parameters: dict[str, int] = {}
        if tuned is not None:
            parameters = {"ef" if self.manifest.kind == "hnsw" else "nprobe": effort or tuned.effort}
        try:
            return nearest_rows(self._loaded(), block.ranked, queries, k, score, parameters)
        except IndexLost:
            self.gone.set()
            raise

    def vectors_at(self, positions: Positions) -> Vectors:
        vectors = np.zeros((len(positions), self.manifest.dimension), np.float32)
        inserted = positions < self.manifest.rows - self.manifest.zero_rows
        if inserted.any():
            try:
                vectors[inserted] = self._loaded().vectors(self.block.rows[positions[inserted]])
            except IndexLost:
                self.gone.set()
                raise
        return vectors

    def scan(self, queries: Vectors, k: int, score: Distance) -> Hits:
        """The k nearest rows of each query (m, d), as indexed, by fetching every vector there is: slow, and exact."""
        best = padding(len(queries), k, score)
        for start in range(0, self.block.ranked.size, _SCANNED):
            rows = self.block.rows[start : min(start + _SCANNED, self.block.ranked.size)]
            vectors = np.ascontiguousarray(self._loaded().vectors(rows))
            part = nearest(
                queries,
                k,
                vectors=vectors,
                rows=rows,
                score=score,
                longest=self.manifest.longest,
                selected=Bitmap.full(len(rows)),
                propose=Scan(vectors, score),
            )
            found = np.concatenate([best.rows, part.rows], axis=1)
            best = best_of(found, np.concatenate([best.scores, part.scores], axis=1), found != PADDING, k, score)
        return best

    def _loaded(self) -> LoadedCollection:
        return LoadedCollection(
            server=self.server,
            name=self.collection.name,
            rows=self.block.rows[: self.block.ranked.size],
            ids=self.ids,
            dimension=self.manifest.dimension,
            unit=self.manifest.metric == "cosine",
            longest=self.manifest.longest,
            everything=self.manifest.kind == "flat",
            strong=abs(time.time() - self.collection.loaded_at) < _SETTLED_SECONDS,
        )
