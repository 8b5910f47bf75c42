from __future__ import annotations

import numpy as np

from app.index import LiveIndex
from app.index.bitmap import Bitmap
from app.index.block import VectorBlock
from app.index.selections import Selections


def block(rows: int = 5) -> VectorBlock:
    none = np.empty(0, np.int64)
    return VectorBlock(np.arange(rows), np.ones((rows, 2), np.float32), Bitmap.full(rows), none, 2.0)


def read_only(*rows: int) -> np.ndarray:
    allowed = np.array(rows)
    allowed.flags.writeable = False
    return allowed


def test_the_same_rows_of_the_same_base_are_selected_once() -> None:
    kept, base, allowed = Selections(), block(), read_only(1, 3)
    first = kept.of(base, allowed, lambda: base.only(allowed))
    assert kept.of(base, allowed, lambda: block(0)) is first


def test_another_base_or_other_rows_are_selected_anew() -> None:
    kept, base, allowed = Selections(), block(), read_only(1, 3)
    kept.of(base, allowed, lambda: base.only(allowed))
    other = block()
    assert kept.of(other, allowed, lambda: other) is other
    assert kept.of(base, read_only(1, 3), lambda: other) is other


def test_rows_that_may_be_written_to_are_never_remembered() -> None:
    kept, base, allowed = Selections(), block(), np.array([1, 3])
    kept.of(base, allowed, lambda: base.only(allowed))
    assert kept.of(base, allowed, lambda: base) is base


def test_a_filter_that_comes_again_sees_what_was_written_meanwhile() -> None:
    index, rng = LiveIndex("l2", 2), np.random.default_rng(0)
    index.upsert(np.arange(4), rng.normal(size=(4, 2)).astype(np.float32), version=1)
    allowed, query = read_only(0, 1), np.zeros((1, 2), np.float32)
    assert set(index.search(query, 4, allowed=allowed).rows[0].tolist()) == {0, 1, -1}
    index.remove(np.array([1]), version=2)
    assert set(index.search(query, 4, allowed=allowed).rows[0].tolist()) == {0, -1}
