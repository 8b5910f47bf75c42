"""A service for the session, in which every test has a corner of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.e2e.browser import Browser, installed_browser
from tests.e2e.service import Service
from tests.e2e.user import Answer, Scene
from tests.loopback import NO_TLS
from tests.services import RedisServer, postgres_database
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS
from tests.workers.stepping import WorkerInside
from tests.worlds import World

NewScene = Callable[..., Scene]


in_both_arrangements = pytest.mark.parametrize("service", ["embedded", "distributed"], indirect=True, scope="session")
"""For tests of the processes that a service is made of."""


@dataclass(frozen=True)
class ServiceInside:
    """A service in threads of the test's process, whose steps are done there too: for tests of what the steps do."""

    url: str
    data: Path


@pytest.fixture(scope="session", params=["inside"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service | ServiceInside]:
    """Inside, or in processes: embedded is SQLite with the worker in the gateway's; distributed is PostgreSQL, Redis,
    and a worker's process of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "inside":
        settings = Settings(data_dir=folder, device="cpu", heartbeat_seconds=0.3, lease_seconds=600.0)
        with serving(settings, WorkerInside) as client:
            yield ServiceInside(str(client.base_url), folder)
        return
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
def client(service: Service | ServiceInside) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS, verify=NO_TLS) as client:
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
    def of(cls, scene: Scene, **more: Any) -> "Running":
        before = scene.ask(scene.old)
        return cls(scene, scene.start(**more), before)
