"""What training found out about its rows: a Parquet file, one line a row, and the same as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.upgrades.schemas import RowOrder, TrainingRow

COLUMNS = ["id", "label", "outlier", "suspect_label", "old_model_poor"]
_DIRECTION = {"outlier": "ascending", "suspect_label": "descending", "old_model_poor": "descending"}
_AT_ONCE = 65_536


def most_suspicious(path: Path, order: RowOrder, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` rows, the most suspicious first; none where nothing of that kind was found out.

    Holds a batch and `limit` rows at a time, however many there are.
    """
    by = [(order, _DIRECTION[order]), ("id", "ascending")]
    best: pa.Table | None = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE, columns=COLUMNS):
            known = pa.Table.from_batches([batch.filter(pc.is_finite(batch.column(order)))])
            together = known if best is None else pa.concat_tables([best, known])
            best = together.sort_by(by).slice(0, limit).combine_chunks()
    return [] if best is None else best.select(COLUMNS).to_pylist()


def as_csv(rows: Iterable[TrainingRow]) -> str:
    """A line of names, then one for each row; what is null is left empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(TrainingRow.model_fields)
    writer.writerows(row.model_dump().values() for row in rows)
    return out.getvalue()
