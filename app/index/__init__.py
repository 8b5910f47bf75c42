"""Vector indexes: what one does (`protocol`), the engines that keep them, and how a snapshot is published."""

from app.index.block import as_indexed
from app.index.collection_release import CollectionRelease
from app.index.effort import tune
from app.index.engine import IndexEngine
from app.index.exact import best_of, candidate_scores, one_thread, ranked
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
from app.index.published import IndexSnapshot
from app.index.row_positions import RowPositions
from app.index.snapshot import CHECKED_AT_ONCE, Snapshot

__all__ = [
    "CHECKED_AT_ONCE",
    "LONGEST",
    "PADDING",
    "AskedKind",
    "CollectionRelease",
    "CorruptIndex",
    "Held",
    "Hits",
    "IndexEngine",
    "IndexOptions",
    "IndexSnapshot",
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
    "one_thread",
    "prune",
    "publish",
    "ranked",
    "tune",
]
