"""A user of Chroma: a collection of documents with metadata."""

import json
from collections.abc import Sequence
from typing import Any

import chromadb
from chromadb.config import Settings

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.world import UserItem, Vector
from tests.services import free_port

TOKEN = "never-to-be-logged"


class ChromaWorld:
    """Satisfies `StoreWorld`."""

    dimension = 5
    without_vectors = False
    tolerance = 1e-6
    secrets: Sequence[str]
    wrong_places: Sequence[tuple[Place, str]]

    def __init__(self, url: str) -> None:
        port = int(url.rpartition(":")[2])
        self.client = chromadb.HttpClient("127.0.0.1", port, settings=Settings(anonymized_telemetry=False))
        for collection in self.client.list_collections():
            self.client.delete_collection(collection.name)
        self.collection = self.client.create_collection(
            "faq.items", configuration={"hnsw": {"space": "cosine", "max_neighbors": 24}}, embedding_function=None
        )
        self.connection = chroma_connection("faq-chroma", url)
        away = f"http://127.0.0.1:{free_port()}"
        self.unreachable = chroma_connection("faq-away", away)
        self.secrets = [TOKEN, url.removeprefix("http://"), away.removeprefix("http://")]
        self.place = Place("faq.items", text="#document", label="label", payload=("shop", "tags"))
        self.wrong_places = [
            (Place("faqs"), "faq.items"),
            (Place("a/../faq.items"), "faq.items"),
            (Place("faq.items", vector="old"), "leave out"),
            (Place("faq.items", text="documents"), "#document"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ["a/b c?d=e&f#g", "書店 \"'é\n", "0", "00", "-", " "]
        return [*odd, *(f"item {n * 37 % 1009}" for n in range(count))][:count]

    def insert(self, items: Sequence[UserItem]) -> None:
        for some in ([item for item in items if item.text is None], [item for item in items if item.text is not None]):
            if some:
                self.collection.add(
                    ids=[item.id for item in some],
                    embeddings=[item.vector for item in some if item.vector is not None],
                    documents=[item.text for item in some] if some[0].text is not None else None,
                    metadatas=[_metadata(item) for item in some],
                )

    def change(self, item: UserItem) -> None:
        self.delete([item.id])
        self.insert([item])

    def delete(self, ids: Sequence[str]) -> None:
        self.collection.delete(ids=list(ids))

    def everything(self) -> dict[str, bytes]:
        found = self.collection.get(include=["embeddings", "documents", "metadatas"])
        rows = zip(found["embeddings"], found["documents"], found["metadatas"], strict=True)
        return {
            id: json.dumps([vector.tolist(), *rest], sort_keys=True).encode()
            for id, (vector, *rest) in zip(found["ids"], rows, strict=True)
        }

    def take_name(self, target: Target) -> None:
        self.client.create_collection(target.name, embedding_function=None)

    def seen(self) -> dict[str, Vector]:
        raise AssertionError("readers are switched by a statement")


def _metadata(item: UserItem) -> dict[str, Any] | None:
    return {name: value for name, value in {"label": item.label, **item.payload}.items() if value is not None} or None


def chroma_connection(name: str, url: str) -> ConfiguredConnection:
    return ConfiguredConnection(name, "chroma", {"url": url, "token": TOKEN, "timeout_s": 60})
