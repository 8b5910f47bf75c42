"""A gallery that is deleted while others search, list and write it: each is told that it is gone, none of a failure."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.composition import Crosswalk, compose
from app.deleted_meanwhile import deleted_since, why_gone
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING
from app.problems import DamagedFile, NotFound, Unavailable
from app.settings import Settings
from app.storage.lance_table import Table, TableGone
from app.storage.table_files import failed_table
from tests.late_writers import late_commit
from tests.serving import serving

ROUNDS = 5
ITEMS = {"items": [{"id": str(number), "embedding": [1.0, float(number)]} for number in range(20)]}
QUERY: dict[str, str | int] = {"gallery": "g", "model": "m", "k": 3}


@pytest.fixture
def beside(client: httpx.Client, settings: Settings) -> Iterator[Crosswalk]:
    """What another gateway on the same data is made of; gallery `g` is there."""
    client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}).raise_for_status()
    fill(client)
    made = compose(settings)
    yield made
    made.close()


def fill(client: httpx.Client) -> None:
    client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()
    client.put("/galleries/g/items", params={"model": "m"}, json=ITEMS).raise_for_status()


def table_of(gallery: str, crosswalk: Crosswalk) -> Path:
    return crosswalk.settings.galleries_dir / crosswalk.galleries.info(gallery).folder / "items.lance"


@pytest.mark.usefixtures("beside")
def test_whoever_works_on_a_gallery_that_is_deleted_is_told_that_it_is_gone(client: httpx.Client) -> None:
    asked: dict[str, Callable[[], httpx.Response]] = {
        "GET /search": lambda: client.get("/search", params=QUERY | {"vector": "1,2"}),
        "POST /search": lambda: client.post("/search", json=QUERY | {"vectors": [[1.0, 2.0]]}),
        "list": lambda: client.get("/galleries/g/items"),
        "put": lambda: client.put("/galleries/g/items", params={"model": "m"}, json=ITEMS),
        "describe": lambda: client.get("/galleries/g"),
    }
    done, answered = threading.Event(), Counter[tuple[str, int, str]]()

    def ask(name: str) -> None:
        while not done.is_set():
            answer = asked[name]()
            answered[name, answer.status_code, "" if answer.is_success else answer.json()["type"]] += 1

    threads = [threading.Thread(target=ask, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            client.delete("/galleries/g").raise_for_status()
            fill(client)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {(status, kind) for _, status, kind in answered} <= {(200, ""), (404, "/problems/not-found")}, answered


def test_a_search_that_began_before_its_gallery_was_deleted_finds_it_gone(beside: Crosswalk) -> None:
    resolved = beside.search_resolver.resolve("g", "m", None, EVERYTHING)
    beside.galleries.delete("g")
    with pytest.raises(TableGone) as gone:
        beside.live.index(resolved.gallery, resolved.gallery.active)
    assert isinstance(why_gone(beside, gone.value), NotFound)


def test_the_table_of_a_generation_that_was_removed_is_worth_another_try(beside: Crosswalk) -> None:
    generation = table_of("g", beside).parent / "generations" / "2.lance"
    assert isinstance(why_gone(beside, TableGone(str(generation))), Unavailable)


def test_a_table_that_should_be_there_is_told_as_damage(client: httpx.Client, beside: Crosswalk) -> None:
    table = table_of("g", beside)
    shutil.rmtree(table)
    problem = why_gone(beside, TableGone(str(table)))
    assert isinstance(problem, DamagedFile)
    assert "Gallery 'g' has lost a table" in str(problem)
    answers = (
        client.get("/search", params=QUERY | {"vector": "1,2"}),
        client.post("/search", json=QUERY | {"vectors": [[1.0, 2.0]]}),
        client.get("/galleries/g/items"),
    )
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(500, "/problems/damaged-file")] * 3


@pytest.fixture
def made_anew(beside: Crosswalk) -> tuple[Table, int]:
    """The table of gallery `g`, of which a late writer made a part anew after `g` was deleted, and the version that it
    had before."""
    folder = table_of("g", beside)
    table, late = Table(folder), late_commit(folder)
    version = table.version
    beside.galleries.delete("g")
    late()
    return table, version


def test_a_table_that_a_late_writer_made_anew_is_known_to_be_deleted(
    beside: Crosswalk, made_anew: tuple[Table, int]
) -> None:
    table, version = made_anew
    with pytest.raises(Exception, match="not found") as failed:
        list(table.scan(version=version))
    assert not isinstance(failed.value, TableGone), "a part of it is there"
    assert failed_table(failed.value) == table.uri
    assert isinstance(deleted_since(beside, table.uri), NotFound)


def test_whatever_fails_of_a_table_is_answered_by_whether_it_is_deleted(
    beside: Crosswalk, made_anew: tuple[Table, int], settings: Settings
) -> None:
    table, version = made_anew
    beside.galleries.create(NewGallery(id="other", model="m"))
    other = beside.galleries.store(beside.galleries.info("other")).items

    def routes(app: FastAPI) -> None:
        app.add_api_route("/deleted", lambda: table.by_row(np.arange(3), ["id"], version=version).num_rows)
        app.add_api_route("/there", lambda: other.count(version=999))

    with serving(settings, more=routes) as client:
        answers = [client.get(path) for path in ("/deleted", "/there")]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
        (404, "/problems/not-found"),
        (500, "/problems/internal-error"),
    ]


def test_a_generation_that_is_removed_is_worth_another_try_however_it_failed(beside: Crosswalk) -> None:
    generations = table_of("g", beside).parent / "generations"
    assert isinstance(deleted_since(beside, str(generations / "2.lance")), Unavailable)
    assert deleted_since(beside, str(generations / "1.lance")) is None
    assert deleted_since(beside, str(table_of("g", beside))) is None
