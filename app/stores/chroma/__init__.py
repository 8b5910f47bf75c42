"""Chroma's collections; an upgrade's vectors go to a new collection with copies of the items."""

from app.stores.chroma.store import ChromaOptions, ChromaStore
from app.stores.kinds import StoreKind

KIND = StoreKind(ChromaOptions, ChromaStore.open)
