"""Vector indexes: what one does (`protocol`), the FAISS engine, and how a snapshot is published."""

from app.index.faiss import LiveIndex
from app.index.protocol import (
    LONGEST,
    PADDING,
    CorruptIndex,
    Held,
    Hits,
    IndexOptions,
    MemoryUse,
    Metric,
    Rows,
    VectorIndex,
    Vectors,
)
from app.index.publish import prune, publish
from app.index.snapshot import Snapshot

__all__ = [
    "LONGEST",
    "PADDING",
    "CorruptIndex",
    "Held",
    "Hits",
    "IndexOptions",
    "LiveIndex",
    "MemoryUse",
    "Metric",
    "Rows",
    "Snapshot",
    "VectorIndex",
    "Vectors",
    "prune",
    "publish",
]
