"""Copying into targets of files, of LanceDB and of Milvus goes on after a kill, and writes every item once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.stores.copying import copy_vectors
from app.stores.protocol import Place
from tests.app.stores.contract import TARGET, held, ids_of, scanned, unit_rows, vectors_by_id
from tests.app.stores.copy_files import copying_files, crossed_files
from tests.app.stores.test_faiss_file import FaissWorld
from tests.app.stores.test_files import FilesWorld
from tests.app.stores.test_lancedb import LanceWorld
from tests.app.stores.test_milvus_store import MilvusWorld
from tests.app.stores.world import StoreWorld, UserItem, opened
from tests.services import MilvusProcess
from tests.waiting import PATIENCE_SECONDS

ITEMS = 40


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    process = MilvusProcess(tmp_path_factory.mktemp("milvus") / "store")
    process.start()
    yield process
    process.kill()


WORLDS: dict[str, Callable[[Path], StoreWorld]] = {
    "files": lambda folder: FilesWorld(folder, "faq.parquet", ["faq.parquet"]),
    "lancedb": LanceWorld,
    "faiss": lambda folder: FaissWorld(folder, "Flat", None, link=False),
}


@pytest.fixture(params=[*WORLDS, "milvus"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> StoreWorld:
    if request.param == "milvus":
        return MilvusWorld(request.getfixturevalue("milvus"), alias=False)
    return WORLDS[request.param](tmp_path)


def test_a_killed_copy_goes_on_and_follows_what_changed_meanwhile(world: StoreWorld, tmp_path: Path) -> None:
    rows = unit_rows(ITEMS, world.dimension)
    items = [
        UserItem(id_, row, payload={"shop": "a", "tags": []}) for id_, row in zip(world.ids(ITEMS), rows, strict=True)
    ]
    world.insert(items)
    place = Place(world.place.collection, world.place.id, world.place.vector)
    store = opened(world.connection, place)
    store.make_target(TARGET)

    trigger = Trigger(Failpoint.STORE_BATCH_WRITTEN, "step", 3, "kill")
    variables = os.environ | {FAILPOINT: str(trigger), JOURNAL: str(tmp_path / "journal")}
    options = [world.connection.kind, dict(world.connection.options), [place.collection, place.id, place.vector]]
    command = [sys.executable, "-m", "tests.app.stores.copy_files", json.dumps(options), str(tmp_path / "ledgers")]
    ended = subprocess.run(command, env=variables, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert 0 < len(held(store)) < ITEMS

    world.delete([items[1].id, items[30].id])
    world.change(UserItem(items[2].id, rows[0], payload={"shop": "b", "tags": []}))
    copied = copy_vectors(copying_files(world.connection, place, tmp_path / "ledgers"))
    old = vectors_by_id(scanned(store, ["id", "vector"]))
    new = held(store)
    assert (copied.items, copied.behind) == (ITEMS - 2, 0)
    assert new.keys() == old.keys() == world.everything().keys()
    for id_, vector in old.items():
        np.testing.assert_allclose(new[id_], crossed_files(vector[None])[0], atol=1e-5)
    assert len([id_ for batch in store.written(TARGET, batch_rows=7) for id_ in ids_of(batch)]) == ITEMS - 2
    store.close()
