"""Paths that would leave the folder, and files that are not what they say: each is refused, and nothing outside is
read or written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.stores.files.folder import Folder
from app.stores.files.store import FileStore
from app.stores.protocol import Place, StoreAway, Target, WrongPlace

DIMENSION = 4
TARGET = Target("faq_g2", dimension=DIMENSION, metric="cosine")


def rows(count: int = 10) -> pa.Table:
    vectors = np.arange(count * DIMENSION, dtype=np.float32)
    return pa.table(
        {
            "key": [f"item {number}" for number in range(count)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIMENSION),
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shelf"
    root.mkdir()
    pq.write_table(rows(), root / "faq.parquet", compression="none", use_dictionary=False, write_page_checksum=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    pq.write_table(rows(), outside / "secret.parquet")
    return root


def store(root: Path, collection: str = "faq.parquet", **place: Any) -> FileStore:
    return FileStore(Folder(root, "shelf"), Place(collection, **{"id": "key", "vector": "vector", **place}))


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret.parquet",
        "a/../../outside/secret.parquet",
        "/etc/hostname",
        "",
        ".",
        "..",
        "faq.parquet\0",
        "link.parquet",
        "folder-link/secret.parquet",
        "ring",
        "pipe",
    ],
)
def test_no_path_leaves_the_folder_and_only_regular_files_are_opened(root: Path, path: str) -> None:
    (root / "link.parquet").symlink_to(root.parent / "outside" / "secret.parquet")
    (root / "folder-link").symlink_to(root.parent / "outside")
    (root / "ring").symlink_to("ring")
    os.mkfifo(root / "pipe")
    with pytest.raises(WrongPlace) as raised:
        store(root, path).describe()
    assert str(root.parent) not in str(raised.value)


def test_a_link_within_the_folder_is_followed(root: Path) -> None:
    (root / "current.parquet").symlink_to("faq.parquet")
    assert store(root, "current.parquet").describe().rows == 10


def test_a_link_put_in_place_of_a_directory_after_it_was_looked_at_is_not_followed(root: Path) -> None:
    (root / "sets").mkdir()
    folder = Folder(root, "shelf")
    pq.write_table(rows(), root / "sets" / "secret.parquet")
    resolved = folder.resolved("sets/secret.parquet")
    (root / "sets").rename(root / "moved")
    (root / "sets").symlink_to(root.parent / "outside")
    with pytest.raises(WrongPlace):
        folder.open(resolved)


def test_a_target_is_never_written_through_a_link(root: Path) -> None:
    (root / "faq.faq_g2.parquet").symlink_to(root.parent / "outside")
    with pytest.raises(WrongPlace, match="faq_g2"):
        store(root).make_target(TARGET)
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret.parquet"]


def cut(body: bytes) -> bytes:
    return body[: len(body) // 2]


def flipped(body: bytes) -> bytes:
    """One byte of a vector is another."""
    at = body.index(np.arange(DIMENSION, dtype=np.float32).tobytes())
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def endless_footer(body: bytes) -> bytes:
    return body[:-8] + b"\xff\xff\xff\x7f" + body[-4:]


@pytest.mark.parametrize("damage", [cut, flipped, endless_footer, lambda body: b"", lambda body: b"PAR1" * 100])
def test_a_damaged_parquet_file_is_refused(root: Path, damage: Callable[[bytes], bytes]) -> None:
    body = (root / "faq.parquet").read_bytes()
    (root / "faq.parquet").write_bytes(damage(body))
    with pytest.raises(WrongPlace, match=r"faq\.parquet"):
        list(store(root).scan(["id", "vector"], batch_rows=4))


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_whose_offsets_lead_out_of_it_is_refused(root: Path, make: Callable[..., Any]) -> None:
    table = rows()
    offsets = pa.py_buffer(np.array([0, *[10**6] * 9, 100], np.int32))
    forged = pa.Array.from_buffers(pa.string(), 10, [None, offsets, pa.py_buffer(b"x" * 100)])
    with make(root / "faq.arrow", table.schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([forged, table["vector"].chunk(0)], schema=table.schema))
    with pytest.raises(WrongPlace, match=r"faq\.arrow"):
        list(store(root, "faq.arrow").scan(["id"], batch_rows=4))


def test_a_stream_that_is_cut_between_two_batches_is_refused(root: Path) -> None:
    with pa.ipc.new_stream(root / "faq.arrow", rows().schema) as writer:
        writer.write_table(rows(), max_chunksize=5)
    body = (root / "faq.arrow").read_bytes()
    (root / "faq.arrow").write_bytes(body[:-8])
    with pytest.raises(WrongPlace, match="cut short"):
        store(root, "faq.arrow").describe()


def test_a_file_that_is_written_to_while_it_is_read_ends_the_reading(root: Path) -> None:
    scan = store(root).scan(["id"], batch_rows=4)
    next(scan)
    with (root / "faq.parquet").open("r+b") as file:
        file.write(b"\0" * 100)
        file.truncate(100)
    with pytest.raises(StoreAway, match="written to"):
        list(scan)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a"] * 10), "twice"),
        (pa.array([None] * 10, pa.string()), "null"),
        (pa.array([1.5] * 10), "no id"),
    ],
)
def test_ids_that_are_none_are_refused(root: Path, column: pa.Array, said: str) -> None:
    pq.write_table(rows().set_column(0, "key", column), root / "faq.parquet")
    with pytest.raises(WrongPlace, match=said):
        store(root).by_id(["a"], ["id"])


@pytest.mark.parametrize("vector", [[1.0] * 5, [1.0, None, 1.0, 1.0], []])
def test_a_vector_of_another_length_or_with_a_hole_is_refused_and_named(root: Path, vector: list[Any]) -> None:
    vectors = pa.array([[0.0] * DIMENSION] * 9 + [vector], pa.list_(pa.float64()))
    pq.write_table(rows().set_column(1, "vector", vectors), root / "faq.parquet")
    with pytest.raises(WrongPlace, match="item 9"):
        list(store(root).scan(["vector"], batch_rows=100))
