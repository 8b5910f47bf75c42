"""Where a gallery's documents are in Elasticsearch, and what their vector's field is like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.stores.elasticsearch.calls import ElasticsearchCalls, NoSuchIndex
from app.stores.protocol import Place, WrongPlace
from models.portable import Distance

METRICS: Mapping[str, Distance] = {
    "cosine": "cosine",
    "dot_product": "ip",
    "max_inner_product": "ip",
    "l2_norm": "l2",
}
SIMILARITIES: Mapping[Distance, str] = {"cosine": "cosine", "ip": "max_inner_product", "l2": "l2_norm"}

_SHOWN = 20


@dataclass(frozen=True)
class ElasticsearchSource:
    """index: the one that the place's name leads to. field: of the old vectors, and its mapping."""

    index: str
    field: str
    mapping: Mapping[str, Any]

    @property
    def dimension(self) -> int:
        return int(self.mapping["dims"])

    @property
    def metric(self) -> Distance | None:
        """None where the field is not indexed, so that each query says how it ranks."""
        return METRICS.get(self.mapping.get("similarity", "")) if self.mapping.get("index", True) else None


def find_documents(calls: ElasticsearchCalls, place: Place) -> ElasticsearchSource:
    """Raises WrongPlace where there is no such index or field."""
    if place.id not in (None, "_id"):
        raise WrongPlace("Elasticsearch knows documents by their _id alone: leave out `id`")
    try:
        found = calls.ask(calls.client.indices.get_mapping, index=place.collection)
    except NoSuchIndex:
        there = calls.ask(calls.client.indices.get_alias)
        names = {name for index, held in there.items() for name in (index, *held["aliases"])}
        raise WrongPlace(f"Elasticsearch has no index {place.collection!r}; {_told(names)}") from None
    if len(found) != 1:
        raise WrongPlace(f"{place.collection!r} leads to {len(found)} indexes and has to lead to one; {_told(found)}")
    ((index, held),) = found.items()
    mappings = held["mappings"]
    if mappings.get("_routing", {}).get("required"):
        raise WrongPlace(
            f"the documents of {place.collection!r} are routed by keys of their own, which is not known here"
        )
    vectors = dense_fields(mappings)
    field = place.vector
    if field is None:
        raise WrongPlace(f"`vector` has to name a field of {place.collection!r} of type dense_vector; {_told(vectors)}")
    if field not in vectors:
        raise WrongPlace(f"{place.collection!r} has no field {field!r} of type dense_vector; {_told(vectors)}")
    mapping = vectors[field]
    if mapping.get("element_type", "float") not in ("float", "bfloat16") or "dims" not in mapping:
        raise WrongPlace(f"{field!r} of {place.collection!r} holds no floating-point numbers of a known dimension")
    return ElasticsearchSource(index, field, mapping)


def dense_fields(mappings: Mapping[str, Any], prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """Every field of type dense_vector, by its path."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, field in mappings.get("properties", {}).items():
        if field.get("type") == "dense_vector":
            found[prefix + name] = field
        elif field.get("type", "object") == "object":
            found |= dense_fields(field, f"{prefix}{name}.")
    return found


def _told(names: Any) -> str:
    known = sorted(names)
    return f"there are {', '.join(known[:_SHOWN]) or 'none'}" + (" and more" if len(known) > _SHOWN else "")
