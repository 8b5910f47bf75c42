"""A user of Elasticsearch's protocol: an index with a dense_vector beside other fields."""

import json
from collections.abc import Sequence
from typing import Any

from elasticsearch import Elasticsearch

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.world import UserItem, Vector
from tests.services import free_port

PASSWORD = "never-to-be-logged"


class ElasticsearchWorld:
    """Satisfies `StoreWorld`. The place names an alias, and the old vectors lie in an object."""

    dimension = 5
    without_vectors = True
    secrets: Sequence[str]
    wrong_places: Sequence[tuple[Place, str]]
    tolerance = 1e-6
    index = "faq-2024"

    def __init__(self, url: str) -> None:
        self.client = Elasticsearch(url, request_timeout=60)
        for index in self.client.indices.get_alias().body:
            self.client.indices.delete(index=index)
        self.connection = elasticsearch_connection("faq-elastic", url)
        away = f"http://127.0.0.1:{free_port()}"
        self.unreachable = elasticsearch_connection("faq-away", away)
        self.secrets = [PASSWORD, url.removeprefix("http://"), away.removeprefix("http://")]
        old = {"type": "dense_vector", "dims": self.dimension, "similarity": "cosine"}
        properties = {
            "model": {"properties": {"old": old}},
            "text": {"type": "text"},
            "label": {"type": "keyword"},
            "shop": {"type": "keyword"},
            "tags": {"type": "object", "enabled": False},
        }
        self.client.indices.create(index=self.index, aliases={"faq": {}}, mappings={"properties": properties})
        self.place = Place("faq", vector="model.old", text="text", label="label", payload=("shop", "tags"))
        self.wrong_places = [
            (Place("faqs", vector="model.old"), self.index),
            (Place("faq", vector="new"), "model.old"),
            (Place("faq", vector="text"), "model.old"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ["a/b c?d=e&f#g", "書店 \"'é", "0", "00", "-", ".."]
        return [*odd, *(f"item {n * 37 % 1009}" for n in range(count))][:count]

    def insert(self, items: Sequence[UserItem]) -> None:
        lines: list[Any] = []
        for item in items:
            vectors = {} if item.vector is None else {"model": {"old": item.vector.tolist()}}
            fields = {"text": item.text, "label": item.label, **item.payload, **vectors}
            lines += [{"index": {"_id": item.id}}, {name: each for name, each in fields.items() if each is not None}]
        answer = self.client.bulk(index=self.index, operations=lines, refresh=True)
        assert not answer["errors"], answer

    def change(self, item: UserItem) -> None:
        self.insert([item])

    def delete(self, ids: Sequence[str]) -> None:
        self.client.bulk(index=self.index, operations=[{"delete": {"_id": id}} for id in ids], refresh=True)

    def everything(self) -> dict[str, bytes]:
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, size=10_000)["hits"]["hits"]
        names = ("model", "text", "label", "shop", "tags")
        return {
            hit["_id"]: json.dumps({name: hit["_source"].get(name) for name in names}, sort_keys=True).encode()
            for hit in hits
        }

    def take_name(self, target: Target) -> None:
        self.client.indices.put_mapping(index=self.index, properties={target.name: {"type": "keyword"}})

    def seen(self) -> dict[str, Vector]:
        raise AssertionError("readers are switched by a statement")


def elasticsearch_connection(name: str, url: str) -> ConfiguredConnection:
    options = {"url": url, "user": "elastic", "password": PASSWORD, "timeout_s": 60}
    return ConfiguredConnection(name, "elasticsearch", options)
