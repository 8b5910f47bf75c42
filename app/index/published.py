"""What a published index is to the live one above it, whichever engine keeps its vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from app.index.bitmap import Positions
from app.index.block import VectorBlock
from app.index.manifest import Manifest
from app.index.protocol import Hits, MemoryUse, RowIds, Vectors
from app.index.row_positions import RowPositions
from models.portable import Distance


class IndexSnapshot(Protocol):
    """An immutable index of one store version. Positions are places in `block.rows`."""

    @property
    def directory(self) -> Path:
        """Where it was published."""

    @property
    def manifest(self) -> Manifest:
        """What was built, from what."""

    @property
    def block(self) -> VectorBlock:
        """Every row, those without a direction last; its vectors may be elsewhere."""

    @property
    def ids(self) -> RowPositions:
        """At which position each row stands."""

    @property
    def rows(self) -> RowIds:
        """The ids of its rows, in no order: (n,) int64."""

    @property
    def version(self) -> int:
        """The store version it was built from."""

    @property
    def lost(self) -> bool:
        """Whether its vectors were found to be gone, so that it must be opened anew."""

    @property
    def checked(self) -> bool:
        """Whether its vectors were found to be those that were published, as far as that is for us to look at."""

    def check_vectors(self) -> None:
        """Reads all vectors that were not checked. Raises CorruptIndex where they are not those that were published."""

    def search(self, block: VectorBlock, queries: Vectors, k: int, score: Distance, effort: int | None = None) -> Hits:
        """The k nearest ranked rows of `block`, which is the index's own, or that with fewer rows found.

        queries: (m, d) as indexed. effort: left out, the one that the index was tuned to.
        """

    def vectors_at(self, positions: Positions) -> Vectors:
        """The vectors at positions (p,), as they are held: (p, d) float32; zeros for those without a direction."""

    def memory(self) -> MemoryUse:
        """Bytes that it occupies in this process."""
