"""A user of Qdrant: its engine behind its interface, and collections whose vectors have names or have not."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.world import UserItem, Vector
from tests.qdrant_server import API_KEY, user_client
from tests.services import free_port

COSINE = models.Distance.COSINE


class QdrantWorld:
    """Satisfies `StoreWorld`. named: a collection of two named vectors, of which `old` is the gallery's; else one of an
    unnamed vector, which readers find by an alias."""

    dimension = 5
    without_vectors = True
    secrets: Sequence[str]
    wrong_places: Sequence[tuple[Place, str]]
    tolerance = 1e-6

    def __init__(self, url: str, named: bool) -> None:
        self.client: QdrantClient = user_client(url)
        for alias in self.client.get_aliases().aliases:
            gone = models.DeleteAlias(alias_name=alias.alias_name)
            self.client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])
        for collection in self.client.get_collections().collections:
            self.client.delete_collection(collection.name)
        self.named, self.old = named, "old" if named else ""
        self.connection = connection("faq-qdrant", url)
        away = f"http://127.0.0.1:{free_port()}"
        self.unreachable = connection("faq-away", away)
        self.secrets = [API_KEY, url.removeprefix("http://"), away.removeprefix("http://")]
        fields: dict[str, Any] = {"text": "text", "label": "label", "payload": ("shop", "tags")}
        params = models.VectorParams(size=self.dimension, distance=COSINE)
        if named:
            other = models.VectorParams(size=2, distance=models.Distance.DOT)
            self.client.create_collection("faq items", vectors_config={"old": params, "other": other})
            self.place = Place("faq items", vector="old", **fields)
            self.wrong_places = [(Place("faq"), "faq items"), (Place("faq items", vector="new"), "old")]
        else:
            self.client.create_collection("faq-2024", vectors_config=params)
            made = models.CreateAlias(collection_name="faq-2024", alias_name="faq")
            self.client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])
            self.client.create_payload_index("faq-2024", "label", models.PayloadSchemaType.KEYWORD)
            self.place = Place("faq", **fields)
            self.wrong_places = [(Place("faqs"), "faq-2024"), (Place("faq", vector="new"), "unnamed")]

    def ids(self, count: int) -> list[str]:
        odd = [str(2**64 - 1), "0", "ffffffff-ffff-ffff-ffff-ffffffffffff", "6f1b1d1c-6b1d-0b1d-0b1d-1b1d1b1d1b1d"]
        return [*odd, *(str(UUID(int=7 * n)) if n % 2 else str(11 * n) for n in range(1, count))][:count]

    @property
    def _collection(self) -> str:
        """Its own name, whatever an alias leads to by now."""
        return self.place.collection if self.named else "faq-2024"

    def insert(self, items: Sequence[UserItem]) -> None:
        self.client.upsert(self._collection, [self._point(item) for item in items])

    def change(self, item: UserItem) -> None:
        self.insert([item])

    def delete(self, ids: Sequence[str]) -> None:
        self.client.delete(self._collection, [point_key(id) for id in ids])

    def everything(self) -> dict[str, bytes]:
        wanted = ["old", "other"] if self.named else [""]
        points, _ = self.client.scroll(self._collection, limit=10_000, with_vectors=wanted)
        return {str(point.id): json.dumps([point.payload, point.vector], sort_keys=True).encode() for point in points}

    def take_name(self, target: Target) -> None:
        if self.named:
            dense = models.DenseVectorConfig(size=target.dimension + 1, distance=COSINE)
            config = models.DenseVectorNameConfig(dense=dense)
            self.client.create_vector_name(self.place.collection, target.name, config)
        else:
            params = models.VectorParams(size=target.dimension, distance=COSINE)
            self.client.create_collection(target.name, vectors_config=params)

    def seen(self) -> dict[str, Vector]:
        points, _ = self.client.scroll(self.place.collection, limit=10_000, with_vectors=True)
        return {str(point.id): np.asarray(point.vector, np.float32) for point in points if point.vector}

    def _point(self, item: UserItem) -> models.PointStruct:
        vectors: Any = {} if item.vector is None else {self.old: item.vector.tolist()}
        if self.named:
            vectors["other"] = [0.25, -3.0]
        payload = {"text": item.text, "label": item.label, **item.payload}
        kept = {name: value for name, value in payload.items() if value is not None}
        return models.PointStruct(id=point_key(item.id), vector=vectors, payload=kept)


def connection(name: str, url: str, **options: Any) -> ConfiguredConnection:
    return ConfiguredConnection(name, "qdrant", {"url": url, "api_key": API_KEY, "timeout_s": 60, **options})


def point_key(text: str) -> int | str:
    return int(text) if text.isdigit() else text
