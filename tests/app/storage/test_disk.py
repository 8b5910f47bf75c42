"""What a full or failing disk makes of every library that writes is told as such, and nothing else is."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg.errors
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.faiss_library import faiss
from app.problems import DamagedFile, DiskFailing, DiskFull, NotFound, Problem
from app.storage.database import Database
from app.storage.disk import disk_problem, server_disk_problem
from models.portable import publish, replacing

FULL = Path("/dev/full")  # takes nothing, as a full disk does


def _faiss_index() -> None:
    index = faiss.IndexFlatL2(8)
    index.add(np.zeros((5000, 8), np.float32))
    faiss.write_index(index, str(FULL))


def _numpy_file() -> None:
    with FULL.open("wb") as file:
        np.save(file, np.zeros(100_000))


def _arrow_file() -> None:
    with pa.OSFile(str(FULL), "wb") as file:
        file.write(bytes(100_000))


def _parquet_file() -> None:
    """Into an open file: where it is given a path, it removes that when it fails, devices too."""
    with pa.OSFile(str(FULL), "wb") as file:
        pq.write_table(pa.table({"a": np.random.default_rng(0).random(100_000)}), file)


WRITERS: dict[str, Callable[[], object]] = {
    "python": lambda: FULL.write_bytes(bytes(10)),
    "numpy": _numpy_file,
    "faiss": _faiss_index,
    "arrow": _arrow_file,
    "parquet": _parquet_file,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_is_told_whichever_library_met_it(writer: str, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each library raises its own
        WRITERS[writer]()
    problem = disk_problem(caught.value, tmp_path)
    assert isinstance(problem, DiskFull)
    assert (problem.status, problem.slug) == (503, "disk-full")
    assert "bytes are free" in problem.detail


@pytest.mark.parametrize(
    "error",
    [
        OSError("LanceError(IO): No space left on device (os error 28), lance-file/src/writer/structural.rs:190:9"),
        OSError("LanceError(IO): Generic LocalFileSystem error: Unable to copy data to file: Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        psycopg.errors.DiskFull('could not extend file "base/5/2619": No space left on device'),
        OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")),
    ],
    ids=repr,
)
def test_full_disk_is_told_from_what_libraries_say_of_it(error: Exception, tmp_path: Path) -> None:
    assert isinstance(disk_problem(error, tmp_path), DiskFull)
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = error
    assert isinstance(disk_problem(wrapped, tmp_path), DiskFull)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError("LanceError(IO): Generic LocalFileSystem error: Input/output error (os error 5)"),
        psycopg.errors.IoError("could not fsync file"),
    ],
    ids=repr,
)
def test_failing_disk_is_told_as_another_thing(error: Exception, tmp_path: Path) -> None:
    assert isinstance(disk_problem(error, tmp_path), DiskFailing)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        ValueError("No space left on device"),
        OSError("LanceError(IO): commit conflict (os error 2)"),
        NotFound("There is no gallery 'No space left on device'."),
        psycopg.errors.UniqueViolation("duplicate key"),
    ],
    ids=repr,
)
def test_other_errors_are_no_disk_problem(error: Exception, tmp_path: Path) -> None:
    assert disk_problem(error, tmp_path) is None


def test_a_database_server_speaks_of_its_own_disk_and_not_of_one_of_this_machine() -> None:
    full = OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file"))
    problem = server_disk_problem(full)
    assert isinstance(problem, DiskFull)
    assert "disk of the database server is full" in problem.detail
    assert "folder" not in problem.members
    away = OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed the connection"))
    away.__context__ = OSError(errno.ENOSPC, "No space left on device")  # met before, by something else
    assert server_disk_problem(away) is None


def test_database_that_may_not_grow_says_that_the_disk_is_full(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.session() as session:
        session.execute(text("CREATE TABLE a (x)"))
    with database.session() as session:
        session.execute(text("PRAGMA max_page_count = 3"))
        with pytest.raises(DiskFull, match=str(tmp_path)):
            session.execute(text("INSERT INTO a VALUES (zeroblob(100000))"))
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM a")).scalar() == 0
    database.close()


def test_damaged_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (x)")
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DamagedFile, match="is damaged"), database.read() as session:
        session.execute(text("SELECT * FROM a")).all()
    database.close()


def test_problem_is_raised_in_place_of_the_drivers_error_and_keeps_it_as_the_cause(tmp_path: Path) -> None:
    assert issubclass(DiskFull, Problem)
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "there" / "file"))
    problem = disk_problem(error, Path("/elsewhere"))
    assert problem is not None
    assert problem.members["folder"] == str(tmp_path)


def _half_written(path: Path) -> None:
    with replacing(path, sealed=True) as partial:
        partial.write_bytes(b"half")
        FULL.write_bytes(bytes(10))


def test_file_that_could_not_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    publish(path, b"old", sealed=True)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        _half_written(path)
    assert path.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before
