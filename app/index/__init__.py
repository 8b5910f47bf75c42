"""Vector indexes: what one does (`protocol`), the engines that keep them, and how a snapshot is published."""

from app.index.block import as_indexed
from app.index.engine import IndexEngine
from app.index.exact import best_of, candidate_scores, ranked
from app.index.faiss import LiveIndex
from app.index.protocol import (
    LONGEST,
    PADDING,
    CorruptIndex,
    Held,
    Hits,
    IndexOptions,
    Kind,
    MemoryUse,
    RowIds,
    VectorIndex,
    Vectors,
)
from app.index.publish import prune, publish, tune
from app.index.published import PublishedIndex
from app.index.row_positions import RowPositions
from app.index.snapshot import Snapshot

__all__ = [
    "LONGEST",
    "PADDING",
    "CorruptIndex",
    "Held",
    "Hits",
    "IndexEngine",
    "IndexOptions",
    "Kind",
    "LiveIndex",
    "MemoryUse",
    "PublishedIndex",
    "RowIds",
    "RowPositions",
    "Snapshot",
    "VectorIndex",
    "Vectors",
    "as_indexed",
    "best_of",
    "candidate_scores",
    "prune",
    "publish",
    "ranked",
    "tune",
]
