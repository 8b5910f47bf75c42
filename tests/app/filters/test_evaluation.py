"""Filters over columns let through what they let through of one item after another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from app.filters.expression import fields_of
from app.filters.field_block import FieldBlock, block_of
from app.filters.parsing import Filter
from app.storage.lance_table import ROW_ID
from tests.app.filters import oracle
from tests.app.filters.oracle import PlainItem

IDS = [f"i{number}" for number in range(12)]
SCHEMA = pa.schema([("id", pa.string()), ("label", pa.string()), ("payload", pa.string()), (ROW_ID, pa.uint64())])


def _batch(items: Sequence[tuple[int, PlainItem]]) -> pa.RecordBatch:
    columns: list[list[Any]] = [
        [item.id for _, item in items],
        [item.label for _, item in items],
        [item.text for _, item in items],
        [row for row, _ in items],
    ]
    arrays = [pa.array(cells, type_) for cells, type_ in zip(columns, SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[int, PlainItem]]:
    rows = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True))
    return [(row, draw(oracle.items(st.just(IDS[place])))) for place, row in enumerate(rows)]


@settings(max_examples=120)
@given(table=tables(), filter=oracle.filters(IDS), cuts=st.lists(st.integers(1, 11), max_size=3))
def test_columns_let_through_what_the_words_say(
    table: list[tuple[int, PlainItem]], filter: dict[str, Any], cuts: list[int]
) -> None:
    condition = Filter.of(filter).condition
    ends = sorted({0, len(table), *(cut for cut in cuts if cut < len(table))})
    batches = [_batch(table[start:end]) for start, end in pairwise(ends)]
    expected = sorted(row for row, item in table if oracle.holds(filter, item))
    assert block_of(batches, fields_of(condition)).matching(condition).tolist() == expected


@settings(max_examples=60)
@given(data=st.data(), table=tables(), filter=oracle.filters(IDS))
def test_written_and_merged_blocks_let_through_the_same(
    data: st.DataObject, table: list[tuple[int, PlainItem]], filter: dict[str, Any]
) -> None:
    condition = Filter.of(filter).condition
    fields = fields_of(condition)
    blocks = [block_of([_batch(table)], fields)]
    now = dict(table)
    for _ in range(data.draw(st.integers(1, 3))):
        written = data.draw(tables())
        gone = data.draw(st.lists(st.integers(0, 40), max_size=5))
        touched = np.array([*gone, *(row for row, _ in written)], np.int64)
        blocks = [*(block.without(touched) for block in blocks), block_of([_batch(written)], fields)]
        now = {row: item for row, item in now.items() if row not in gone} | dict(written)
        if data.draw(st.booleans()):
            blocks = [FieldBlock.merged(blocks)]
    found = sorted(row for block in blocks for row in block.matching(condition).tolist())
    assert found == sorted(row for row, item in now.items() if oracle.holds(filter, item))
