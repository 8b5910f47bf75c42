"""Tables in an object store: what a table promises on a disk, it promises there, whoever else writes or dies."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pytest

from app.galleries.generation_store import GenerationStore
from app.galleries.lineage import Projected
from app.problems import DamagedFile, ObjectStoreAway
from app.storage import lance_table, object_store
from app.storage.lance_table import ROW_ID, Table
from app.storage.location import Location, ObjectFolder
from app.storage.object_store import ObjectStore
from tests.services import free_port
from tests.waiting import PATIENCE_SECONDS

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64())])

WRITER = """
import sys
import pyarrow as pa
from app.storage.lance_table import StoredRows, Table
from app.storage.location import ObjectFolder

table, name = Table(ObjectFolder(sys.argv[1])), sys.argv[2]
schema = pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64())])

def one_more(stored: StoredRows) -> pa.RecordBatchReader:
    counted = stored.of(pa.array(["count"]), ["n"]).column("n")[0].as_py()
    batch = pa.record_batch([["count", f"{name}-{number}"], [(counted or 0) + 1, number]], schema=schema)
    return pa.RecordBatchReader.from_batches(schema, [batch])

for number in range(int(sys.argv[3])):
    table.upsert_over(one_more)
    print(number, flush=True)
"""
"""Puts a row at a time and counts it in another that all writers share, and says so when it is stored."""


@pytest.fixture(params=["disk", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "disk":
        return tmp_path
    return ObjectFolder(request.getfixturevalue("storage_url"))


def put(table: Table, rows: dict[str, int]) -> None:
    table.upsert(SCHEMA, [pa.record_batch([list(rows), list(rows.values())], schema=SCHEMA)])


def contents(table: Table, version: int | None = None) -> dict[str, int]:
    return {row["id"]: row["n"] for batch in table.scan(version=version) for row in batch.to_pylist()}


def test_rows_are_written_over_deleted_tagged_and_told_as_changes(place: Location) -> None:
    assert not Table.exists(place / "rows.lance")
    table = Table.create(place / "rows.lance", [SCHEMA.field("n")])
    assert Table.exists(place / "rows.lance")
    put(table, {"a": 1, "b": 2, "c": 3})
    with table.pinned("here") as version:
        put(table, {"b": 5, "d": 6})
        assert table.delete(["a"]) == 1
        assert Table.create(place / "rows.lance", [SCHEMA.field("n")]).version == table.version > version
        assert contents(table) == {"b": 5, "c": 3, "d": 6}
        assert contents(table, version) == {"a": 1, "b": 2, "c": 3}
        changes = table.changes(version)
        assert {row["id"] for batch in changes.written for row in batch.to_pylist()} == {"b", "d"}
        assert len(changes.removed) == 1
        assert table.tags() == ["here"]
    assert table.tags() == []
    table.check()


def test_rows_keep_their_row_ids_while_fragments_are_merged(place: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_table, "_FRAGMENTS_BEFORE_COMPACTION", 8)
    table = Table.create(place / "rows.lance", [SCHEMA.field("n")])
    put(table, {"a": 0, "b": 0})
    before = {row["id"]: row[ROW_ID] for batch in table.scan(["id"]) for row in batch.to_pylist()}
    for number in range(12):
        put(table, {"b": number})
    assert len(table.fragments(table.version)) < 8
    assert {row["id"]: row[ROW_ID] for batch in table.scan(["id"]) for row in batch.to_pylist()} == before


def test_threads_that_write_at_one_time_lose_nothing(place: Location) -> None:
    table = Table.create(place / "rows.lance", [SCHEMA.field("n")])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put(table, {f"i{number}": number}), range(8)))
    assert contents(table) == {f"i{number}": number for number in range(8)}


def test_vectors_of_a_generation_are_committed_in_pieces_and_made_anew(place: Location) -> None:
    store = GenerationStore(place / "1.lance", 2)

    def part(*rows: int) -> Projected:
        vectors = np.full((len(rows), 2), rows[0], np.float32)
        return Projected(np.array(rows), vectors, np.ones(len(rows), bool), np.full(len(rows), np.nan, np.float32))

    store.commit([*store.write_fragment(iter([part(1, 2)])), *store.write_fragment(iter([part(3)]))])
    store.apply(np.array([1]), [part(4)])
    assert sorted(store.standings().rows.tolist()) == [2, 3, 4]
    assert store.whole()
    store.remove()
    assert not Table.exists(place / "1.lance")
    store.rewrite(iter([part(7)]))
    assert store.standings().rows.tolist() == [7]


def test_data_that_a_version_names_and_the_store_has_not_is_damage(storage_url: str) -> None:
    table = Table.create(ObjectFolder(storage_url) / "rows.lance", [SCHEMA.field("n")])
    put(table, {"a": 1})
    store = ObjectStore(table.uri)
    (data,) = store.listed("data")
    store.remove([data.key])
    with pytest.raises(DamagedFile, match="is missing"):
        table.check()


def test_processes_that_write_at_one_time_lose_nothing(storage_url: str) -> None:
    table = Table.create(ObjectFolder(storage_url) / "rows.lance", [SCHEMA.field("n")])
    writers = [writer(table, name, 6) for name in ("a", "b")]
    for process in writers:
        assert process.wait(PATIENCE_SECONDS) == 0
    kept = contents(table)
    assert kept.pop("count") == len(kept) == 12, "no write was lost under the other's"


def test_killed_writer_leaves_what_it_said_was_stored_and_the_table_goes_on(storage_url: str) -> None:
    table = Table.create(ObjectFolder(storage_url) / "rows.lance", [SCHEMA.field("n")])
    process = writer(table, "a", 10_000)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(4)]
    process.kill()
    told += [int(line) for line in process.stdout.read().split()]
    process.wait(PATIENCE_SECONDS)
    process.stdout.close()
    kept = contents(table)
    assert kept["count"] == len(kept) - 1, "a write is there wholly or not at all"
    assert {f"a-{number}" for number in told} <= kept.keys()
    assert kept["count"] <= len(told) + 1, "but for one that was stored before that could be said"
    table.check()
    put(table, {"b": 1})
    now = contents(table)
    assert kept.keys() | {"b"} <= now.keys()
    assert now["count"] == len(now) - 2, "one more at most, which was on its way to the store"
    assert now["count"] - kept["count"] <= 1


def writer(table: Table, name: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, table.uri, name, str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_store_that_cannot_be_reached_is_said_in_one_line(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    store = ObjectStore("s3://nowhere-in-particular")
    assert not store.answers()
    with pytest.raises(ObjectStoreAway) as caught:
        store.listed("galleries")
    assert "s3://nowhere-in-particular" in caught.value.detail
    assert "\n" not in caught.value.detail


def test_object_of_a_store_without_etags_is_another_once_it_is_written_again() -> None:
    before, after = (object_store._stored("k", 1, None, datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2))
    assert before.etag != after.etag
    assert object_store._stored("k", 1, '"e"', before.written).etag == '"e"'


def test_answer_that_stops_halfway_is_said_and_not_waited_for(
    storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(object_store, "_SILENT_SECONDS", 0.5)
        Thread(target=half_an_answer, args=(server,), daemon=True).start()
        with pytest.raises(ObjectStoreAway, match="cannot be used"):
            ObjectStore("s3://halfway").download("x", tmp_path / "x")


def half_an_answer(server: socket.socket) -> None:
    """Answers each connection with less than it announces, and keeps it open."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: 1\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
    held = []
    with suppress(OSError):  # the server is closed
        while True:
            connection, _ = server.accept()
            held.append(connection)
            connection.recv(65_536)
            connection.sendall(head + b"1234")


def test_bucket_that_is_not_there_is_said(storage_url: str) -> None:
    with pytest.raises(ObjectStoreAway, match="cannot be used"):
        ObjectStore(f"{storage_url.rpartition('/')[0]}-not").upload(Path(__file__), "x")
