"""Filters over columns let through what they let through of one item after another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.filters.expression import FilterField, fields_of
from app.filters.field_block import FieldBlock, block_of
from app.filters.parsing import Filter
from app.storage.lance_table import ROW_ID
from tests.app.filters import oracle
from tests.app.filters.oracle import PlainItem, compares

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


ROWS = range(200)
BEFORE, AFTER = (list(zip(ROWS, oracle.many_items(len(ROWS), seed), strict=True)) for seed in (1, 2))
WRITTEN = AFTER[120:]


@settings(max_examples=100)
@given(filter=oracle.filters([f"i{row}" for row in ROWS]))
def test_of_many_items_those_are_let_through_that_the_words_say(filter: dict[str, Any]) -> None:
    condition = Filter.of(filter).condition
    fields = fields_of(condition)
    written = block_of([_batch(WRITTEN)], fields)
    blocks = [block_of([_batch(BEFORE[:50]), _batch(BEFORE[50:])], fields).without(written.rows), written]
    expected = [row for row, item in (*BEFORE[:120], *WRITTEN) if oracle.holds(filter, item)]
    assert [row for block in blocks for row in block.matching(condition).tolist()] == expected
    assert FieldBlock.merged(blocks).matching(condition).tolist() == expected


EDGES = [
    *(sign * (2**power + step) for power in (0, 53, 54, 62, 63) for step in (-1, 0, 1) for sign in (1, -1)),
    *(2.0**53, 2.0**54 + 4, -(2.0**63), 2.0**63, 2.0**64, 0.5, -0.0, 5e-324, -1e300, 1e22),
]
TEXTS = ["", "a", "A", "a\U00010000", "a\uffff", "a\ue000", "é", "e\u0301", "z", "1"]


@pytest.mark.parametrize("values", [[*EDGES, 2**64 + 1, -(10**30)], EDGES, TEXTS], ids=["huge", "numbers", "texts"])
def test_values_at_every_edge_compare_as_python_compares_them(values: list[Any]) -> None:
    field = FilterField("payload", ("n",))
    block = block_of([_batch([(row, PlainItem("i", None, {"n": one})) for row, one in enumerate(values)])], [field])
    for operand in (
        TEXTS if values is TEXTS else [one for one in EDGES if -(2**63) <= one < 2**63 or type(one) is float]
    ):
        for operator in ("eq", "gt", "gte", "lt", "lte"):
            condition = Filter.of({"payload.n": {operator: operand}}).condition
            expected = [row for row, one in enumerate(values) if compares(one, operator, operand)]
            assert block.matching(condition).tolist() == expected, (operator, operand)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[int, PlainItem]]:
    rows = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True))
    return [(row, draw(oracle.items(st.just(IDS[place])))) for place, row in enumerate(rows)]


@settings(max_examples=50)
@given(table=tables(), filter=oracle.filters(IDS), cuts=st.lists(st.integers(1, 11), max_size=3))
def test_columns_let_through_what_the_words_say(
    table: list[tuple[int, PlainItem]], filter: dict[str, Any], cuts: list[int]
) -> None:
    condition = Filter.of(filter).condition
    ends = sorted({0, len(table), *(cut for cut in cuts if cut < len(table))})
    batches = [_batch(table[start:end]) for start, end in pairwise(ends)]
    expected = sorted(row for row, item in table if oracle.holds(filter, item))
    assert block_of(batches, fields_of(condition)).matching(condition).tolist() == expected


@settings(max_examples=30)
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
