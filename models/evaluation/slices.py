"""Compares two searches by the same queries in slices, such as the queries of one label or of one payload value.

Each slice is judged by its own 95 % interval, without correction for multiple comparisons: of slices where nothing
changed, one in forty loses by chance, and `losing_by_chance` is the number to expect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.evaluation.bootstrap import Interval
from models.evaluation.compatibility import criterion
from models.evaluation.retrieval_metrics import Flips, flips

FEWEST_QUERIES = 20  # of a slice: with fewer, the bootstrap's interval is too narrow to judge by
MOST_SLICES = 1000
BY_CHANCE = 0.025

Value = str | int | float | bool


@dataclass(frozen=True)
class Slice:
    """The queries with one value of a field, `queries` of them, and their mean metric before and after.

    difference: after − before with its interval, None where the queries are `too_few` to judge; losing: the whole
    interval is below 0. flips: of the answers at rank 1, None where they were not judged by label.
    """

    value: Value
    queries: int
    before: float
    after: float
    difference: Interval | None
    flips: Flips | None
    too_few: bool
    losing: bool


@dataclass(frozen=True)
class SlicedBy:
    """The slices of one field: first those that lose, the worst first, then the others by number of queries.

    unsliced: queries without a value; omitted: slices left out beyond `MOST_SLICES`; losing, judged: numbers of slices;
    losing_by_chance: how many would lose if nothing had changed.
    """

    name: str
    slices: tuple[Slice, ...]
    unsliced: int
    omitted: int
    losing: int
    judged: int
    losing_by_chance: float


def slice_by(
    name: str,
    values: NDArray[Any],
    before: Floats,
    after: Floats,
    first: tuple[Floats, Floats] | None = None,
    *,
    seed: int = 0,
) -> SlicedBy:
    """Compares two searches in slices of queries that have equal `values` of the field `name`.

    values: (m,) strings, numbers or booleans, None or NaN for a query of no slice; before, after: (m,) the metric of
    every query, NaN where not counted; first: the same pair for the answers at rank 1, 1 right, 0 wrong, NaN not
    counted. Raises ValueError where the lengths differ or a value is of another type.
    """
    if len(values) != len(before):
        raise ValueError(f"{name} has {len(values)} values where there are {len(before)} queries")
    counted = ~np.isnan(before) & ~np.isnan(after)
    members: dict[tuple[type, Value], list[int]] = {}
    unsliced = 0
    for row, value in enumerate(np.asarray(values).tolist()):
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            unsliced += 1
        elif not isinstance(value, Value):
            raise ValueError(f"{name} of query {row} is a {type(value).__name__}: a slice is a text, number or truth")
        elif counted[row]:
            members.setdefault((type(value), value), []).append(row)
    slices = [_slice(value, np.array(rows), before, after, first, seed) for (_, value), rows in members.items()]
    slices.sort(key=lambda s: (not s.losing, s.after - s.before if s.losing else -s.queries, str(s.value)))
    judged = sum(not s.too_few for s in slices)
    return SlicedBy(
        name=name,
        slices=tuple(slices[:MOST_SLICES]),
        unsliced=unsliced,
        omitted=max(0, len(slices) - MOST_SLICES),
        losing=sum(s.losing for s in slices),
        judged=judged,
        losing_by_chance=BY_CHANCE * judged,
    )


def counted_flips(before: Floats, after: Floats) -> Flips:
    """Flips among the queries that count both before and after; (m,) each, 1 right, 0 wrong, NaN not counted."""
    counted = ~np.isnan(before) & ~np.isnan(after)
    return flips(before[counted], after[counted])


def _slice(
    value: Value,
    rows: NDArray[np.int64],
    before: Floats,
    after: Floats,
    first: tuple[Floats, Floats] | None,
    seed: int,
) -> Slice:
    judged = None if len(rows) < FEWEST_QUERIES else criterion(after[rows], before[rows], seed=seed)
    return Slice(
        value=value,
        queries=len(rows),
        before=float(before[rows].mean()),
        after=float(after[rows].mean()),
        difference=None if judged is None else judged.difference,
        flips=None if first is None else counted_flips(first[0][rows], first[1][rows]),
        too_few=judged is None,
        losing=judged is not None and judged.verdict == "worse",
    )
