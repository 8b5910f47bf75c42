"""Copying into a target, against pgvector: nothing lost, nothing twice, whatever the user or a kill does meanwhile."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.stores.copying import Copied, Copying, WrittenWrong, copy_vectors
from app.stores.ledger import BEGUN, NOTHING, Ledger, id_hashes
from app.stores.pacing import WritePace
from app.stores.protocol import Place
from tests.app.stores.crossing import TARGET, crossed, crossing
from tests.waiting import PATIENCE_SECONDS

ITEMS = 95
NEW = f'"{TARGET.name}"'


class Table:
    """A user's table of 95 items, of which every tenth has no vector, with the target's column."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri = uri
        self._folder = folder
        self.run("DROP TABLE IF EXISTS items")
        self.run("CREATE TABLE items (id int PRIMARY KEY, embedding vector(8))")
        for number in range(ITEMS):
            self.run("INSERT INTO items VALUES (%s, %s)", number, None if number % 10 == 9 else vector(number))
        self.copying().open().make_target(TARGET)

    def copying(self, **others: object) -> Copying:
        return crossing(self._uri, Place("items"), self._folder, **others)  # type: ignore[arg-type]  # of Copying

    def run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description is not None else []

    def assert_crossed(self) -> None:
        """Every row with an old vector has the new one of it, and no other row has one."""
        for id_, old, new in self.run(f"SELECT id, embedding::text, {NEW}::text FROM items"):
            assert (old is None) == (new is None), id_
            if old is not None:
                np.testing.assert_allclose(numbers(new), crossed(numbers(old)[None])[0], atol=1e-5, err_msg=str(id_))

    def with_vectors(self) -> int:
        ((count,),) = self.run("SELECT count(embedding) FROM items")
        return int(str(count))


def vector(seed: int) -> str:
    return str(np.random.default_rng(seed).normal(size=8).astype(np.float32).tolist())


def numbers(text: object) -> npt.NDArray[np.float32]:
    return np.array([float(number) for number in str(text).strip("[]").split(",")], np.float32)


@pytest.fixture
def table(pgvector_url: str, tmp_path: Path) -> Table:
    return Table(pgvector_url, tmp_path / "ledgers")


def test_all_items_with_vectors_are_copied_once(table: Table) -> None:
    told: list[tuple[int, int]] = []
    with_vectors = table.with_vectors()
    copied = copy_vectors(table.copying(progress=lambda done, of: told.append((done, of))))
    table.assert_crossed()
    assert copied == Copied(with_vectors, 0, ITEMS - with_vectors, with_vectors, erased=0, rounds=2, behind=0)
    assert told == sorted(told)
    assert told[-1] == (with_vectors, ITEMS)
    assert copy_vectors(table.copying()) == Copied(
        with_vectors, 0, ITEMS - with_vectors, 0, erased=0, rounds=1, behind=0
    )


def test_what_the_user_has_changed_is_caught_up_with_and_nothing_else_is_written(table: Table) -> None:
    copy_vectors(table.copying())
    table.run("UPDATE items SET embedding = %s WHERE id IN (3, 4)", vector(1000))
    table.run("UPDATE items SET embedding = NULL WHERE id = 5")
    table.run("UPDATE items SET embedding = %s WHERE id = 9", vector(1001))
    table.run("DELETE FROM items WHERE id IN (6, 7)")
    table.run("INSERT INTO items VALUES (500, %s)", vector(1002))
    table.run("INSERT INTO items VALUES (7, %s)", vector(7))  # as it was, but for what we had written
    copied = copy_vectors(table.copying())
    table.assert_crossed()
    assert (copied.written, copied.erased, copied.behind) == (5, 1, 0)
    assert copied.items == table.with_vectors()
    assert copy_vectors(table.copying()).rounds == 1


def test_what_a_user_has_written_to_the_target_is_left_alone(table: Table) -> None:
    copy_vectors(table.copying())
    theirs = "[1,2,3,4,5,6]"
    table.run(f"INSERT INTO items (id, {NEW}) VALUES (600, %s)", theirs)
    assert copy_vectors(table.copying()).erased == 0
    assert table.run(f"SELECT {NEW}::text FROM items WHERE id = 600") == [(theirs,)]


