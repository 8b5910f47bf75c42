"""Rows as a CSV file (RFC 4180)."""

import csv
import io
from collections.abc import Iterable

from app.upgrades.schemas import TrainingRow


def as_csv(rows: Iterable[TrainingRow]) -> str:
    """A line of names, then one for each row; what is null is left empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(TrainingRow.model_fields)
    writer.writerows(row.model_dump().values() for row in rows)
    return out.getvalue()
