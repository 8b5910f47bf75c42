"""Copying into targets of every kind of document store: after a kill and under a busy user, nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.stores.copying import copy_vectors
from tests.app.stores.chroma_world import ChromaWorld
from tests.app.stores.contract import TARGET, held, scanned, unit_rows, vectors_by_id
from tests.app.stores.copy_elsewhere import copying, crossed_over, told
from tests.app.stores.elasticsearch_world import ElasticsearchWorld
from tests.app.stores.qdrant_world import QdrantWorld
from tests.app.stores.world import StoreWorld, UserItem, opened
from tests.chroma_server import chroma_server
from tests.noida_server import noida_server
from tests.qdrant_server import qdrant_server
from tests.waiting import PATIENCE_SECONDS

KINDS: dict[str, tuple[Callable[[], Any], Callable[[str], StoreWorld]]] = {
    "qdrant, named vectors": (qdrant_server, lambda url: QdrantWorld(url, named=True)),
    "qdrant, by an alias": (qdrant_server, lambda url: QdrantWorld(url, named=False)),
    "elasticsearch": (noida_server, ElasticsearchWorld),
    "chroma": (chroma_server, ChromaWorld),
}
ITEMS = 60


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def world(request: pytest.FixtureRequest) -> Iterator[StoreWorld]:
    server, make = request.param
    with server() as url:
        yield make(url)


def some_items(world: StoreWorld, ids: Sequence[str], seed: int) -> list[UserItem]:
    rows = unit_rows(len(ids), world.dimension, seed)
    return [UserItem(id, row, payload={"shop": f"{seed}"}) for id, row in zip(ids, rows, strict=True)]


def test_nothing_is_lost_by_a_kill_nor_of_what_the_user_does_throughout(world: StoreWorld, tmp_path: Path) -> None:
    ids = world.ids(ITEMS + 20)
    world.insert(some_items(world, ids[:ITEMS], seed=0))
    store = opened(world.connection, world.place)
    store.make_target(TARGET)

    trigger = Trigger(Failpoint.STORE_BATCH_WRITTEN, "step", 4, "kill")
    variables = os.environ | {FAILPOINT: str(trigger), JOURNAL: str(tmp_path / "journal")}
    command = [sys.executable, "-m", "tests.app.stores.copy_elsewhere", told(world), str(tmp_path / "ledgers")]
    ended = subprocess.run(command, env=variables, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert 0 < len(held(store)) < ITEMS

    stop = threading.Event()
    user = threading.Thread(target=busy_user, args=(world, ids, stop.is_set))
    user.start()
    try:
        copy_vectors(copying(told(world), tmp_path / "ledgers"))
    finally:
        stop.set()
        user.join()
    last = copy_vectors(copying(told(world), tmp_path / "ledgers"))
    old = vectors_by_id(scanned(store, ["id", "vector"]))
    new = held(store)
    assert new.keys() == old.keys() == world.everything().keys()
    assert (last.items, last.behind) == (len(old), 0)
    for id, vector in old.items():
        np.testing.assert_allclose(new[id], crossed_over(vector[None])[0], atol=1e-5)
    again = copy_vectors(copying(told(world), tmp_path / "ledgers"))
    assert (again.written, again.erased, again.rounds) == (0, 0, 1)
    store.close()


def busy_user(world: StoreWorld, ids: Sequence[str], done: Callable[[], bool]) -> None:
    """Inserts, replaces by the same and by another vector, and deletes, until it is told to stop."""
    draw = random.Random(3)
    seed = 1
    while not done():
        seed += 1
        some = draw.sample(ids, 3)
        world.delete(some)
        world.insert(some_items(world, some[: draw.randrange(4)], seed=draw.choice([0, seed])))