@pytest.mark.parametrize(
    "point", [Failpoint.STORE_BATCH_BEGUN, Failpoint.STORE_BATCH_WRITTEN, Failpoint.STORE_BATCH_NOTED]
)
def test_a_copy_that_was_killed_goes_on_where_it_was(
    table: Table, pgvector_url: str, tmp_path: Path, point: Failpoint
) -> None:
    trigger = Trigger(point, "step", 4, "kill")
    variables = {**os.environ, FAILPOINT: str(trigger), JOURNAL: str(tmp_path / "journal")}
    command = [sys.executable, "-m", "tests.app.stores.copy_program", pgvector_url, "items", str(tmp_path / "ledgers")]
    ended = subprocess.run(command, env=variables, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == -signal.SIGKILL
    # Of what the killed process had written and not noted, one is gone and one has lost its vector.
    table.run("DELETE FROM items WHERE id = 34")
    table.run("UPDATE items SET embedding = NULL WHERE id = 35")
    noted = 4 if point is Failpoint.STORE_BATCH_NOTED else 3
    copied = copy_vectors(table.copying())
    table.assert_crossed()
    assert copied.items == table.with_vectors()
    # A batch is ten rows of which one has no vector; of the fourth two are gone.
    assert copied.written == table.with_vectors() - (noted * 9 - (2 if noted == 4 else 0))


def test_nothing_is_lost_of_what_a_client_does_throughout(table: Table) -> None:
    done = threading.Event()
    client = threading.Thread(target=busy_client, args=(table, done.is_set))
    client.start()
    try:
        copied = copy_vectors(table.copying(max_writes_per_second=200))
    finally:
        done.set()
        client.join()
    assert copied.rounds > 1
    copied = copy_vectors(table.copying())
    table.assert_crossed()
    assert (copied.items, copied.behind) == (table.with_vectors(), 0)


def busy_client(table: Table, done: Callable[[], bool]) -> None:
    """Inserts, updates, replaces, empties and deletes, until it is told to stop."""
    draw = random.Random(3)
    while not done():
        id_, kind = draw.randrange(130), draw.choice(["put", "put", "same", "empty", "delete"])
        if kind == "put":
            table.run(
                "INSERT INTO items VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding",
                id_,
                vector(draw.randrange(10_000)),
            )
        elif kind == "same":
            table.run(
                "WITH gone AS (DELETE FROM items WHERE id = %s RETURNING *) "
                "INSERT INTO items SELECT id + 1000, embedding FROM gone ON CONFLICT DO NOTHING",
                id_,
            )
        elif kind == "empty":
            table.run("UPDATE items SET embedding = NULL WHERE id = %s", id_)
        else:
            table.run("DELETE FROM items WHERE id = %s", id_)


def test_a_transformation_that_gives_no_vectors_of_the_target_is_refused_and_nothing_is_written(table: Table) -> None:
    for wrong in (lambda old: old, lambda old: np.full((len(old), 6), np.nan, np.float32)):
        with pytest.raises(ValueError, match="no finite vectors of 6"):
            copy_vectors(table.copying(transform=wrong))
    assert table.run(f"SELECT count({NEW}) FROM items") == [(0,)]


def test_vectors_that_are_not_what_was_written_are_noticed(table: Table) -> None:
    copy_vectors(table.copying())
    table.run(f"UPDATE items SET {NEW} = '[1,2,3,4,5,6]' WHERE {NEW} IS NOT NULL")
    with pytest.raises(WrittenWrong, match=TARGET.name):
        copy_vectors(table.copying())


def test_writes_are_spread_over_the_time_they_may_take() -> None:
    pace = WritePace(100.0)
    assert pace.most_at_once(2048) == 100
    began = time.monotonic()
    for _ in range(3):
        pace.wait(10)
    assert time.monotonic() - began >= 0.2
    assert WritePace(None).most_at_once(2048) == 2048


def test_a_ledger_that_broke_off_in_a_line_keeps_the_lines_before(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "one.ledger"
    ledger = Ledger(file)
    ids = id_hashes(["a", "b", "c"])
    ledger.note(ids, BEGUN)
    ledger.note(ids, np.array([7, 8, 9], np.uint64))
    ledger.note(ids[:1], NOTHING)
    ledger.close()
    file.write_bytes(file.read_bytes()[:-5])
    again = Ledger(file)
    assert again.marks(id_hashes(["c", "x", "a", "b"])).tolist() == [9, 0, 7, 8]
    assert len(again) == 3
    again.note(ids[1:2], NOTHING)
    again.gather()
    assert len(again) == 2
    assert again.known().tolist() == sorted([ids[0], ids[2]])
    again.close()
