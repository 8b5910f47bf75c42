"""The service in both arrangements, one for the session; every test has a corner of its own in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.browser import Browser, installed_browser
from tests.e2e.service import Service
from tests.e2e.user import Answer, Scene
from tests.services import RedisServer, postgres_database
from tests.waiting import PATIENCE_SECONDS
from tests.worlds import World, world

NewScene = Callable[..., Scene]


@pytest.fixture(scope="session", params=["embedded", "distributed"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Embedded: SQLite, and the worker inside. Distributed: PostgreSQL, Redis, and a worker of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    more = {"CROSSWALK_WORKER_CONCURRENCY": "2"}
    if request.param == "embedded":
        running = Service(folder, more).start()
        yield running
        running.stop()
        return
    redis: RedisServer = request.getfixturevalue("redis_server")
    with postgres_database(request.getfixturevalue("postgres")) as url:
        running = Service(folder, {**more, "CROSSWALK_DATABASE_URL": url, "CROSSWALK_BROKER_URL": redis.url}).start()
        yield running
        running.stop()


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def scene(client: httpx.Client) -> NewScene:
    """Makes a corner: `scene(world, side=…)`."""

    def make(seen: World | None = None, **more: bool) -> Scene:
        return Scene(client, seen, **more)

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with installed_browser() as browser:
        yield browser


@dataclass(frozen=True)
class Running:
    """A scene whose gallery is being upgraded, and what it answered before that."""

    scene: Scene
    id: str
    before: Answer

    @classmethod
    def of(cls, scene: Scene, **asked: Any) -> "Running":
        before = scene.ask(scene.old)
        return cls(scene, scene.start(**asked), before)


@dataclass(frozen=True)
class Launched:
    """Upgrades started all at once, since most of an upgrade is waiting. Whoever looks at one waits for it first.

    by_hand: to be activated by hand; half: learned from half the classes of a world in which that does not carry over;
    apart: a dry run, learned from pairs that are no items of the gallery; plain: just switched to.
    """

    by_hand: Running
    worse: Running
    half: Running
    apart: Running
    plain: Running
    auto: Running


@pytest.fixture(scope="session")
def launched(scene: NewScene) -> Launched:
    by_hand, worse, half, apart = scene(side=True), scene(), scene(world(classes=8, unrelated=True)), scene()
    first = by_hand.world.gallery.take(slice(0, 570))
    by_hand.put(first)
    by_hand.put_pairs(first.take(np.random.default_rng(0).permutation(570)[:250]))
    worse.put(worse.world.gallery)
    worse.put_pairs(worse.world.pairs(200), worse.dull)
    classes = sorted(set(half.world.gallery.label))
    half.filled(half.world.gallery.of_classes(set(classes[: len(classes) // 2])))
    apart.put(apart.world.gallery.take(slice(0, 300)))
    apart.put_pairs(apart.world.gallery.take(slice(300, 600)), apart.old, apart.new)
    return Launched(
        by_hand=Running.of(by_hand, activate="manually"),
        worse=Running.of(worse, to=worse.dull),
        half=Running.of(half),
        apart=Running.of(apart, dry_run=True, method="orthogonal"),
        plain=Running.of(scene().filled(), method="orthogonal"),
        auto=Running.of(scene(side=True).filled(), method="auto"),
    )
