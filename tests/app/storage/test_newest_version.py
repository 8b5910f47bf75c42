"""The newest version is told whoever committed it, and Lance is asked only where there may be another."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from app.storage.lance_table import Table
from app.storage.newest_version import NewestVersion


class Asked:
    """A dataset that counts how often it is asked for its newest version."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset
        self.times = 0

    @property
    def latest_version(self) -> int:
        self.times += 1
        return int(self._dataset.latest_version)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table.create(tmp_path / "items.lance", [pa.field("label", pa.string())])


def _put(table: Table, number: int) -> None:
    rows = pa.table(
        {"id": [f"i{number}"], "label": ["l"]}, schema=pa.schema([("id", pa.string()), ("label", pa.string())])
    )
    table.upsert(rows.schema, rows.to_batches())


def _newest(table: Table) -> tuple[NewestVersion, Asked]:
    asked = Asked(lance.dataset(table.uri))
    return NewestVersion(asked, Path(table.uri)), asked


def test_each_commit_is_told_at_once(table: Table) -> None:
    newest, _ = _newest(table)
    for number in range(30):
        _put(table, number)
        assert newest.get() == newest.get() == lance.dataset(table.uri).version


def test_lance_is_asked_once_while_nothing_is_committed(table: Table) -> None:
    newest, asked = _newest(table)
    for number in range(3):
        _put(table, number)
        for _ in range(5):
            newest.get()
    assert asked.times == 3


def test_versions_that_came_and_were_cleaned_up_since_are_passed(table: Table) -> None:
    newest, _ = _newest(table)
    before = newest.get()
    for number in range(3):
        _put(table, number)
    lance.dataset(table.uri).cleanup_old_versions(older_than=timedelta(0))
    assert not (Path(table.uri) / "_versions" / f"{2**64 - 2 - before:020}.manifest").exists()
    assert newest.get() == lance.dataset(table.uri).version > before
