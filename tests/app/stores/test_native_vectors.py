"""Vectors that the new model really made, in place of transformed ones: they stay until the old vector changes."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.stores.batches import item_batch, vector_array
from app.stores.copying import copy_vectors
from app.stores.ledger import BEGUN, Ledger, id_hashes, ledger_file
from app.stores.native_vectors import write_native
from tests.app.stores.crossing import TARGET
from tests.app.stores.test_copying import NEW, Table, numbers, vector

REAL = np.random.default_rng(9).normal(size=(5, TARGET.dimension)).astype(np.float32)
IDS = ["0", "1", "2", "3", "4"]


class Backfilled(Table):
    """The table with all its vectors copied, and real ones for five of its items."""

    def __init__(self, uri: str, folder: Path) -> None:
        super().__init__(uri, folder)
        copy_vectors(self.copying())
        self.ledger = ledger_file(folder, TARGET.name)

    def read(self) -> pa.RecordBatch:
        """The five items with their marks as they are now, and their real vectors."""
        with closing(self.copying().open()) as store:
            found = store.by_id(IDS, ["id", "mark"])
        marks = dict(zip(found.column("id").to_pylist(), found.column("mark").to_pylist(), strict=True))
        mark = pa.array([marks[one] for one in IDS], pa.uint64())
        return item_batch(["id", "vector", "mark"], {"id": IDS, "vector": vector_array(REAL), "mark": mark})

    def write(self, items: pa.RecordBatch) -> list[str]:
        with closing(self.copying().open()) as store:
            return sorted(write_native(store, TARGET, self.ledger, items))

    def holds_real(self) -> list[str]:
        """Which of the five items have their real vector in the target."""
        new = {str(id): text for id, text in self.run(f"SELECT id, {NEW}::text FROM items WHERE {NEW} IS NOT NULL")}
        return [one for one, real in zip(IDS, REAL, strict=True) if np.allclose(numbers(new[one]), real, atol=1e-5)]


@pytest.fixture
def table(pgvector_url: str, tmp_path: Path) -> Backfilled:
    return Backfilled(pgvector_url, tmp_path / "ledgers")


def test_real_vectors_are_counted_and_stay_until_the_old_ones_change(table: Backfilled) -> None:
    items = table.read()
    assert table.write(items) == table.write(items) == IDS
    copied = copy_vectors(table.copying())
    assert (copied.native, copied.written, copied.rounds) == (5, 0, 1)
    assert table.holds_real() == IDS
    table.run("UPDATE items SET embedding = %s WHERE id = 1", vector(1000))
    assert copy_vectors(table.copying()).native == 4
    table.run("UPDATE items SET embedding = %s WHERE id = 1", vector(1))  # as it was when the real one was written
    table.run(f"UPDATE items SET {NEW} = NULL WHERE id = 2")  # lost from the target
    copied = copy_vectors(table.copying())
    assert (copied.native, copied.written) == (3, 2)
    assert table.holds_real() == ["0", "3", "4"]
    table.run(f"UPDATE items SET {NEW} = NULL WHERE id IN (0, 3, 4)")
    copy_vectors(table.copying())
    table.assert_crossed()


def test_an_item_that_changed_after_its_text_was_read_gets_no_vector_of_that_text(table: Backfilled) -> None:
    items = table.read()
    table.run("UPDATE items SET embedding = %s WHERE id = 0", vector(1000))  # not followed yet
    table.run("UPDATE items SET embedding = %s WHERE id = 1", vector(1001))
    table.run("DELETE FROM items WHERE id = 2")
    assert table.write(items) == ["3", "4"]
    copy_vectors(table.copying())
    assert table.write(items) == ["3", "4"]  # by now followed
    table.run("INSERT INTO items VALUES (2, %s)", vector(2))
    copy_vectors(table.copying())
    assert table.holds_real() == ["3", "4"]


def test_an_item_that_lost_its_old_vector_before_its_mark_was_read_gets_none(table: Backfilled) -> None:
    table.run("UPDATE items SET embedding = NULL WHERE id = 0")
    copy_vectors(table.copying())
    assert table.write(table.read()) == IDS[1:]
    assert table.run(f"SELECT id FROM items WHERE embedding IS NULL AND {NEW} IS NOT NULL") == []
    assert copy_vectors(table.copying()).rounds == 1  # no write is in doubt, since none was begun


def test_a_write_that_a_kill_left_in_doubt_is_transformed_anew_and_written_again(table: Backfilled) -> None:
    items = table.read()
    assert table.write(items) == IDS
    with closing(Ledger(table.ledger)) as ledger:
        ledger.note(id_hashes(IDS[:2]), BEGUN)
    assert table.write(items) == IDS[2:]
    assert copy_vectors(table.copying()).native == 3
    assert table.holds_real() == IDS[2:]
    assert table.write(items) == IDS
    assert table.holds_real() == IDS
