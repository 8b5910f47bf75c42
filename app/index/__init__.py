"""Vector indexes: what one does (`protocol`), the FAISS engine, and how a snapshot is published."""

from app.index.block import as_indexed
from app.index.effort import tune
from app.index.exact import best_of, candidate_scores, ranked
from app.index.faiss import LiveIndex
from app.index.growth import grow
from app.index.manifest import Manifest
from app.index.partial import prune
from app.index.protocol import (
    LONGEST,
    PADDING,
    AskedKind,
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
from app.index.publish import publish
from app.index.row_positions import RowPositions
from app.index.snapshot import CHECKED_AT_ONCE, Snapshot

__all__ = [
    "CHECKED_AT_ONCE",
    "LONGEST",
    "PADDING",
    "AskedKind",
    "CorruptIndex",
    "Held",
    "Hits",
    "IndexOptions",
    "Kind",
    "LiveIndex",
    "Manifest",
    "MemoryUse",
    "RowIds",
    "RowPositions",
    "Snapshot",
    "VectorIndex",
    "Vectors",
    "as_indexed",
    "best_of",
    "candidate_scores",
    "grow",
    "prune",
    "publish",
    "ranked",
    "tune",
]
