"""Qdrant's collections; an upgrade's vectors go to a further named vector, or to a new collection."""

from app.stores.kinds import StoreKind
from app.stores.qdrant.store import QdrantOptions, QdrantStore

KIND = StoreKind(QdrantOptions, QdrantStore.open)
