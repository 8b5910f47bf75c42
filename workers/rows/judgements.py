"""What the judged queries of a dataset say of the rows that they search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.datasets.store import RELEVANT
from app.storage.lance_table import Table
from models.evaluation.judged_metrics import Judgements

_IDS_AT_ONCE = 2_000


@dataclass(frozen=True)
class JudgedRows:
    """judgements: those of items that are searched; missing: how many there are of items that are not."""

    judgements: Judgements
    missing: int


def judged_rows(queries: Table, query_ids: Sequence[str], gallery_ids: Sequence[str]) -> JudgedRows:
    """The judgements of the queries with these ids, in their order, of the gallery rows with those ids."""
    row_of = {id: row for row, id in enumerate(gallery_ids)}
    query: list[int] = []
    row: list[int] = []
    grade: list[float] = []
    missing = 0
    for start in range(0, len(query_ids), _IDS_AT_ONCE):
        part = query_ids[start : start + _IDS_AT_ONCE]
        relevant = {one["id"]: one[RELEVANT] for one in queries.by_id(part, ["id", RELEVANT]).to_pylist()}
        for place, id in enumerate(part, start):
            for item, value in json.loads(relevant.get(id) or "{}").items():
                if (found := row_of.get(item)) is None:
                    missing += 1
                    continue
                query.append(place)
                row.append(found)
                grade.append(value)
    judgements = Judgements(
        len(query_ids), np.array(query, np.int64), np.array(row, np.int64), np.array(grade, np.float64)
    )
    return JudgedRows(judgements, missing)
