"""A service with Milvus, seen from outside: it answers as one with FAISS does, through an upgrade and through kills."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from app.failpoints import FAILPOINT, JOURNAL
from app.index.milvus import COLLECTION, CollectionName
from tests.e2e.conftest import NewScene
from tests.e2e.service import Service
from tests.e2e.user import Answer, Scene, problem
from tests.services import MilvusProcess
from tests.waiting import PATIENCE_SECONDS, wait_until

Told = tuple[str, int, list[list[str]], list[list[float]]]


@dataclass(frozen=True)
class MilvusService:
    """A gateway with its worker, and the Milvus that both use."""

    service: Service
    client: httpx.Client
    milvus: MilvusProcess

    def collections(self) -> set[str]:
        from pymilvus import MilvusClient

        return set(MilvusClient(self.milvus.uri).list_collections())

    def led_to(self, alias: str) -> str:
        from pymilvus import MilvusClient

        return str(MilvusClient(self.milvus.uri).describe_alias(alias)["collection_name"])

    def named(self) -> set[str]:
        """The collections that the service's files name."""
        folders = self.service.data.glob(f"galleries/*/indexes/*/*/{COLLECTION}")
        return {CollectionName.read(path.parent).name for path in folders}


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory, milvus_installed: None) -> Iterator[MilvusService]:
    """Whose first step that has loaded a collection is killed before anything names it."""
    folder = tmp_path_factory.mktemp("in-milvus")
    own = MilvusProcess(folder / "milvus")
    own.start()
    variables = {
        "CROSSWALK_INDEX_ENGINE": "milvus",
        "CROSSWALK_MILVUS_URI": own.uri,
        JOURNAL: str(folder / "journal"),
        FAILPOINT: "index.collection-loaded@step*1=kill",
    }
    service = Service(folder, variables).start()
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        yield MilvusService(service, client, own)
    service.kill()
    own.kill()


def test_service_with_milvus_answers_as_one_with_faiss_through_upgrades_and_kills(
    killed_once: MilvusService, scene: NewScene
) -> None:
    there, here = Scene(killed_once.client), scene()
    first = [upgraded(there, lambda: index_without_milvus(killed_once)), upgraded(here, lambda: None)]
    assert first[0] == first[1]
    assert there.ask(there.new).exact
    assert killed_once.collections() == killed_once.named(), "nothing is left of the step that was killed"
    assert killed_once.led_to(f"crosswalk_{there.gallery.replace('-', '_2d')}") in killed_once.named()
    assert len(killed_once.named()) == 1
    killed_once.service.kill()
    killed_once.service.start()
    assert told(there.ask(there.new)) == first[0][-1], "after a kill -9 of the gateway too"
    refused_while_away(killed_once, there)
    assert told(there.ask(there.new)) == first[0][-1]
    delete(there)
    wait_until(lambda: not killed_once.collections(), "the gallery's collections to go with it")


def index_without_milvus(killed_once: MilvusService) -> None:
    """Takes Milvus away until a step has found it so, which then waits for it."""
    killed_once.milvus.kill()
    log = killed_once.service.data.parent / "service.log"
    wait_until(lambda: "step waits for what it lacks" in log.read_text(), "the step to wait for Milvus")
    killed_once.milvus.start()


def upgraded(scene: Scene, meanwhile: Callable[[], None]) -> list[Told]:
    """What is answered on the way of an upgrade, with writes to both generations, a rollback and a switch back."""
    gallery = scene.world.gallery
    scene.put(gallery.take(slice(0, 560)))
    scene.put_pairs(gallery.take(slice(0, 250)))
    upgrade = scene.start(activate="manually")
    errors: list[str] = []
    searching = Searching(scene, errors)
    meanwhile()
    scene.reaches(upgrade, "ready")
    answers = [scene.ask(scene.old), scene.ask(scene.new)]
    scene.post(f"/upgrades/{upgrade}/activate")
    scene.put(gallery.take(slice(560, 580)))
    scene.put(gallery.take(slice(580, 600)), scene.new)
    scene.delete(gallery.id[:5])
    answers += [
        scene.ask(scene.new),
        scene.ask(scene.new, k=100),
        scene.ask(scene.new, filter=json.dumps({"label": {"in": gallery.label[:1]}})),
    ]
    scene.post(f"/upgrades/{upgrade}/rollback")
    answers.append(scene.ask(scene.old))
    scene.post(f"/upgrades/{upgrade}/activate")
    answers.append(scene.ask(scene.new))
    searching.stop()
    assert errors == []
    return [told(answer) for answer in answers]


class Searching:
    """Somebody who searches all the while."""

    def __init__(self, scene: Scene, errors: list[str]) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._search, args=(scene, errors), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(PATIENCE_SECONDS)

    def _search(self, scene: Scene, errors: list[str]) -> None:
        vector = scene.world.queries.old[0].tolist()
        with httpx.Client(base_url=scene.client.base_url, timeout=PATIENCE_SECONDS) as client:
            while not self._end.wait(0.05) and not errors:
                body = {"gallery": scene.gallery, "model": scene.old, "vectors": [vector]}
                try:
                    answer = client.post("/search", json=body)
                except httpx.TransportError as error:
                    errors.append(repr(error))
                else:
                    errors += [] if answer.is_success else [answer.text]


def told(answer: Answer) -> Told:
    return answer.route, answer.generation, answer.ids, answer.scores


def refused_while_away(killed_once: MilvusService, scene: Scene) -> None:
    """Without Milvus a search is a 503 that says when to come again, and the service says that it is not ready."""
    killed_once.milvus.kill()
    body = {"gallery": scene.gallery, "model": scene.new, "vectors": scene.world.queries.new[:1].tolist()}
    refused = killed_once.client.post("/search", json=body)
    assert "CROSSWALK_MILVUS_URI" in problem(refused, 503, "index-engine-away")["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    assert "milvus" in killed_once.client.get("/readyz").text
    killed_once.milvus.start()
    wait_until(lambda: killed_once.client.get("/readyz").is_success, "Milvus to be found again")


def delete(scene: Scene) -> None:
    assert scene.client.delete(f"/galleries/{scene.gallery}").status_code == 204
