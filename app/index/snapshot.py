"""A published index, loaded: its files mapped, so that processes that search the same share their pages."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from app.index.approximate import BUILT, Approximate
from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock
from app.index.manifest import Digest, Manifest
from app.index.protocol import PADDING, CorruptIndex, Hits, MemoryUse, RowIds, Vectors
from app.index.row_positions import RowPositions
from models.portable import Distance

VECTORS, ROWS, ORDER, INDEX = "vectors.f32", "rows.i64", "order.i64", "index.faiss"
CHECKED_AT_ONCE = 2**30  # bytes of vectors: read in about a second

_Number = TypeVar("_Number", np.float32, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """An immutable index of one store version.

    block: every row, those without a direction last; one that was grown also has dead ones, with ids below 0. ids:
    where each row stands. approximate: what finds candidates without looking at every row; None where the index is
    exact. checked: whether the vectors were found to be those that were published; everything else always was.
    """

    directory: Path
    manifest: Manifest
    block: VectorBlock
    ids: RowPositions
    approximate: Approximate | None
    checked: bool

    @classmethod
    def load(cls, directory: Path, *, check_at_once: int | None = None) -> Snapshot:
        """Opens what `publish` wrote. Raises CorruptIndex where anything is missing, short or altered.

        check_at_once: of more bytes of vectors than that, only the length is looked at, and whether they are altered is
        left to `check_vectors`: they are most of an index, and reading them all takes long. Left out, all are read.
        """
        manifest = Manifest.load(directory)
        size = manifest.files[VECTORS].bytes if VECTORS in manifest.files else 0
        checked = check_at_once is None or size <= check_at_once
        for name, digest in manifest.files.items():
            _check(directory / name, digest, whole=checked or name != VECTORS)
        ranked, every = manifest.rows - manifest.zero_rows + manifest.dead, manifest.rows + manifest.dead
        rows = _mapped(directory / ROWS, np.int64).reshape(every)
        order = _mapped(directory / ORDER, np.int64).reshape(every) if ORDER in manifest.files else None
        ids = RowPositions.ordered(rows, order)
        quantised = manifest.kind in ("ivf_sq8", "ivf_rabitq")
        floats = _mapped(directory / VECTORS, np.float32, scattered=quantised)
        vectors = floats.reshape(ranked, manifest.dimension)
        live = Bitmap.of(rows[:ranked] >= 0) if manifest.dead else Bitmap.full(ranked)
        block = VectorBlock(rows, vectors, live, np.arange(ranked, every), manifest.longest)
        approximate = None
        if manifest.kind != "flat":
            approximate = BUILT[manifest.kind].load(directory / INDEX, vectors, manifest.metric)
        return cls(directory, manifest, block, ids, approximate, checked)

    @property
    def rows(self) -> RowIds:
        """The ids of its rows, in no order: (n,) int64."""
        rows = self.block.rows
        return rows[rows >= 0] if self.manifest.dead else rows

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

    def check_vectors(self) -> None:
        """Reads all vectors. Raises CorruptIndex where they are not those that were published."""
        _check(self.directory / VECTORS, self.manifest.files[VECTORS], whole=True)

    def memory(self) -> MemoryUse:
        order = self.ids.order
        mapped = self.block.vectors.nbytes + self.block.rows.nbytes + (0 if order is None else order.nbytes)
        index = self.approximate.memory() if self.approximate else MemoryUse(0, 0)
        return MemoryUse(mapped + index.mapped, self.block.ranked.bits.nbytes + index.resident)

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


def _check(path: Path, digest: Digest, *, whole: bool) -> None:
    """Raises CorruptIndex where a file is not there, or of another length, or, where `whole`, of other bytes."""
    if not path.is_file() or path.stat().st_size != digest.bytes or (whole and Digest.of(path) != digest):
        raise CorruptIndex(f"{path} is not the file that was published")


def _mapped(path: Path, dtype: type[_Number], *, scattered: bool = False) -> npt.NDArray[_Number]:
    """A file's numbers, read from disk as they are needed; scattered: a few here and there, so that none are read ahead
    of what is asked for."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return np.empty(0, dtype)
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if scattered:
        pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, dtype)
