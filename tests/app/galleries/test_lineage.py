"""A generation's vectors, computed from a batch at once, against the same computed item by item."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import Crossing
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID, embedding_column, vector_type
from models.portable import Affine, Transformation
from tests.app.crossings import affine, space, uncertainty

SPACES = (space("a", 3), space("b", 4), space("c", 2))
SIDE = 5
ITEMS = 40


def lineage(*with_side: bool, uncertain: bool = True, shortcut: bool | None = None) -> Lineage:
    """a → b → c as far as there are crossings; each with side-information or without, and knowing how far it misses.

    shortcut: whether that from a to c reads side-information; None where there is no such.
    """

    def between(start: int, end: int, seed: int, *, side: bool) -> Crossing:
        plain = affine(SPACES[start], SPACES[end], seed=seed)
        chosen = affine(SPACES[start], SPACES[end], SIDE, seed=10 + seed) if side else plain
        return Crossing(chosen, plain, uncertainty(chosen, seed=seed) if uncertain else None)

    crossings = [between(place, place + 1, place, side=side) for place, side in enumerate(with_side)]
    shortcuts = {} if shortcut is None else {(0, 2): between(0, 2, 5, side=shortcut)}
    spaces = SPACES[: len(with_side) + 1]
    return Lineage(tuple(s.model for s in spaces), tuple(s.dimension for s in spaces), tuple(crossings), shortcuts)


def items(known: dict[str, float], seed: int = 0) -> pa.RecordBatch:
    """Rows of which each column's share is known. A share of -1 leaves the column out of the table."""
    rng = np.random.default_rng(seed)
    dimensions = {embedding_column(s.model): s.dimension for s in SPACES} | {SIDE_INFORMATION: SIDE}
    columns: dict[str, Any] = {ROW_ID: pa.array(rng.permutation(1000)[:ITEMS], pa.uint64())}
    for name, dimension in dimensions.items():
        share = known.get(name.removeprefix("embedding@"), -1)
        if share >= 0:
            values = rng.normal(size=(ITEMS, dimension)).astype(np.float32).tolist()
            present = rng.random(ITEMS) < share
            cells = [value if has else None for value, has in zip(values, present, strict=True)]
            columns[name] = pa.array(cells, vector_type(dimension))
    return pa.record_batch(columns)


def one_by_one(line: Lineage, batch: pa.RecordBatch) -> dict[int, tuple[np.ndarray, bool, float]]:
    """From its newest model's vector on, each item through each crossing left: vector, native or not, error, by row."""
    projections = {}
    for item in batch.to_pylist():
        vectors = [item.get(embedding_column(model)) for model in line.models]
        newest = max((place for place, vector in enumerate(vectors) if vector is not None), default=None)
        if newest is None:
            continue
        vector, error = np.array(vectors[newest], np.float64), 0.0
        direct = line.shortcuts.get((newest, len(line.models) - 1))
        for crossing in [direct] if direct else line.crossings[newest:]:
            side = item.get(SIDE_INFORMATION)
            with_side = crossing.chosen.card.side_dimension is not None and side is not None
            beside = side if with_side else None
            transformed = _h(crossing.chosen if with_side else crossing.plain, vector, beside)
            error += _missed(crossing, vector, beside, transformed)
            vector = transformed
        projections[item[ROW_ID]] = (vector, newest == len(vectors) - 1, error)
    return projections


def _missed(crossing: Crossing, vector: np.ndarray, side: list[float] | None, transformed: np.ndarray) -> float:
    """What one item is expected to miss by; NaN where `chosen` reads side-information and there is none."""
    if crossing.uncertainty is None or (side is None and crossing.chosen.card.side_dimension is not None):
        return float("nan")
    old, new = vector[None].astype(np.float32), transformed[None].astype(np.float32)
    beside = None if side is None else np.array([side], np.float32)
    return float(crossing.uncertainty.expected_error(old, beside, new)[0])


