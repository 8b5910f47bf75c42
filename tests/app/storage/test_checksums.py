"""Checksums of a table's files: which write keeps which, and what of them is no damage."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pytest

from app.problems import DamagedFile
from app.storage.checksums import check_table, seals_of, unsealed
from app.storage.lance_table import Table

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("label", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table.create(tmp_path / "rows.lance", [SCHEMA.field("label")])
    put(made, "a")
    return made


def put(table: Table, name: str) -> None:
    table.upsert(SCHEMA, [pa.record_batch([[name], ["x"]], schema=SCHEMA)])


def test_a_write_seals_what_it_wrote_and_nothing_that_was_there_before(table: Table) -> None:
    path = Path(table.uri)
    assert unsealed(path) == 0
    shutil.rmtree(seals_of(path))
    before = unsealed(path)
    put(table, "b")
    table.delete(["a"])
    assert unsealed(path) <= before  # fewer where a file of before is none of the newest version's
    assert len(list(seals_of(path).iterdir())) > 0
    assert table.check() > 0


def test_an_empty_checksum_is_what_a_power_cut_leaves_and_no_damage(table: Table) -> None:
    path = Path(table.uri)
    for sidecar in seals_of(path).iterdir():
        sidecar.write_bytes(b"")
    assert check_table(path) == 0
    assert unsealed(path) > 0


def test_a_file_that_is_another_or_gone_is_damage(table: Table) -> None:
    data = next((Path(table.uri) / "data").iterdir())
    whole = data.read_bytes()
    data.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DamagedFile, match="checksum"):
        table.check()
    data.unlink()
    with pytest.raises(DamagedFile, match="missing"):
        table.check()


@contextmanager
def no_file_left() -> Iterator[None]:
    """As many files are open as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    held: list[int] = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_no_damage(table: Table) -> None:
    path = Path(table.uri)
    with no_file_left(), pytest.raises(OSError, match="Too many open files"):
        check_table(path)
    assert check_table(path) > 0
