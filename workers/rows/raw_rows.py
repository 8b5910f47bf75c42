"""A dataset's raw inputs in the order of ids, kept in one file for as long as they are learned from.

The file is the truth for every attempt: a dataset may be written to meanwhile, and a resumed training must read what
the interrupted one read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.storage.lance_table import Table
from models.inputs import ArrowColumn
from models.portable import replacing
from workers.rows.by_id import ROWS_AT_ONCE, unsorted, write_by_id

_VERSION = b"version"


@dataclass(frozen=True)
class RawRows:
    """n rows of a dataset as of `version`. id: (n,) object; inputs: encoded images or texts."""

    id: NDArray[Any]
    inputs: ArrowColumn
    version: int


def raw_rows(table: Table, column: str, path: Path) -> RawRows:
    """The rows with `column` ("image" or "text"), as they were when this was first called for `path`."""
    if not path.exists():
        _write(table, column, path)
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        ids = [one for number in range(reader.num_record_batches) for one in reader.get_batch(number)["id"].to_pylist()]
        return RawRows(np.array(ids, object), ArrowColumn(path, "input"), int(reader.schema.metadata[_VERSION]))


def _write(table: Table, column: str, path: Path) -> None:
    version = table.version
    kind = pa.large_string() if column == "text" else pa.large_binary()
    schema = pa.schema([("id", pa.string()), ("input", kind)], metadata={_VERSION: str(version).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, unsorted(path) as as_stored:
        with pa.OSFile(str(as_stored), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            rows = table.scan(["id", column], where=f"{column} IS NOT NULL", version=version, batch_rows=ROWS_AT_ONCE)
            for batch in rows:
                columns = [batch.column("id"), batch.column(column).cast(kind)]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        write_by_id(as_stored, partial, schema)
