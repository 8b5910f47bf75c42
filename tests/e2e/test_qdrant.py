"""A gallery in a collection of the user's own in Qdrant, from its registration to its new vectors' end, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from app.settings import Settings
from tests.e2e.user import Scene, cosine_ranking
from tests.qdrant_server import API_KEY, qdrant_server, user_client
from tests.serving import serving
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside
from tests.worlds import OLD, Floats, world

ITEMS, PAIRS = 200, 120
COLLECTION, ALIAS = "faq-2024", "faq"
WORLD = world(ITEMS)


class Collection:
    """Points of one unnamed vector, which their readers find by an alias."""

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        params = models.VectorParams(size=OLD, distance=models.Distance.COSINE)
        client.create_collection(COLLECTION, vectors_config=params)
        made = models.CreateAlias(collection_name=COLLECTION, alias_name=ALIAS)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])
        items = WORLD.gallery
        client.upsert(
            COLLECTION,
            [
                models.PointStruct(id=number, vector=vector.tolist(), payload={"topic": topic})
                for number, (vector, topic) in enumerate(zip(items.old, items.label, strict=True))
            ],
        )

    def collections(self) -> set[str]:
        return {one.name for one in self.client.get_collections().collections}

    def originals(self) -> list[str]:
        """What its user wrote, vectors as all their digits."""
        points, _ = self.client.scroll(COLLECTION, limit=10_000, with_vectors=True)
        return sorted(json.dumps([point.id, point.payload, point.vector], sort_keys=True) for point in points)

    def seen(self) -> dict[str, Floats]:
        """By id, the vectors that readers of the alias get."""
        points, _ = self.client.scroll(ALIAS, limit=10_000, with_vectors=True)
        return {str(point.id): np.asarray(point.vector, np.float32) for point in points}

    def dimension_seen(self) -> int:
        (dimension,) = {len(vector) for vector in self.seen().values()}
        return dimension

    def right(self, queries: Floats) -> float:
        """The share of queries to which what readers of the alias get next is of their class."""
        seen = self.seen()
        nearest = cosine_ranking(seen, np.stack(list(seen.values())), queries, 1)
        topics = [WORLD.gallery.label[int(one)] for (one,) in nearest]
        return float(np.mean(np.array(topics) == np.array(WORLD.queries.label)))


@pytest.fixture
def collection() -> Iterator[Collection]:
    with qdrant_server() as url:
        yield Collection(user_client(url))


def test_collection_is_sampled_upgraded_switched_back_and_forth_and_left_as_it_was(
    tmp_path: Path, collection: Collection
) -> None:
    connections = tmp_path / "connections.toml"
    url = collection.client.init_options["url"]
    connections.write_text(f'[shop]\nkind = "qdrant"\nurl = "{url}"\napi_key = "{API_KEY}"\n')
    settings = Settings(data_dir=tmp_path / "data", connections=connections, device="cpu")
    before, right_before = collection.originals(), collection.right(WORLD.queries.old)
    with serving(settings, WorkerInside) as client:
        scene = Scene(client, WORLD)
        scene.gallery = "in-qdrant"
        store = {"connection": "shop", "collection": ALIAS, "label": "topic"}
        scene.post("/galleries", {"id": scene.gallery, "model": scene.old, "store": store}, 201)
        chosen = scene.sample(PAIRS)["ids"]
        pairs = WORLD.gallery.take(np.array([int(one) for one in chosen]))
        pairs.id[:] = chosen
        scene.put_pairs(pairs)
        gate = {"metric": "cmc@1", "require": {"at_least": 0.2}}
        upgrade = scene.start(activate="manually", gate=gate)
        ready = scene.reaches(upgrade, "ready")
        (made,) = collection.collections() - {COLLECTION}
        assert ready["report"]["galleries"][scene.gallery]["basis"]["gallery_rows"] == ITEMS
        assert collection.dimension_seen() == OLD

        scene.post(f"/upgrades/{upgrade}/activate")
        assert collection.dimension_seen() == WORLD.gallery.new.shape[1]
        assert collection.right(WORLD.queries.new) > right_before
        assert scene.client.delete(f"/galleries/{scene.gallery}/generations/2").status_code == 409
        assert scene.generations()[2]["in_store"]["target"] == made
        assert scene.post(f"/upgrades/{upgrade}/rollback")["state"] == "rolled_back"
        assert collection.right(WORLD.queries.old) == right_before
        assert scene.client.delete(f"/galleries/{scene.gallery}/generations/2").status_code == 204
        wait_until(lambda: collection.collections() == {COLLECTION}, "the new vectors to be dropped")
    assert collection.originals() == before
