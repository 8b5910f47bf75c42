"""Two machines that share PostgreSQL, Redis and an object store alone: either does the work, both answer alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.storage.object_store import ObjectStore
from tests.e2e.service import Service
from tests.e2e.studio import Studio
from tests.e2e.test_compatible import TEXT
from tests.e2e.user import Answer, Scene
from tests.s3_server import S3Server
from tests.services import RedisServer, postgres_database
from tests.waiting import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True)
class Machine:
    """A gateway with a worker, and a data directory that nobody else sees."""

    service: Service
    client: httpx.Client

    def ask(self, scene: Scene, model: str) -> Answer:
        """The world's queries, asked here."""
        return _seen_from(scene, self.client).ask(model)


@dataclass(frozen=True)
class Machines:
    """Both of them, and what they share."""

    one: Machine
    other: Machine
    store: ObjectStore
    secret: str
    folder: Path


@pytest.fixture(scope="module")
def machines(
    postgres: str, redis_server: RedisServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machines]:
    folder, storage_url = tmp_path_factory.mktemp("machines"), s3.bucket()
    with postgres_database(postgres) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        variables = {
            "CROSSWALK_DATABASE_URL": url,
            "CROSSWALK_BROKER_URL": redis_server.url,
            "CROSSWALK_STORAGE_URL": storage_url,
            "CROSSWALK_INDEX_EXACT_ROWS": "100",
        }
        services = [Service(folder / name, variables) for name in ("one", "other")]
        one, other = (
            Machine(one.start(), httpx.Client(base_url=one.url, timeout=PATIENCE_SECONDS)) for one in services
        )
        yield Machines(one, other, ObjectStore(storage_url), s3.environment["AWS_SECRET_ACCESS_KEY"], folder)
        for machine in (one, other):
            machine.client.close()
            machine.service.kill()


def test_machines_answer_alike_through_an_upgrade_and_the_loss_of_a_disk(machines: Machines) -> None:
    one, other = machines.one, machines.other
    scene = Scene(one.client, side=False)
    gallery = scene.world.gallery
    scene.put(gallery.take(slice(0, 560)))
    scene.put_pairs(gallery.take(slice(0, 250)))
    upgrade = scene.start(activate="manually")
    scene.reaches(upgrade, "ready")
    for model in (scene.old, scene.new):
        assert one.ask(scene, model) == other.ask(scene, model)
    assert other.client.post(f"/upgrades/{upgrade}/activate").is_success
    scene.put(gallery.take(slice(560, 580)))
    scene.put(gallery.take(slice(580, 600)), scene.new)
    scene.delete(gallery.id[:5])
    after = other.ask(scene, scene.new)
    assert one.ask(scene, scene.new) == after
    assert scene.right(after) > 0.8
    assert len(_seen_from(scene, other.client).sample(5)["ids"]) == 5

    one.service.kill()
    shutil.rmtree(one.service.data)
    one.service.start()
    assert one.ask(scene, scene.new) == after, "of what is in the object store alone"
    published = scene.get(f"/galleries/{scene.gallery}")["published_index"]
    assert published == other.client.get(f"/galleries/{scene.gallery}").json()["published_index"]

    assert machines.store.listed(f"artifacts/{upgrade}")
    assert other.client.post(f"/upgrades/{upgrade}/rollback").is_success
    assert other.client.delete(f"/upgrades/{upgrade}").is_success
    assert not machines.store.listed(f"artifacts/{upgrade}")
    assert one.client.delete(f"/galleries/{scene.gallery}").is_success
    assert not [one for one in machines.store.listed("galleries") if scene.gallery in one.key]
    assert not [*machines.folder.rglob("*.lance")], "no table is on a disk"
    for machine in ("one", "other"):
        assert machines.secret not in (machines.folder / machine / "service.log").read_text()


def test_model_trained_on_a_machine_is_evaluated_and_downloaded_from_any(machines: Machines) -> None:
    studio = Studio(machines.one.client)
    studio.put_gallery()
    words = [f"the number {code} was drawn, drawing {place}" for place, code in enumerate(studio.pictures.codes[:700])]
    studio.put_rows(studio.dataset, range(700), None, text=words)
    upgrade = studio.train(architecture=TEXT, dry_run=True, training={"epochs": 2, "image_size": None})
    studio.reaches(upgrade, "evaluated")
    first, second = (
        machine.client.get(f"/models/{studio.new}/artifact").raise_for_status().content
        for machine in (machines.one, machines.other)
    )
    assert first == second

    def kept() -> set[str]:
        return {one.key.split("/")[2] for one in machines.store.listed(f"artifacts/{upgrade}")}

    wait_until(lambda: "training" not in kept(), "what training needed to go with it", last=kept)
    assert {"model", "model.zip"} <= kept()


def _seen_from(scene: Scene, client: httpx.Client) -> Scene:
    """The same corner, asked by another client."""
    seen = copy(scene)
    seen.client = client
    return seen
