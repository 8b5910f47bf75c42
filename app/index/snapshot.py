"""A published index, loaded: its vectors mapped from disk and everything in it verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.index.approximate import BUILT, Approximate
from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock
from app.index.manifest import Digest, Manifest
from app.index.protocol import PADDING, CorruptIndex, Hits, MemoryUse, Vectors
from app.index.row_positions import RowPositions
from models.portable import Distance

VECTORS, ROWS, INDEX = "vectors.f32", "rows.i64", "index.faiss"


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """An immutable index of one store version.

    block: every row, those without a direction last. ids: where each row stands. approximate: what finds candidates
    without looking at every row; None where the index is exact.
    """

    directory: Path
    manifest: Manifest
    block: VectorBlock
    ids: RowPositions
    approximate: Approximate | None

    @classmethod
    def load(cls, directory: Path) -> Snapshot:
        """Opens what `publish` wrote. Raises CorruptIndex where anything is missing, short or altered."""
        manifest = Manifest.load(directory)
        for name, digest in manifest.files.items():
            path = directory / name
            if not path.is_file() or path.stat().st_size != digest.bytes or Digest.of(path) != digest:
                raise CorruptIndex(f"{path} is not the file that was published")
        ranked = manifest.rows - manifest.zero_rows
        rows = np.fromfile(directory / ROWS, np.int64)
        vectors = map_vectors(directory / VECTORS, ranked, manifest.dimension)
        block = VectorBlock(rows, vectors, Bitmap.full(ranked), np.arange(ranked, manifest.rows), manifest.longest)
        approximate = None if manifest.kind == "flat" else BUILT[manifest.kind].load(directory / INDEX)
        return cls(directory, manifest, block, RowPositions(rows), approximate)

    @property
    def version(self) -> int:
        """The store version it was built from."""
        return self.manifest.version

    @property
    def lost(self) -> bool:
        """Never: a mapped file stays until it is closed."""
        return False

    def vectors_at(self, positions: Positions) -> Vectors:
        return self.block.vectors_at(positions)

    def memory(self) -> MemoryUse:
        own = self.block.rows.nbytes + self.block.ranked.bits.nbytes + self.ids.nbytes
        index = self.approximate.memory() if self.approximate else MemoryUse(0, 0)
        return MemoryUse(self.block.vectors.nbytes + index.mapped, own + index.resident)

    def search(self, block: VectorBlock, queries: Vectors, k: int, score: Distance, effort: int | None = None) -> Hits:
        """The k nearest ranked rows of `block`, which is this snapshot's own, or that with fewer rows found.

        effort: left out, the one that the index was tuned to. Where few are left, or the approximate index finds fewer
        than there are, every row is looked at.
        """
        tuned, propose = self.manifest.tuning(score), None
        if self.approximate and tuned:
            propose = self.approximate.propose(score, effort or tuned.effort, block.ranked.count)
        hits = block.search(queries, k, score, propose)
        if propose and block.ranked.count:
            short = hits.rows[:, min(k, block.ranked.count) - 1] == PADDING
            if short.any():
                every = block.search(queries[short], k, score)
                hits.rows[short], hits.scores[short] = every.rows, every.scores
        return hits


def map_vectors(path: Path, count: int, dimension: int) -> Vectors:
    """The (count, dimension) float32 vectors of a file, read from disk as they are needed."""
    if not count:
        return np.empty((0, dimension), np.float32)
    return np.memmap(path, np.float32, "r", shape=(count, dimension))
