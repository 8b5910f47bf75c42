"""What a collection is made of, as its description says, and where the name of a place leads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema

from app.stores.items import fields_read
from app.stores.milvus.calls import MilvusCalls, NoCollection
from app.stores.protocol import Place, Target, WrongPlace
from models.portable import Distance

_METRICS: Mapping[str, Distance] = {"COSINE": "cosine", "L2": "l2", "IP": "ip"}
METRIC_NAMES: Mapping[Distance, str] = {distance: name for name, distance in _METRICS.items()}
_BUILT_BY = ("M", "efConstruction", "nlist", "m", "nbits")
BEFORE = "_before_crosswalk"
"""What an alias's name ends in that keeps a switched alias's old collection."""


@dataclass(frozen=True)
class CollectionLayout:
    """The old collection. alias: the name that it is read by, where that is one and may lead elsewhere."""

    collection: str
    alias: str | None
    key: str
    text_keys: bool
    vector: str
    dimension: int
    fields: tuple[Mapping[str, Any], ...]
    dynamic: bool

    def key_of(self, id_: str) -> int | str | None:
        """The key that an id is the text of; None where there is none."""
        if self.text_keys:
            return id_
        try:
            number = int(id_)
        except ValueError:
            return None
        return number if str(number) == id_ and -(2**63) <= number < 2**63 else None

    def target_schema(self, target: Target) -> CollectionSchema:
        """The collection's own, with vectors of the target's dimension. Keys are given, never made."""
        made = [
            FieldSchema(self.vector, DataType.FLOAT_VECTOR, dim=target.dimension)
            if field["name"] == self.vector
            else FieldSchema.construct_from_dict({**field, "auto_id": False})
            for field in self.fields
        ]
        return CollectionSchema(made, enable_dynamic_field=self.dynamic, auto_id=False)


def layout_of(calls: MilvusCalls, place: Place) -> CollectionLayout:
    """Raises WrongPlace for what is not there or of a type that cannot be read."""
    collection, alias = _collection(calls, place.collection)
    about = calls.ask("describe_collection", collection)
    fields = tuple(about["fields"])
    (key,) = (field for field in fields if field.get("is_primary"))
    if place.id not in (None, key["name"]):
        raise WrongPlace(f"the key of the collection {place.collection!r} is {key['name']!r}, not {place.id!r}")
    vector = _vector(fields, place)
    _check_fields(about, place)
    if about.get("functions"):
        raise WrongPlace(
            f"the collection {place.collection!r} has functions that make fields of others, which cannot be copied"
        )
    return CollectionLayout(
        collection,
        alias,
        key["name"],
        key["type"] == DataType.VARCHAR,
        vector["name"],
        int(vector["params"]["dim"]),
        fields,
        bool(about.get("enable_dynamic_field")),
    )


def _collection(calls: MilvusCalls, name: str) -> tuple[str, str | None]:
    """The collection that holds the old vectors, and the name again where it is an alias."""
    there = calls.ask("list_collections")
    if name in there:
        return name, None
    for alias in (name + BEFORE, name):
        try:
            if calls.ask("has_collection", alias):
                return str(calls.ask("describe_alias", alias)["collection_name"]), name
        except NoCollection:
            continue
    raise WrongPlace(f"there is no collection or alias {name!r}; there are {', '.join(sorted(there)) or 'none'}")


def _vector(fields: tuple[Mapping[str, Any], ...], place: Place) -> Mapping[str, Any]:
    vectors = {field["name"]: field for field in fields if field["type"] == DataType.FLOAT_VECTOR}
    named = ", ".join(sorted(vectors)) or "none"
    if place.vector is None and len(vectors) == 1:
        return next(iter(vectors.values()))
    if place.vector is None:
        raise WrongPlace(f"say which field holds the vectors: of the type FLOAT_VECTOR there are {named}")
    if place.vector not in vectors:
        raise WrongPlace(
            f"the collection {place.collection!r} has no field {place.vector!r} of the type FLOAT_VECTOR; there are "
            f"{named}"
        )
    return vectors[place.vector]


def _check_fields(about: Mapping[str, Any], place: Place) -> None:
    names = [field["name"] for field in about["fields"]]
    if about.get("enable_dynamic_field"):  # then an item has whatever fields it has
        return
    for name in fields_read(place, ("text", "image", "label", "payload")):
        if name not in names:
            raise WrongPlace(f"the collection {place.collection!r} has no field {name!r}; it has {', '.join(names)}")


@dataclass(frozen=True)
class MilvusIndex:
    """The index over a collection's vectors. parameters: those of how it is built, by Milvus's names."""

    type: str
    metric: Distance | None
    parameters: Mapping[str, int]


def index_of(calls: MilvusCalls, layout: CollectionLayout) -> MilvusIndex:
    """The old vectors' index; what Milvus takes by itself where there is none."""
    names = calls.ask("list_indexes", layout.collection, field_name=layout.vector)
    about = dict(calls.ask("describe_index", layout.collection, names[0])) if names else {}
    return MilvusIndex(
        about.get("index_type", "AUTOINDEX"),
        _METRICS.get(str(about.get("metric_type"))),
        {name: int(about[name]) for name in _BUILT_BY if name in about},
    )