def _h(transformation: Transformation, vector: np.ndarray, side: list[float] | None) -> np.ndarray:
    h = transformation.affine
    assert h is not None
    outputs = [
        bias + sum(w * x for w, x in zip(row, vector, strict=True))
        for row, bias in zip(h.weight.astype(np.float64), h.bias.astype(np.float64), strict=True)
    ]
    if side is not None and h.side_weight is not None:
        outputs = [
            y + sum(v * s for v, s in zip(row, side, strict=True))
            for y, row in zip(outputs, h.side_weight.astype(np.float64), strict=True)
        ]
    return np.array(outputs)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (lineage(), {"a": 1}),
        (lineage(), {"a": 0.5, "b": 0.5}),
        (lineage(False), {"a": 1}),
        (lineage(False), {"a": 0.6, "b": 0.3}),
        (lineage(False), {"b": 0.7}),
        (lineage(True), {"a": 1, SIDE_INFORMATION: 1}),
        (lineage(True), {"a": 0.8, "b": 0.4, SIDE_INFORMATION: 0.5}),
        (lineage(True), {"a": 1, SIDE_INFORMATION: 0}),
        (lineage(True), {"a": 1}),
        (lineage(False, True), {"a": 0.5, "b": 0.5, "c": 0.5, SIDE_INFORMATION: 0.5}),
        (lineage(True, True), {"a": 0.7, "c": 0.2, SIDE_INFORMATION: 0.7}),
        (lineage(True, False), {"a": 0.3, "b": 0.3, "c": 0.3, SIDE_INFORMATION: 0.3}),
        (lineage(True, False), {"a": 0, "b": 0, "c": 0}),
        (lineage(False, False, shortcut=False), {"a": 1}),
        (lineage(False, False, shortcut=False), {"a": 0.6, "b": 0.3, "c": 0.3}),
        (lineage(False, False, shortcut=True), {"a": 0.6, "b": 0.3, "c": 0.3, SIDE_INFORMATION: 0.5}),
        (lineage(True, True, shortcut=False), {"a": 0.8, "b": 0.4, SIDE_INFORMATION: 0.5}),
    ],
)
def test_projection_of_a_batch_is_that_of_its_items(line: Lineage, known: dict[str, float]) -> None:
    batch = items(known)
    projected, expected = line.project(batch), one_by_one(line, batch)
    assert projected.rows.tolist() == [row for row in batch.column(ROW_ID).to_pylist() if row in expected]
    assert projected.vectors.dtype == np.float32
    assert projected.vectors.shape == (len(expected), line.dimension)
    for row, vector, native in zip(projected.rows.tolist(), projected.vectors, projected.native, strict=True):
        np.testing.assert_allclose(vector, expected[row][0], rtol=1e-4, atol=1e-4)
        assert bool(native) == expected[row][1]
    errors = [expected[row][2] for row in projected.rows.tolist()]
    np.testing.assert_allclose(projected.uncertainty, errors, rtol=1e-3)
    assert projected.uncertainty.dtype == np.float32


def test_error_of_native_vectors_is_none_and_of_crossings_that_learned_nothing_of_it_unknown() -> None:
    batch = items({"a": 1, "b": 0.5})
    projected = lineage(False, uncertain=False).project(batch)
    assert (projected.uncertainty[projected.native] == 0).all()
    assert np.isnan(projected.uncertainty[~projected.native]).all()
    assert 0 < projected.native.sum() < ITEMS


def test_a_shortcut_is_taken_as_part_of_a_longer_way() -> None:
    spaces = (*SPACES, space("d", 3), space("e", 4))
    ways = {ends: Crossing(h, h) for ends in [(0, 2), (1, 4)] if (h := affine(spaces[ends[0]], spaces[ends[1]]))}
    hops = tuple(Crossing(h, h) for place in range(4) if (h := affine(spaces[place], spaces[place + 1])))
    line = Lineage(tuple(s.model for s in spaces), tuple(s.dimension for s in spaces), hops, ways)
    assert line.path(0) == (ways[0, 2], hops[2], hops[3])
    assert line.path(1) == (ways[1, 4],)
    assert line.path(2) == hops[2:]
    assert line.path(4) == ()


def test_lineage_of_vectors_alone_forgets_what_shortcuts_miss_as_well() -> None:
    line, batch = lineage(False, False, shortcut=False), items({"a": 1})
    alone = line.of_vectors_alone.project(batch)
    assert np.isfinite(line.project(batch).uncertainty).all()
    assert np.isnan(alone.uncertainty).all()
    assert alone.vectors.tolist() == line.project(batch).vectors.tolist()


def test_projection_of_nothing_is_empty() -> None:
    projected = lineage(True).project(items({"a": 1, SIDE_INFORMATION: 1}).slice(0, 0))
    assert projected.vectors.shape == (0, 4)


def test_projection_reads_side_information_only_where_a_crossing_does() -> None:
    assert SIDE_INFORMATION not in lineage(False, False).columns
    assert lineage(False, True).columns == [*map(embedding_column, "abc"), SIDE_INFORMATION]
    assert SIDE_INFORMATION in lineage(False, False, shortcut=True).columns


def test_native_vectors_are_kept_to_the_bit() -> None:
    batch = items({"a": 1, "b": 1, SIDE_INFORMATION: 1})
    projected = lineage(True).project(batch)
    assert projected.native.all()
    assert projected.vectors.tolist() == batch.column(embedding_column("b")).to_pylist()


def test_what_stands_in_for_side_information_serves_items_that_lack_it() -> None:
    stand_in = Affine(np.ones((2, 3), np.float32), np.zeros(2, np.float32))
    old, new = space("old", 3), space("new", 4)
    crossing = Crossing(replace(affine(old, new, 2), stand_in=stand_in), affine(old, new, seed=1))
    vectors, side = np.eye(3, dtype=np.float32), np.full((3, 2), 5, np.float32)
    guessed = np.ones((3, 2), np.float32)
    has = np.array([True, False, True])
    expected = crossing.chosen.apply(vectors, np.where(has[:, None], side, guessed))
    np.testing.assert_allclose(crossing.apply(vectors, side, has), expected, rtol=1e-6)
    nothing = crossing.apply(vectors, None, np.zeros(3, bool))
    np.testing.assert_allclose(nothing, crossing.chosen.apply(vectors, guessed), rtol=1e-6)
