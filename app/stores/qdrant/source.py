"""Where a gallery's points are in Qdrant, and what one of their vectors is like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qdrant_client import models

from app.stores.protocol import Place, WrongPlace
from app.stores.qdrant.calls import NotThere, QdrantCalls
from models.portable import Distance

UNNAMED = ""
"""What Qdrant calls the vector of a collection that names none."""

METRICS: dict[models.Distance, Distance] = {
    models.Distance.COSINE: "cosine",
    models.Distance.DOT: "ip",
    models.Distance.EUCLID: "l2",
}
DISTANCES = {metric: distance for distance, metric in METRICS.items()}


@dataclass(frozen=True)
class QdrantSource:
    """collection: its own name, which no alias changes. alias: by which readers find it, where the place names one.
    vector: the dense vector's name. dense: all dense vectors of the collection, by name."""

    collection: str
    alias: str | None
    vector: str
    dense: dict[str, models.VectorParams]
    info: models.CollectionInfo

    @property
    def params(self) -> models.VectorParams:
        return self.dense[self.vector]


def find_points(calls: QdrantCalls, place: Place) -> QdrantSource:
    """Raises WrongPlace where there is no such collection or vector."""
    if place.id is not None:
        raise WrongPlace("Qdrant knows points by their own ids alone: leave out `id`")
    collection, alias = place.collection, None
    aliases = {each.alias_name: each.collection_name for each in calls.ask(calls.client.get_aliases).aliases}
    if collection in aliases:
        alias, collection = collection, aliases[collection]
        collection = aliases.get(source_alias(collection), collection)
    try:
        info = calls.ask(calls.client.get_collection, collection)
    except NotThere:
        there = [each.name for each in calls.ask(calls.client.get_collections).collections]
        raise WrongPlace(f"Qdrant has no collection {place.collection!r}; {told('there are', there)}") from None
    dense = dense_vectors(info)
    return QdrantSource(collection, alias, _vector(place, dense), dense, info)


def source_alias(target: str) -> str:
    """An alias that we keep: it leads from a collection of transformed vectors to the one that they were made from."""
    return f"{target}.source"


def dense_vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    vectors = info.config.params.vectors
    return {UNNAMED: vectors} if isinstance(vectors, models.VectorParams) else dict(vectors or {})


def told(words: str, names: Sequence[str]) -> str:
    """The first of the names that there are."""
    shown = ", ".join(sorted(names)[:20]) or "none"
    return f"{words} {shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def point_id(text: str) -> int | str:
    """A point's id from its text: digits are an unsigned integer, all else is a UUID with hyphens."""
    return int(text) if text.isascii() and text.isdigit() else text


def is_point_id(text: str) -> bool:
    """Whether any point may have this id."""
    if text.isascii() and text.isdigit():
        return int(text) < 2**64 and text == str(int(text))
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def dense_vector(record: models.Record, name: str) -> list[float] | None:
    """None where the point has no vector of this name."""
    vectors: Any = record.vector
    found: list[float] | None = vectors.get(name) if isinstance(vectors, dict) else vectors
    return found


def _vector(place: Place, dense: dict[str, models.VectorParams]) -> str:
    names = [name or "(unnamed: leave out `vector`)" for name in dense]
    name = place.vector or UNNAMED
    if name not in dense and place.vector is None:
        raise WrongPlace(
            f"the vectors of {place.collection!r} have names, so `vector` has to be one; {told('there are', names)}"
        )
    if name not in dense:
        raise WrongPlace(f"{place.collection!r} has no dense vector {name!r}; {told('there are', names)}")
    if dense[name].multivector_config is not None:
        raise WrongPlace(f"{name!r} of {place.collection!r} is a multivector: one vector an item is needed")
    return name
