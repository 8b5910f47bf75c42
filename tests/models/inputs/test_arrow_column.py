"""A column on disk is a sequence like any other."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.inputs import ArrowColumn, InputSubset

VALUES = [f"text {number}" for number in range(7)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Seven rows in batches of 3, 0, 1 and 3."""
    schema = pa.schema([("other", pa.int64()), ("text", pa.string()), ("image", pa.large_binary())])
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for start, end in ((0, 3), (3, 3), (3, 4), (4, 7)):
            some = VALUES[start:end]
            columns = [pa.array(range(start, end), pa.int64()), some, [text.encode() for text in some]]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return path


def test_every_row_is_found_in_whatever_order_it_is_asked_for(path: Path) -> None:
    column = ArrowColumn(path, "text")
    assert len(column) == 7
    assert [column[place] for place in (6, 0, 3, 2, 4, 5, 1)] == [VALUES[place] for place in (6, 0, 3, 2, 4, 5, 1)]
    assert column[1:6:2] == VALUES[1:6:2]
    assert list(column) == VALUES
    assert ArrowColumn(path, "image")[3] == b"text 3"
    assert [InputSubset(column, np.array([5, 5, 0]))[place] for place in range(3)] == [VALUES[5], VALUES[5], VALUES[0]]


@pytest.mark.parametrize("place", [7, -1, 100])
def test_a_row_that_is_not_there_is_refused(path: Path, place: int) -> None:
    with pytest.raises(IndexError):
        ArrowColumn(path, "text")[place]


def test_sending_it_to_another_process_costs_next_to_nothing(path: Path) -> None:
    column = ArrowColumn(path, "text")
    assert column[0] == VALUES[0]  # opened, and yet
    sent = pickle.dumps(column)
    assert len(sent) < 1_000
    assert list(pickle.loads(sent)) == VALUES
