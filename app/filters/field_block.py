"""Some items of a gallery with columns of their fields, over which a filter is evaluated at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic_core import from_json

from app.filters.expression import AllOf, AnyOf, Condition, FieldCondition, FilterField, Negation
from app.filters.field_column import ColumnBuilder, FieldColumn, Mask
from app.storage.lance_table import ROW_ID

RowNumbers = npt.NDArray[np.int64]


class NoRoom(Exception):
    """The columns would take more memory than there is for them."""


@dataclass(frozen=True, eq=False)
class FieldBlock:
    """n items. rows: (n,) int64 row ids, ascending; live: (n,) bool, whether an item still is what it is here."""

    rows: RowNumbers
    live: Mask
    columns: Mapping[FilterField, FieldColumn]

    def __len__(self) -> int:
        """How many are live."""
        return int(np.count_nonzero(self.live))

    def matching(self, condition: Condition) -> RowNumbers:
        """The row ids of the live items that meet a condition on fields that there are columns of."""
        return self.rows[self._mask(condition) & self.live]

    def _mask(self, condition: Condition) -> Mask:
        match condition:
            case FieldCondition(field=field):
                return self.columns[field].matching(condition)
            case Negation(part=part):
                return ~self._mask(part)
            case AllOf(parts=parts):
                every: Mask = np.logical_and.reduce([np.ones(len(self.rows), bool), *map(self._mask, parts)])
                return every
            case AnyOf(parts=parts):
                some: Mask = np.logical_or.reduce([self._mask(part) for part in parts])
                return some

    def without(self, rows: RowNumbers) -> FieldBlock:
        """The block in which the items with these row ids (m,), some of which may be others', are no longer live."""
        if not len(self.rows):
            return self
        at = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        live = self.live.copy()
        live[at[self.rows[at] == rows]] = False
        return replace(self, live=live)

    @staticmethod
    def merged(blocks: Sequence[FieldBlock]) -> FieldBlock:
        """The live items of one block or more with the same fields, none of them in two, in one block."""
        rows = np.sort(np.concatenate([np.empty(0, np.int64), *(block.rows[block.live] for block in blocks)]))
        moves = [np.where(block.live, np.searchsorted(rows, block.rows), -1).astype(np.int32) for block in blocks]
        columns = {
            field: FieldColumn.joined(
                [block.columns[field].moved(to, len(rows)) for block, to in zip(blocks, moves, strict=True)]
            )
            for field in blocks[0].columns
        }
        return FieldBlock(rows, np.ones(len(rows), bool), columns)


def columns_needed(fields: Collection[FilterField]) -> list[str]:
    """The columns of the items' table that fields are read from."""
    return sorted({field.root for field in fields})


def block_of(batches: Iterable[pa.RecordBatch], fields: Collection[FilterField], room: int | None = None) -> FieldBlock:
    """Items with their row ids and the columns that the fields are read from, as a block.

    room: bytes that the columns may take; left out, any number. Raises NoRoom as soon as they take more.
    """
    builders = {field: ColumnBuilder() for field in fields}
    rows: list[RowNumbers] = [np.empty(0, np.int64)]
    first = 0
    for batch in batches:
        rows.append(batch.column(ROW_ID).to_numpy().astype(np.int64))
        _take_in(batch, builders, first)
        first += batch.num_rows
        if room is not None and sum(builder.nbytes for builder in builders.values()) > room:
            raise NoRoom
    every = np.concatenate(rows)
    order = np.argsort(every, kind="stable")
    to = np.empty(len(every), np.int32)
    to[order] = np.arange(len(every), dtype=np.int32)
    columns = {field: builder.column(len(every)).moved(to, len(every)) for field, builder in builders.items()}
    return FieldBlock(every[order], np.ones(len(every), bool), columns)


def _take_in(batch: pa.RecordBatch, builders: Mapping[FilterField, ColumnBuilder], first: int) -> None:
    for root in ("id", "label"):
        if (builder := builders.get(FilterField(root))) is not None:
            builder.add_strings(batch.column(root), first)
    paths = [(field.path, builder) for field, builder in builders.items() if field.root == "payload"]
    if not paths:
        return
    for place, text in enumerate(batch.column("payload").to_pylist(), first):
        if text is not None:
            payload = from_json(text)
            for path, builder in paths:
                _follow(payload, path, 0, builder, place)
    for _, builder in paths:
        builder.end_batch()


def _follow(value: Any, path: tuple[str, ...], step: int, builder: ColumnBuilder, place: int) -> None:
    """Adds what a path leads to in a payload. A list stands for its elements, at every step."""
    if step == len(path):
        builder.add(value, place)
    elif isinstance(value, dict):
        member = value.get(path[step])
        if member is not None:
            _follow(member, path, step + 1, builder, place)
    elif isinstance(value, list):
        for one in value:
            _follow(one, path, step, builder, place)
