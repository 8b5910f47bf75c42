"""Reads the rows of a dataset or gallery that are evaluated, with their vectors of several models, as arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.evaluations.holdings import Holding, every
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID, Table, embedding_column
from workers.rows.partial import Partial

_IDS_AT_ONCE = 2_000

Reached = Callable[[pa.RecordBatch], tuple[Partial, NDArray[np.bool_]]]
"""From a batch of rows: their vectors in a model's space, and (n,) bool, whether the model itself made each."""


@dataclass(frozen=True)
class Evaluated:
    """n rows in the order of writing, drawn from the `held` rows with vectors in every space needed.

    id, label: (n,) object, None for no label; vectors, native: by model, (n, d) vectors in its space and (n,) bool,
    whether the model itself made them or a transformation did; side: (n, d_side).
    """

    id: NDArray[Any]
    label: NDArray[Any]
    vectors: Mapping[str, Partial]
    native: Mapping[str, NDArray[np.bool_]]
    side: Partial
    held: int

    def __len__(self) -> int:
        return len(self.id)

    @property
    def labelled(self) -> bool:
        return any(label is not None for label in self.label)

    def take(self, places: NDArray[np.int64]) -> Evaluated:
        """The rows at the given places, (k,) int64, in that order."""

        def part(whole: Partial) -> Partial:
            return Partial(whole.values[places], whole.has[places])

        return Evaluated(
            self.id[places],
            self.label[places],
            {model: part(vectors) for model, vectors in self.vectors.items()},
            {model: made[places] for model, made in self.native.items()},
            part(self.side),
            self.held,
        )

    def drawn(self, most: int, seed: int) -> Evaluated:
        """At most `most` of the rows, drawn at random."""
        return self if len(self) <= most else self.take(_drawn(len(self), most, seed))


def read(
    crosswalk: Crosswalk,
    holding: Holding,
    needed: Sequence[str],
    also: Sequence[str] = (),
    *,
    where: Sequence[str] = (),
    most: int,
    seed: int,
) -> Evaluated:
    """Reads the rows with a vector in the space of every model in `needed`, and also their vectors of the models in
    `also`. Of more than `most` rows, that many are drawn at random. where: further conditions that every row meets."""
    version, condition = holding.rows.version, every(*map(holding.reached, needed), *where)
    held = holding.rows.count(condition, version=version)
    drawn = None if held <= most else _drawn(held, most, seed)
    readers = {model: _reader(crosswalk, holding, model) for model in dict.fromkeys([*needed, *also])}
    wanted = ["id", "label", SIDE_INFORMATION, *(name for columns, _ in readers.values() for name in columns)]
    known = holding.rows.columns(version)
    columns = [name for name in dict.fromkeys(wanted) if name in known]
    parts: list[tuple[pa.RecordBatch, dict[str, tuple[Partial, NDArray[np.bool_]]]]] = []
    passed = 0
    for batch in holding.rows.scan(columns, where=condition, version=version):
        kept = batch if drawn is None else batch.take(pa.array(_within(drawn, passed, batch.num_rows)))
        passed += batch.num_rows
        if kept.num_rows:
            parts.append((kept, {model: reached(kept) for model, (_, reached) in readers.items()}))
    return _ordered(parts, list(readers), held)


def payload_values(items: Table, ids: Sequence[str], field: str) -> NDArray[Any]:
    """The value of a payload field of the items with these ids: (m,) object, None where there is no such item or
    field."""
    value_of: dict[str, Any] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        for row in items.by_id(ids[start : start + _IDS_AT_ONCE], ["id", "payload"]).to_pylist():
            if row["payload"] is not None:
                value_of[row["id"]] = json.loads(row["payload"]).get(field)
    values = np.empty(len(ids), object)
    values[:] = [value_of.get(one) for one in ids]
    return values


def _reader(crosswalk: Crosswalk, holding: Holding, model: str) -> tuple[list[str], Reached]:
    """The columns to read for a model, and the function that makes vectors in its space from them."""
    number = holding.generation(model)
    if holding.info is None or number is None:
        column = embedding_column(model)

        def own(batch: pa.RecordBatch) -> tuple[Partial, NDArray[np.bool_]]:
            made = Partial.of(batch, column)
            return made, made.has

        return [column], own
    lineage = crosswalk.galleries.lineage(holding.info, number)
    return lineage.columns, lambda batch: _projected(lineage, batch)


def _projected(lineage: Lineage, batch: pa.RecordBatch) -> tuple[Partial, NDArray[np.bool_]]:
    projected = lineage.project(batch)
    places = np.flatnonzero(np.isin(batch.column(ROW_ID).to_numpy().astype(np.int64), projected.rows))
    native = np.zeros(batch.num_rows, bool)
    native[places] = projected.native
    empty = Partial(np.zeros((batch.num_rows, lineage.dimension), np.float32), np.zeros(batch.num_rows, bool))
    return empty.filled(places, projected.vectors), native


def _ordered(
    parts: Sequence[tuple[pa.RecordBatch, Mapping[str, tuple[Partial, NDArray[np.bool_]]]]],
    models: Sequence[str],
    held: int,
) -> Evaluated:
    def column(name: str, kind: Any) -> NDArray[Any]:
        values = np.empty(sum(batch.num_rows for batch, _ in parts), kind)
        values[:] = [value for batch, _ in parts for value in _cells(batch, name)]
        return values

    rows = Evaluated(
        id=column("id", object),
        label=column("label", object),
        vectors={model: Partial.stacked([vectors[model][0] for _, vectors in parts]) for model in models},
        native={
            model: np.concatenate([np.empty(0, bool), *(vectors[model][1] for _, vectors in parts)]) for model in models
        },
        side=Partial.stacked([Partial.of(batch, SIDE_INFORMATION) for batch, _ in parts]),
        held=held,
    )
    return rows.take(np.argsort(column(ROW_ID, np.int64), kind="stable"))


def _cells(batch: pa.RecordBatch, column: str) -> list[Any]:
    """The values of a column; None where rows of this kind have no such column."""
    return batch.column(column).to_pylist() if column in batch.schema.names else [None] * batch.num_rows


def _drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _within(drawn: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """The rows drawn among the `count` rows from `start` on, numbered from `start`."""
    first, last = np.searchsorted(drawn, [start, start + count])
    return drawn[first:last] - start
