"""A service on an object store, over HTTP: what it keeps there, and what it answers while that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

from app.settings import Settings
from app.storage.object_store import ObjectStore
from tests.s3_server import client_environment, new_bucket
from tests.services import free_port
from tests.serving import serving
from tests.waiting import wait_until

ITEMS = [{"id": name, "embedding": [1.0, number], "label": "l"} for number, name in enumerate("abc")]


@contextmanager
def listening(port: int) -> Iterator[None]:
    """moto's server in a thread: what was stored is there again when another listens."""
    server = ThreadedMotoServer("127.0.0.1", port)
    server.start()
    yield
    server.stop()


def test_requests_say_that_the_store_is_away_and_go_through_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    for name, value in client_environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        with listening(port):
            settings = Settings(data_dir=tmp_path, storage_url=new_bucket(f"http://127.0.0.1:{port}"))
            client = stack.enter_context(serving(settings))
            filled(client)
            found = search(client)
            assert [hit["id"] for hit in found.json()["results"]] == ["a", "b", "c"]
            assert client.get("/readyz").json()["checks"]["object_store"] == "ok"
        away = client.get("/readyz")
        assert (away.status_code, away.json()["checks"]["object_store"]) == (503, "unreachable")
        for answer in (search(client), put(client)):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-away"), answer.text
        with listening(port):
            wait_until(lambda: client.get("/readyz").is_success, "the store to be found again")
            assert search(client).json() == found.json()
    assert not [*tmp_path.rglob("*.lance")]


def test_service_is_moved_from_a_disk_by_copying_its_files(tmp_path: Path, storage_url: str) -> None:
    disk, there = tmp_path / "disk", tmp_path / "there"
    with serving(Settings(data_dir=disk)) as client:
        filled(client)
        found = search(client).json()
    store = ObjectStore(storage_url)
    for path in (disk / "galleries").rglob("*"):
        if path.is_file() and path.parent.suffix != ".sha256":
            store.upload(path, path.relative_to(disk).as_posix())
    there.mkdir()
    (disk / "crosswalk.db").rename(there / "crosswalk.db")
    with serving(Settings(data_dir=there, storage_url=storage_url)) as client:
        assert search(client).json() == found
        assert put(client).is_success


def filled(client: httpx.Client) -> None:
    """Gives a service its model, its gallery and the items."""
    assert client.post("/models", json={"id": "m", "dimension": 2, "metric": "l2"}).is_success
    assert client.post("/galleries", json={"id": "g", "model": "m"}).is_success
    assert put(client).is_success


def put(client: httpx.Client) -> httpx.Response:
    return client.put("/galleries/g/items", params={"model": "m"}, json=ITEMS)


def search(client: httpx.Client) -> httpx.Response:
    return client.get("/search", params={"gallery": "g", "model": "m", "vector": "1,0", "k": 3})
