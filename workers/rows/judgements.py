"""What the judged queries of a dataset say of the rows that they search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.datasets.store import RELEVANT
from app.storage.lance_table import Table
from models.evaluation.judged_metrics import Judgements

_IDS_AT_ONCE = 2_000

GradeByItem = Mapping[str, float]
"""By the id of an item, the grade that a query gives it: above 0 where it is relevant."""


@dataclass(frozen=True)
class JudgedRows:
    """judgements: those of items that are searched; missing: how many there are of items that are not."""

    judgements: Judgements
    missing: int


def grades_of(queries: Table, query_ids: Sequence[str]) -> list[GradeByItem]:
    """What is judged of each of the queries with these ids, in their order."""
    relevant: dict[str, str] = {}
    for start in range(0, len(query_ids), _IDS_AT_ONCE):
        part = queries.by_id(query_ids[start : start + _IDS_AT_ONCE], ["id", RELEVANT])
        relevant |= {one["id"]: one[RELEVANT] for one in part.to_pylist()}
    return [json.loads(relevant.get(id) or "{}") for id in query_ids]


def judged_rows(grades: Sequence[GradeByItem], gallery_ids: Sequence[str]) -> JudgedRows:
    """The judgements of queries, numbered by their place in `grades`, of the gallery rows with these ids."""
    row_of = {id: row for row, id in enumerate(gallery_ids)}
    query: list[int] = []
    row: list[int] = []
    grade: list[float] = []
    missing = 0
    for place, judged in enumerate(grades):
        for item, value in judged.items():
            if (found := row_of.get(item)) is None:
                missing += 1
                continue
            query.append(place)
            row.append(found)
            grade.append(value)
    judgements = Judgements(
        len(grades), np.array(query, np.int64), np.array(row, np.int64), np.array(grade, np.float64)
    )
    return JudgedRows(judgements, missing)
