"""kill -9 in the middle of upgrades: what ends, ends as if undisturbed, and what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from app.failpoints import Failpoint, Trigger
from tests.e2e.service import Service
from tests.e2e.user import Scene
from tests.services import runs
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import World, world

ITEMS, PAIRS = 2_400, 300
PUTS = 4
LOOSE = {"metric": "cmc@1", "require": {"at_least": 0.5}}


@pytest.fixture(scope="module")
def lasting() -> World:
    return world(ITEMS, dimension=48)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Embedded: gateway, worker and steps die together."""
    running = Service(tmp_path_factory.mktemp("crash"), {}).start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(client: httpx.Client, lasting: World) -> Scene:
    """The world's gallery, upgraded without a disturbance."""
    scene = filled(Scene(client, lasting))
    scene.reaches(scene.start(gate=LOOSE), "active")
    return scene


def filled(scene: Scene) -> Scene:
    """In several puts, so that there are several fragments to transform."""
    gallery = scene.world.gallery
    for start in range(0, len(gallery), len(gallery) // PUTS):
        scene.put(gallery.take(slice(start, start + len(gallery) // PUTS)))
    scene.put_pairs(scene.world.pairs(PAIRS))
    return scene


def test_service_killed_in_the_middle_ends_its_upgrade_when_it_is_back(
    service: Service, client: httpx.Client, lasting: World, undisturbed: Scene
) -> None:
    service.stop()
    service.arm(Trigger(Failpoint.FUSION_SAVED, "step", 1, "stop"))
    service.start()
    scene = filled(Scene(client, lasting))
    upgrade = scene.start(gate=LOOSE)
    killed_in(service, scene, upgrade, "evaluating")
    service.arm(Trigger(Failpoint.UNIT_CLAIMED, "step", 1, "stop"))
    service.start()
    killed_in(service, scene, upgrade, "transforming")
    service.start()
    scene.reaches(upgrade, "active")
    same(scene, undisturbed)


def test_corrupt_index_is_noticed_answered_around_and_rebuilt(service: Service, undisturbed: Scene) -> None:
    scene = undisturbed
    before = scene.ask(scene.new)
    folder = index_folder(service, scene)
    (published,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    service.stop()
    flip_a_byte(published / "vectors.f32")
    service.start()
    assert scene.ask(scene.new) == before
    wait_until(lambda: renewed(folder, published), "the index to be rebuilt")
    assert scene.ask(scene.new) == before
    service.stop()
    service.start()
    assert scene.ask(scene.new) == before


def killed_in(service: Service, scene: Scene, upgrade: str, state: str) -> None:
    """Kills the service once a step has stopped at its failpoint, which it does in this state of the upgrade."""
    step = wait_until(service.stopped_step, f"a step to stop while {state}", last=lambda: scene.upgrade(upgrade))
    assert step is not None
    assert scene.upgrade(upgrade)["state"] == state
    killed(service, step)


def killed(service: Service, step: psutil.Process) -> None:
    """Kills the service, whose step has stopped."""
    service.kill()
    with suppress(psutil.NoSuchProcess):
        step.resume()  # stopped before it asked to die with its parent, it must find out itself
    gone(step)


def gone(step: psutil.Process) -> None:
    wait_until(lambda: not runs(step), "the step to die")


def gallery_folder(service: Service, scene: Scene) -> Path:
    (folder,) = service.data.glob(f"galleries/{scene.gallery}-*")
    return folder


def index_folder(service: Service, scene: Scene) -> Path:
    return gallery_folder(service, scene) / "indexes" / "2"


def renewed(folder: Path, published: Path) -> bool:
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(names) and published.name not in names


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def same(scene: Scene, other: Scene) -> None:
    """Both galleries answer alike to the bit, in both models."""
    assert scene.ask(scene.old) == other.ask(other.old)
    assert scene.ask(scene.new) == other.ask(other.new)
    counted = ("native_items", "transformed_items", "missing_items", "state", "active")
    generations = [
        [[generation[name] for name in counted] for generation in one.generations().values()] for one in (scene, other)
    ]
    assert generations[0] == generations[1]
