"""How often items were found: every gateway counts, the database has the sum, and nothing is counted that was not."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from app.composition import compose
from app.galleries import traffic
from app.galleries.info import GalleryInfo
from app.galleries.orders import by_traffic, most_urgent
from app.galleries.schemas import NewGallery
from app.galleries.traffic import ItemTraffic
from app.index import PADDING
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from tests.waiting import PATIENCE_SECONDS

NEVER_SOON = 3600.0
ROWS = np.arange(5)


@pytest.fixture
def shop(each_settings: Settings, each_database: Database) -> GalleryInfo:
    made = compose(each_settings, each_database)
    made.models.create(NewModel(id="old", dimension=2, metric="ip"))
    made.galleries.create(NewGallery(id="shop", model="old"))
    return made.galleries.info("shop")


def counted(database: Database, info: GalleryInfo, *answers: list[list[int]], seconds: float = NEVER_SOON) -> list[int]:
    """What a gateway that answered so has added up in the end."""
    gateway = ItemTraffic(database, seconds)
    for answer in answers:
        gateway.found(info, np.array(answer, np.int64))
    gateway.close()
    return [int(count) for count in gateway.counts("shop").of(ROWS)]


def test_what_gateways_found_is_added_up(shop: GalleryInfo, each_database: Database) -> None:
    assert counted(each_database, shop, [[3, 1], [3, PADDING]], [[3, 4]]) == [0, 1, 0, 3, 1]
    assert counted(each_database, shop, [[1, 99]]) == [0, 2, 0, 3, 1]
    assert counted(each_database, shop, [[1]], seconds=0) == [0, 2, 0, 3, 1]


def test_of_more_than_is_written_at_one_time_the_most_frequent_are(
    shop: GalleryInfo, each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_MOST_ITEMS", 2)
    assert counted(each_database, shop, [[0, 1, 2, 3, 4], [2, 4, 4, 2, 0]]) == [0, 0, 3, 0, 3]


def test_memory_for_what_waits_is_bounded(
    shop: GalleryInfo, each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_MOST_NUMBERS", 3 + 2 * 32)
    assert counted(each_database, shop, [[0, 1]], [[2, 3]], [[4]]) == [1, 1, 0, 0, 1]
    assert counted(each_database, shop, [[], [], []], [[0, 1]], [[4]], [[4]]) == [2, 2, 0, 0, 2]


def test_what_waits_keeps_no_more_than_itself(shop: GalleryInfo, each_database: Database) -> None:
    gateway = ItemTraffic(each_database, NEVER_SOON)
    rows = np.array([[1, 2], [3, 4]])
    of_all = weakref.ref(rows)
    gateway.found(shop, rows[:1])
    del rows
    assert of_all() is None
    gateway.close()
    assert gateway.counts("shop").of(ROWS).tolist() == [0, 1, 1, 0, 0]


def test_closing_waits_for_a_thread_that_is_writing(
    shop: GalleryInfo, each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    write = ItemTraffic._write

    def begun(self: ItemTraffic) -> None:
        if threading.current_thread() is not threading.main_thread():
            writing.set()
            assert go_on.wait(PATIENCE_SECONDS)
        write(self)

    monkeypatch.setattr(ItemTraffic, "_write", begun)
    gateway = ItemTraffic(each_database, 0.001)
    gateway.found(shop, np.array([[1, 1]]))
    assert writing.wait(PATIENCE_SECONDS)
    gateway.close()
    assert gateway.counts("shop").of(ROWS).tolist() == [0, 2, 0, 0, 0]
    go_on.set()


def test_what_is_counted_at_one_time_is_one_commit(
    shop: GalleryInfo, each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_ROWS_AT_ONCE", 2)
    gateway, commits = ItemTraffic(each_database, NEVER_SOON), list[Any]()
    gateway.found(shop, ROWS.reshape(1, -1))
    event.listen(each_database.engine, "commit", commits.append)
    gateway.close()
    assert len(commits) == 1
    assert gateway.counts("shop").of(ROWS).tolist() == [1] * 5


def test_a_gallery_registered_anew_inherits_no_counts(shop: GalleryInfo, each_settings: Settings) -> None:
    made = compose(each_settings)
    assert counted(made.database, shop, [[1]]) == [0, 1, 0, 0, 0]
    gateway = ItemTraffic(made.database, NEVER_SOON)
    gateway.found(shop, np.array([[2]]))
    made.galleries.delete("shop")
    made.galleries.create(NewGallery(id="shop", model="old"))
    gateway.close()
    assert gateway.counts("shop").of(ROWS).tolist() == [0] * 5
    made.close()


def test_an_item_that_is_found_often_goes_before_one_that_is_farther_off() -> None:
    urgency = by_traffic(np.array([0.3, 0.1, np.nan, 0.2], np.float32), np.array([0, 4, 0, 0]))
    np.testing.assert_allclose(urgency[[0, 1, 3]], [0.3, 0.5, 0.2], rtol=1e-6)
    assert most_urgent(np.arange(4), urgency, 4).tolist() == [2, 1, 0, 3]
