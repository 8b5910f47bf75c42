"""Where Qdrant holds transformed vectors: a further vector of the same points, or a collection of its own.

    QdrantTarget
    ├── NamedVector     of the same points. From Qdrant 1.18 on, for collections whose vectors have names
    └── NewCollection   with copies of the points. Where no vector can be added, and where readers come by an alias that
                        is to be switched in one step

A collection whose only vector is unnamed is given no named one: clients that write unnamed vectors would be refused
from then on by some versions, and find another configuration in all.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from qdrant_client import models

from app.stores.protocol import CannotSwitch, StoreAway, Switched, Switching, Target, WrongPlace
from app.stores.qdrant.calls import NotThere, QdrantCalls
from app.stores.qdrant.source import DISTANCES, METRICS, UNNAMED, QdrantSource, dense_vectors, point_id, source_alias

_KEPT_DATATYPES = (None, models.Datatype.FLOAT32, models.Datatype.FLOAT16)

_ROUNDS = 20
"""How often a write in which a point was missing is made again without it."""

NewVectors = dict[int | str, list[float]]
"""By the point's id."""


class QdrantTarget(Protocol):
    """switching: how readers come to the target. whole_points: whether whatever else a point holds is copied."""

    switching: Switching
    whole_points: bool

    def make(self, target: Target) -> None: ...

    def write(self, target: Target, vectors: NewVectors) -> set[int | str]:
        """Returns the ids that were not written, as the points are gone."""

    def erase(self, target: Target, ids: Sequence[str]) -> None: ...

    def place(self, target: Target) -> tuple[str, str, models.Filter | None]:
        """The collection, the vector's name, and which points hold one."""

    def switch(self, target: Target) -> Switched: ...

    def switch_back(self, target: Target) -> Switched: ...

    def drop(self, target: Target) -> None: ...


class NamedVector:
    switching: Switching = "statement"
    whole_points = False

    def __init__(self, calls: QdrantCalls, source: QdrantSource) -> None:
        self._calls, self._client, self._source = calls, calls.client, source

    def make(self, target: Target) -> None:
        info = self._info()
        if target.name in (info.config.params.sparse_vectors or {}):
            raise WrongPlace(f"the collection has a sparse vector {target.name!r} already")
        params = dense_vectors(info).get(target.name)
        if params is None:
            dense = models.DenseVectorConfig(
                size=target.dimension, distance=DISTANCES[target.metric], datatype=_datatype(self._source.params)
            )
            config = models.DenseVectorNameConfig(dense=dense)
            self._calls.ask(self._client.create_vector_name, self._source.collection, target.name, config)
        else:
            _refuse_another(params, target)
        self._as_the_old_one(target)

    def write(self, target: Target, vectors: NewVectors) -> set[int | str]:
        left = dict(vectors)
        for _ in range(_ROUNDS):
            if not left:
                break
            points = [models.PointVectors(id=id, vector={target.name: vector}) for id, vector in left.items()]
            try:
                completed(self._calls, self._calls.ask(self._client.update_vectors, self._source.collection, points))
                break
            except NotThere:  # one of them is gone, and may be back by now
                there = {record.id for record in self._there(left)}
                left = {id: vector for id, vector in left.items() if id in there}
        else:
            raise StoreAway(f"the points of {self._calls.store} come and go while they are written")
        return vectors.keys() - left.keys()

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        there = [record.id for record in self._there(map(point_id, ids))]
        if there:
            try:
                self._calls.ask(self._client.delete_vectors, self._source.collection, [target.name], there)
            except NotThere:  # some went since; the vectors of the others are deleted all the same
                return

    def place(self, target: Target) -> tuple[str, str, models.Filter | None]:
        holds = models.Filter(must=[models.HasVectorCondition(has_vector=target.name)])
        return self._source.collection, target.name, holds

    def switch(self, target: Target) -> Switched:
        return Switched(f"search with using={target.name!r} in the collection {self._source.collection!r}")

    def switch_back(self, target: Target) -> Switched:
        return Switched(f"search with using={self._source.vector!r} in the collection {self._source.collection!r}")

    def drop(self, target: Target) -> None:
        if target.name == self._source.vector:
            raise CannotSwitch(f"{target.name!r} is the vector that the gallery is read from")
        if target.name in dense_vectors(self._info()):
            self._calls.ask(self._client.delete_vector_name, self._source.collection, target.name)

    def _info(self) -> models.CollectionInfo:
        return self._calls.ask(self._client.get_collection, self._source.collection)

    def _there(self, ids: Iterable[int | str]) -> list[models.Record]:
        """The points of these that there are, with their ids alone."""
        wanted = list(ids)
        if not wanted:
            return []
        return self._calls.ask(self._client.retrieve, self._source.collection, wanted, with_payload=False)

    def _as_the_old_one(self, target: Target) -> None:
        """Has the vector indexed, quantized and stored as the old one is, where that differs from the collection."""
        old = self._source.params
        given = {
            key: getattr(old, key)
            for key in models.VectorParamsDiff.model_fields
            if getattr(old, key, None) is not None
        }
        if given:
            changes = {target.name: models.VectorParamsDiff(**given)}
            self._calls.ask(self._client.update_collection, self._source.collection, vectors_config=changes)


