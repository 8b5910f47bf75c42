"""What searching costs the database: one session for each search after a commit, of which a small pool serves any
number, and none while nothing is committed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import generations
from app.galleries.schemas import NewGallery
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.lance_table import vector_type
from app.upgrades.states import UpgradeState
from models.portable import Space, save_transformation
from tests.app.crossings import affine
from tests.serving import serving
from tests.upgrade_rows import store_upgrade
from tests.waiting import wait_until

CONNECTIONS, SEARCHES = 5, 64
OLD, NEW = Space("old", 3, "l2"), Space("new", 4, "l2")
VECTORS = {"old": [1.0, 0.0, 0.0], "new": [1.0, 0.0, 0.0, 0.0], "stranger": [1.0, 0.0]}


@dataclass
class SearchedGallery:
    """A gallery of three items in the space of `old`. Queries of `new` are pushed back to it by a learned crossing,
    and those of `stranger` have no route."""

    client: httpx.Client
    crosswalk: Crosswalk

    def __post_init__(self) -> None:
        for model, vector in VECTORS.items():
            self.crosswalk.models.create(NewModel(id=model, dimension=len(vector), metric="l2"))
        self.crosswalk.galleries.create(NewGallery(id="g", model="old"))
        schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(OLD.dimension))])
        cells = [pa.array(["a", "b", "c"]), pa.array([[1, 0, 0], [0, 2, 0], [0, 0, 3]], vector_type(OLD.dimension))]
        store = self.crosswalk.galleries.store(self.crosswalk.galleries.info("g"))
        store.put(
            "old", OLD.dimension, lambda: (), schema, lambda: iter([pa.RecordBatch.from_arrays(cells, schema=schema)])
        )
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, "u")
        for path in (artifacts.chosen, artifacts.plain):
            save_transformation(affine(OLD, NEW), path)
        store_upgrade(self.crosswalk.database, "u", UpgradeState.READY, ["g"])

    def derive_generations(self, count: int) -> None:
        """Gives the gallery as many more generations, each in the space of another model."""
        for number in range(count):
            name = f"later-{number}"
            self.crosswalk.models.create(NewModel(id=name, dimension=2, metric="l2"))
            with self.crosswalk.database.session() as session:
                generations.build(session, "g", Space(name, 2, "l2"), f"upgrade-{number}")

    def search(self, model: str, *, many: bool = False) -> httpx.Response:
        if many:
            return self.client.post("/search", json={"gallery": "g", "model": model, "vectors": [VECTORS[model]] * 2})
        vector = ",".join(map(str, VECTORS[model]))
        return self.client.get("/search", params={"gallery": "g", "model": model, "vector": vector})


@pytest.fixture
def world(each_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchedGallery]:
    """On SQLite and on PostgreSQL in turn, over a small pool of connections. The API keys, which are read once a second
    whatever is searched, are read once in all, and nothing looks at the queries after they are answered, nor counts
    what was found."""
    monkeypatch.setattr("app.keys.ring.FRESH_SECONDS", float("inf"))
    applications: list[FastAPI] = []
    quiet = {"database_connections": CONNECTIONS, "space_guard": "off", "traffic_seconds": 0.0}
    settings = each_settings.model_copy(update=quiet)
    with serving(settings, more=applications.append) as client:
        yield SearchedGallery(client, applications[0].state.crosswalk)


@dataclass
class Counted:
    """The transactions that sessions began, and the statements sent in them."""

    sessions: int = 0
    statements: list[str] = field(default_factory=list)


@contextmanager
def counted(engine: Engine) -> Iterator[Counted]:
    """Counts what happens while the context is open."""
    count = Counted()

    def began(_session: Session, _transaction: Any, connection: Connection) -> None:
        count.sessions += connection.engine.pool is engine.pool  # and not of another service in this process

    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            count.statements.append(statement)

    event.listen(Session, "after_begin", began)
    event.listen(engine, "before_cursor_execute", sent)
    try:
        yield count
    finally:
        event.remove(Session, "after_begin", began)
        event.remove(engine, "before_cursor_execute", sent)


@pytest.mark.parametrize("many", [False, True], ids=["one query", "many queries"])
def test_search_takes_one_session_and_as_many_statements_whatever_the_number_of_generations(
    world: SearchedGallery, many: bool
) -> None:
    expected = {"old": ("direct", 2), "new": ("instant", 5), "stranger": (None, 6)}
    for later in (0, 6):
        world.derive_generations(later)
        for model, (route, statements) in expected.items():
            with counted(world.crosswalk.database.engine) as count:
                answer = world.search(model, many=many)
            assert answer.status_code == (409 if route is None else 200), answer.text
            assert answer.json().get("route") == route
            assert (count.sessions, len(count.statements)) == (1, statements), count.statements


@pytest.mark.parametrize("many", [False, True], ids=["one query", "many queries"])
def test_search_takes_no_session_while_nothing_is_committed(world: SearchedGallery, many: bool) -> None:
    def kept(model: str) -> bool:
        with counted(world.crosswalk.database.engine) as count:
            assert world.search(model, many=many).status_code == 200
        return count.sessions == 0

    for model in ("old", "new"):
        wait_until(lambda model=model: kept(model), "PostgreSQL's own work to pause")  # type: ignore[misc]


def test_body_that_may_hold_old_vectors_takes_no_session_while_nothing_is_committed(world: SearchedGallery) -> None:
    """Whether it does is seen when it is decoded, so that both routes are looked up, of which the gallery lacks one."""
    table, sink = pa.table({"vector": pa.array([VECTORS["old"]], vector_type(OLD.dimension))}), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)

    def kept() -> bool:
        with counted(world.crosswalk.database.engine) as count:
            world.client.post(
                "/search?gallery=g&model=old",
                content=sink.getvalue(),
                headers={"content-type": "application/vnd.apache.arrow.stream"},
            ).raise_for_status()
        return count.sessions == 0

    wait_until(kept, "PostgreSQL's own work to pause")


def test_many_searches_at_once_are_answered_over_a_few_connections(world: SearchedGallery) -> None:
    world.derive_generations(6)
    models = ["old", "new"] * (SEARCHES // 2)
    with ThreadPoolExecutor(SEARCHES) as threads:
        answers = list(threads.map(world.search, models))
    for model, answer in zip(models, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.json()["route"] == ("direct" if model == "old" else "instant")
        assert len(answer.json()["results"]) == 3


def test_no_session_is_open_while_an_index_is_searched(world: SearchedGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    index = world.crosswalk.live.index

    def watched(*arguments: Any) -> Any:
        held.append(world.crosswalk.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        return index(*arguments)

    monkeypatch.setattr(world.crosswalk.live, "index", watched)
    for model in ("old", "new"):
        assert world.search(model).status_code == 200
    assert held == [0, 0]
