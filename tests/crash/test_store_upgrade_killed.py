"""kill -9 in the middle of writing new vectors into a user's own table, whose application goes on all the while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from models.portable import Space
from tests.crash.test_upgrade_killed import killed
from tests.e2e.service import Service
from tests.e2e.user import Scene, checked
from tests.vector_table import TABLE, VECTOR, VectorTable, connections_file
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import OLD, Floats, world

ITEMS, WRITES_PER_SECOND = 2_000, 500


class Application(threading.Thread):
    """Inserts, updates and deletes one item after another, and knows what must be in the table."""

    def __init__(self, table: VectorTable, ids: list[str], vectors: Floats) -> None:
        super().__init__(name="application", daemon=True)
        self.expected = dict(zip(ids, vectors, strict=True))
        self._uri = table.uri
        self._stopping = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.failed = error

    def stop(self) -> None:
        self._stopping.set()
        self.join(PATIENCE_SECONDS)
        assert self.failed is None, self.failed

    def _work(self) -> None:
        rng = np.random.default_rng(0)
        with psycopg.connect(self._uri, autocommit=True) as connection:
            number = 0
            while not self._stopping.wait(0.02):
                known, vector = list(self.expected), rng.normal(size=OLD).astype(np.float32)
                some = known[int(rng.integers(len(known)))]
                what = number % 3
                if what == 0:
                    some = f"new-{number}"
                    connection.execute(f"INSERT INTO {TABLE} (id, {VECTOR}) VALUES (%s, %s)", (some, _text(vector)))
                elif what == 1:
                    connection.execute(f"UPDATE {TABLE} SET {VECTOR} = %s WHERE id = %s", (_text(vector), some))
                else:
                    connection.execute(f"DELETE FROM {TABLE} WHERE id = %s", (some,))
                if what == 2:
                    del self.expected[some]
                else:
                    self.expected[some] = vector
                number += 1


def _text(vector: Floats) -> str:
    return str(vector.tolist())


@pytest.fixture
def table(postgres_url: str) -> VectorTable:
    return VectorTable.of_sqlalchemy(postgres_url, OLD)


@pytest.fixture
def service(tmp_path: Path, table: VectorTable) -> Iterator[Service]:
    """Embedded: gateway, worker and steps die together. A step stops once it has written its second batch."""
    stop = Trigger(Failpoint.STORE_BATCH_WRITTEN, "step", 2, "stop")
    variables = {
        "CROSSWALK_CONNECTIONS": str(connections_file(tmp_path, shop=table.uri)),
        FAILPOINT: str(stop),
        JOURNAL: str(tmp_path / "journal"),
    }
    running = Service(tmp_path, variables).start()
    yield running
    running.kill()


def test_upgrade_goes_on_and_the_application_loses_nothing(service: Service, table: VectorTable) -> None:
    items = world(ITEMS).gallery
    table.insert(items.id, items.old, items.label)
    application = Application(table, items.id, items.old)
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        scene = Scene(client, world(ITEMS))
        store = {"connection": "shop", "table": TABLE, "label": "topic", "max_writes_per_second": WRITES_PER_SECOND}
        checked(client.post("/galleries", json={"id": "faq", "model": scene.old, "store": store}), 201)
        scene.put_pairs(scene.world.pairs(200))
        body: dict[str, Any] = {"to": scene.new, "dataset": scene.dataset, "galleries": ["faq"], "method": "ridge"}
        body["gate"] = {"metric": "cmc@1", "require": {"at_least": 0.2}}
        upgrade = checked(client.post(f"/models/{scene.old}/upgrade", json=body), 202)["id"]
        step = wait_until(service.stopped_step, "a step to stop in the middle of writing")
        assert step is not None
        application.start()
        killed(service, step)
        (column,) = table.added()
        assert 0 < len(table.vectors(column)) < len(table.vectors(VECTOR))
        service.start()
        scene.reaches(upgrade, "active")
        application.stop()
        checked(client.post("/galleries/faq/follow"), 202)

        spaces = Space(scene.old, OLD, "cosine"), Space(scene.new, scene.world.gallery.new.shape[1], "cosine")
        crossing = open_crossing(UpgradeArtifacts(service.data / "artifacts", upgrade), *spaces)
        old = np.stack(list(application.expected.values()))
        wanted = dict(zip(application.expected, crossing.apply(old, None, np.zeros(len(old), bool)), strict=True))
        wait_until(lambda: _same(table.vectors(column), wanted), "every item to have its vector, and no other")
    assert {one: vector.tobytes() for one, vector in table.vectors(VECTOR).items()} == {
        one: vector.tobytes() for one, vector in application.expected.items()
    }


def _same(found: dict[str, Floats], wanted: dict[str, Floats]) -> bool:
    return found.keys() == wanted.keys() and all(
        np.allclose(found[one], vector, rtol=1e-4, atol=1e-5) for one, vector in wanted.items()
    )
