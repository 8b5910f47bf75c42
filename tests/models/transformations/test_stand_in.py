"""What stands in for side-information that rows lack: what it computes, and when it is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.portable import (
    Affine,
    Array,
    CorruptArtifact,
    Space,
    Transformation,
    as_indexed,
    load_transformation,
    save_transformation,
)
from models.transformations.linear import orthogonal, ridge
from models.transformations.pairs import Pairs
from models.transformations.stand_in import learn_stand_in, predict_side, try_stand_in

OLD, NEW, SIDE, ROWS = 12, 16, 6, 400
SOURCE, TARGET = Space("old", OLD, "cosine"), Space("new", NEW, "cosine")


def pairs(told: float, seed: int = 0) -> Pairs:
    """Rows of 40 labels. The old model sees a part of what the new one sees; side-information the rest, of which the
    old vector tells a share."""
    rng = np.random.default_rng(seed)
    label = np.arange(ROWS) % 40
    meaning = rng.normal(size=(40, OLD + SIDE))[label] + 0.7 * rng.normal(size=(ROWS, OLD + SIDE))
    meaning[:, OLD:] = told * meaning[:, :SIDE] + (1 - told) * meaning[:, OLD:]
    old, side = meaning[:, :OLD] * np.geomspace(1, 4, OLD), meaning[:, OLD:]
    new = meaning @ rng.normal(size=(OLD + SIDE, NEW))
    return Pairs(old.astype(np.float32), new.astype(np.float32), side.astype(np.float32), label.astype(object))


def with_side(rows: Pairs) -> Transformation:
    return ridge(rows, SOURCE, TARGET, strength=0.05)


def plain(method: Callable[..., Transformation]) -> Callable[[Pairs], Transformation]:
    return lambda rows: method(rows.without_side(), SOURCE, TARGET)


def stand_in(rows: Pairs) -> Affine:
    assert rows.side is not None
    return learn_stand_in(rows.old, rows.side, SOURCE)


def test_it_learns_what_old_vectors_tell_of_side_information() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(300, OLD)).astype(np.float32)
    side = as_indexed(old, "cosine") @ rng.normal(size=(OLD, SIDE)).astype(np.float32) + 3
    learned = learn_stand_in(old, side.astype(np.float32), SOURCE)
    np.testing.assert_allclose(predict_side(learned, old, SOURCE), side, atol=0.05)


def test_rows_that_lack_side_information_are_transformed_by_what_stands_in_for_it() -> None:
    rows = pairs(0.5)
    assert rows.side is not None
    h = replace(with_side(rows), stand_in=stand_in(rows))
    has = np.arange(ROWS) % 3 > 0
    transformed = h.apply(rows.old, np.where(has[:, None], rows.side, np.float32(1e6)), has)
    np.testing.assert_allclose(transformed[has], with_side(rows).apply(rows.old[has], rows.side[has]), atol=1e-6)
    assert h.stand_in is not None
    assert h.affine is not None
    assert h.affine.side_weight is not None
    for row in np.flatnonzero(~has)[:5]:
        p = rows.old[row].astype(float) / np.linalg.norm(rows.old[row])
        side = h.stand_in.weight @ p + h.stand_in.bias
        y = h.affine.weight @ p + h.affine.side_weight @ side + h.affine.bias
        np.testing.assert_allclose(transformed[row], y / np.linalg.norm(y), atol=1e-5)
    with pytest.raises(ValueError, match="rows lack side-information"):
        with_side(rows).apply(rows.old, rows.side, has)


def test_it_is_kept_with_the_artifact_under_its_checksum(tmp_path: Path) -> None:
    rows = pairs(0.5)
    h = replace(with_side(rows), stand_in=stand_in(rows))
    save_transformation(h, tmp_path)
    again = load_transformation(tmp_path, source=SOURCE, target=TARGET)
    nothing = np.zeros(ROWS, bool)
    np.testing.assert_array_equal(again.apply(rows.old, rows.side, nothing), h.apply(rows.old, rows.side, nothing))
    (weights,) = tmp_path.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptArtifact):
        load_transformation(tmp_path, source=SOURCE, target=TARGET)


def test_one_of_another_shape_is_refused() -> None:
    rows, zeros = pairs(0.5), np.zeros
    for weight, bias in (((SIDE, OLD + 1), SIDE), ((SIDE + 1, OLD), SIDE + 1), ((SIDE, OLD), SIDE + 1)):
        wrong = Affine(zeros(weight, np.float32), zeros(bias, np.float32))
        with pytest.raises(ValueError, match="weights are"):
            replace(with_side(rows), stand_in=wrong)
    with pytest.raises(ValueError, match="does not name"):
        replace(plain(ridge)(rows), stand_in=stand_in(rows))


def test_it_is_taken_where_it_serves_better_than_the_plain_transformation() -> None:
    rows = pairs(1.0)
    trial = try_stand_in(rows, TARGET, stand_in(rows), with_side, plain(orthogonal), share=0.5)
    assert trial.helps
    assert trial.stand_in.mean > trial.plain.mean + 0.05


def test_where_both_serve_alike_it_is_not() -> None:
    """The regression without side-information is that with the regression of it put in its place."""
    rows = pairs(0.2)
    trial = try_stand_in(rows, TARGET, stand_in(rows), with_side, plain(ridge), share=0.5)
    assert abs(trial.stand_in.mean - trial.plain.mean) < 0.03
    assert not trial.helps


def test_the_more_rows_lack_it_the_worse_the_retrieval() -> None:
    rows = pairs(0.0)
    shares = (0.0, 0.5, 1.0)
    few, some, all_ = (
        try_stand_in(rows, TARGET, stand_in(rows), with_side, plain(ridge), share=share).plain.mean for share in shares
    )
    assert few > some + 0.02 > all_ + 0.04


def test_nothing_is_changed_in_what_is_given() -> None:
    rows = pairs(0.5)
    assert rows.side is not None
    before: Array = rows.side.copy()
    replace(with_side(rows), stand_in=stand_in(rows)).apply(rows.old, rows.side, np.zeros(ROWS, bool))
    np.testing.assert_array_equal(rows.side, before)