class NewCollection:
    whole_points = True

    def __init__(self, calls: QdrantCalls, source: QdrantSource) -> None:
        self._calls, self._client, self._source = calls, calls.client, source
        self.switching: Switching = "statement" if source.alias is None else "atomic"

    def make(self, target: Target) -> None:
        params = self._source.info.config.params
        if params.sharding_method == models.ShardingMethod.CUSTOM:
            raise WrongPlace("the collection is sharded by keys of its own, which a new collection cannot be given")
        if self._ours(target):
            if (info := self._info(target)) is not None:
                _refuse_another(dense_vectors(info)[self._source.vector], target)
        elif self._info(target) is not None:
            raise WrongPlace(f"a collection {target.name!r} is there already")
        # The alias comes first: a collection that has it is one of ours.
        self._point(source_alias(target.name), self._source.collection)
        if self._info(target) is None:
            self._create(target)
        for field, index in self._source.info.payload_schema.items():
            schema = index.params or index.data_type
            self._calls.ask(self._client.create_payload_index, target.name, field, schema)

    def write(self, target: Target, vectors: NewVectors) -> set[int | str]:
        sources = self._calls.ask(
            self._client.retrieve, self._source.collection, list(vectors), with_payload=True, with_vectors=True
        )
        points = [
            models.PointStruct(id=record.id, vector=self._vectors(record, vectors[record.id]), payload=record.payload)
            for record in sources
        ]
        if points:
            completed(self._calls, self._calls.ask(self._client.upsert, target.name, points))
        return vectors.keys() - {point.id for point in points}

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        if ids:
            self._calls.ask(self._client.delete, target.name, models.PointIdsList(points=[*map(point_id, ids)]))

    def place(self, target: Target) -> tuple[str, str, models.Filter | None]:
        return target.name, self._source.vector, None

    def switch(self, target: Target) -> Switched:
        if self._source.alias is None:
            return Switched(f"search the collection {target.name!r} in place of {self._source.collection!r}")
        if self._info(target) is None:
            raise CannotSwitch(f"there is no collection {target.name!r}: make it again")
        self._point(self._source.alias, target.name)
        return Switched(None)

    def switch_back(self, target: Target) -> Switched:
        if self._source.alias is None:
            return Switched(f"search the collection {self._source.collection!r} in place of {target.name!r}")
        if self._read_by_alias(target):
            self._point(self._source.alias, self._source.collection)
        return Switched(None)

    def drop(self, target: Target) -> None:
        if self._read_by_alias(target) or target.name == self._source.collection:
            raise CannotSwitch(f"readers see the collection {target.name!r}: switch back first")
        if self._ours(target):
            self._calls.ask(self._client.delete_collection, target.name)
            gone = models.DeleteAlias(alias_name=source_alias(target.name))
            change = models.DeleteAliasOperation(delete_alias=gone)
            self._calls.ask(self._client.update_collection_aliases, [change])

    def _vectors(self, record: models.Record, new: list[float]) -> Any:
        """All the vectors of a copied point."""
        if not isinstance(record.vector, dict):
            return {self._source.vector: new} if self._source.vector != UNNAMED else new
        return {**record.vector, self._source.vector: new}

    def _create(self, target: Target) -> None:
        config, old = self._source.info.config, self._source.params
        settings = old.model_dump(exclude={"size", "distance", "datatype"}, exclude_none=True)
        new = models.VectorParams(
            size=target.dimension, distance=DISTANCES[target.metric], datatype=_datatype(old), **settings
        )
        dense: Any = {**self._source.dense, self._source.vector: new}
        self._calls.ask(
            self._client.create_collection,
            target.name,
            vectors_config=dense if isinstance(config.params.vectors, dict) else new,
            sparse_vectors_config=config.params.sparse_vectors,
            shard_number=config.params.shard_number,
            replication_factor=config.params.replication_factor,
            write_consistency_factor=config.params.write_consistency_factor,
            on_disk_payload=config.params.on_disk_payload,
            hnsw_config=models.HnswConfigDiff(**config.hnsw_config.model_dump()),
            optimizers_config=models.OptimizersConfigDiff(**config.optimizer_config.model_dump()),
            quantization_config=config.quantization_config,
        )

    def _info(self, target: Target) -> models.CollectionInfo | None:
        if not self._calls.ask(self._client.collection_exists, target.name):
            return None
        return self._calls.ask(self._client.get_collection, target.name)

    def _aliases(self) -> dict[str, str]:
        answer = self._calls.ask(self._client.get_aliases)
        return {each.alias_name: each.collection_name for each in answer.aliases}

    def _ours(self, target: Target) -> bool:
        return source_alias(target.name) in self._aliases()

    def _read_by_alias(self, target: Target) -> bool:
        return self._source.alias is not None and self._aliases().get(self._source.alias) == target.name

    def _point(self, alias: str, collection: str) -> None:
        """Has the alias lead to the collection, in one step for who reads by it."""
        changes: list[models.AliasOperations] = []
        if alias in self._aliases():
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        made = models.CreateAlias(collection_name=collection, alias_name=alias)
        changes.append(models.CreateAliasOperation(create_alias=made))
        self._calls.ask(self._client.update_collection_aliases, changes)


def completed(calls: QdrantCalls, result: models.UpdateResult) -> None:
    """Raises StoreAway for a write that was taken and is not done yet."""
    if result.status != models.UpdateStatus.COMPLETED:
        raise StoreAway(f"{calls.store} took a write and did not finish it in time")


def _datatype(old: models.VectorParams) -> models.Datatype | None:
    """The old vector's, but for types that hold no floating-point numbers of any size."""
    return old.datatype if old.datatype in _KEPT_DATATYPES else None


def _refuse_another(params: models.VectorParams, target: Target) -> None:
    if (params.size, METRICS.get(params.distance)) != (target.dimension, target.metric):
        raise WrongPlace(
            f"{target.name!r} is there already, of {params.size} dimensions and by {params.distance.value} distance"
        )
