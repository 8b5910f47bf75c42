"""A generation's vectors on disk: written in pieces, brought level, read back."""

from pathlib import Path

import lance
import numpy as np
import pytest

from app.galleries.generation_store import GenerationStore
from app.galleries.lineage import Projected

Contents = dict[int, tuple[list[float], bool]]


def part(*rows: int, value: float = 1.0, native: bool = False, error: float = 0.5) -> Projected:
    vectors = np.array([[row, value] for row in rows], np.float32).reshape(-1, 2)
    uncertainty = np.full(len(rows), 0 if native else error, np.float32)
    return Projected(np.array(rows, np.int64), vectors, np.full(len(rows), native), uncertainty)


def contents(store: GenerationStore) -> Contents:
    return {
        int(row): (vector.tolist(), bool(native))
        for scanned in store.scan()
        for row, vector, native in zip(scanned.rows, scanned.vectors, scanned.native, strict=True)
    }


def standings(store: GenerationStore) -> dict[int, tuple[bool, float]]:
    columns = store.standings()
    known = zip(columns.rows.tolist(), columns.native.tolist(), columns.uncertainty.tolist(), strict=True)
    return {row: (native, uncertainty) for row, native, uncertainty in known}


def test_pieces_are_nothing_until_they_are_committed_and_everything_after(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.write_fragment(iter([part(99)]))
    pieces = [store.write_fragment(iter([part(1, 2), part(3)])), store.write_fragment(iter([part(4, native=True)]))]
    store.commit([name for piece in pieces for name in piece])
    expected = {1: ([1, 1], False), 2: ([2, 1], False), 3: ([3, 1], False), 4: ([4, 1], True)}
    assert contents(store) == expected
    store.commit([name for piece in pieces for name in piece])
    assert contents(store) == expected
    assert (store.count(), store.count("native")) == (4, 1)


def test_writing_nothing_leaves_an_empty_generation(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([])))
    assert contents(store) == {}
    assert standings(store) == {}


def test_what_happened_since_may_be_carried_over_twice(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([part(1, 2, 3)])))
    for _ in range(2):
        store.apply(np.array([2, 77], np.int64), [part(3, 4, value=5.0, error=2.5), part(5, native=True)])
        assert contents(store) == {1: ([1, 1], False), 3: ([3, 5], False), 4: ([4, 5], False), 5: ([5, 1], True)}
        assert standings(store) == {1: (False, 0.5), 3: (False, 2.5), 4: (False, 2.5), 5: (True, 0)}


def test_uncertainty_that_is_unknown_stays_unknown(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([part(1, error=np.nan), part(2)])))
    assert standings(store) == {1: (False, pytest.approx(np.nan, nan_ok=True)), 2: (False, 0.5)}
    (scanned,) = store.scan()
    np.testing.assert_array_equal(scanned.uncertainty, [np.nan, 0.5])


def test_generation_written_before_uncertainty_was_kept_is_read_and_written_on(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([part(1, 2)])))
    lance.dataset(store.path).drop_columns(["uncertainty"])
    assert [list(scanned.uncertainty) for scanned in store.scan()] == [pytest.approx([np.nan] * 2, nan_ok=True)]
    store.apply(np.array([1], np.int64), [part(3)])
    assert standings(store) == {2: (False, pytest.approx(np.nan, nan_ok=True)), 3: (False, 0.5)}


def test_what_an_abandoned_generation_of_another_dimension_left_is_overwritten(tmp_path: Path) -> None:
    abandoned = GenerationStore(tmp_path / "2.lance", 2)
    abandoned.commit(abandoned.write_fragment(iter([part(1)])))
    store = GenerationStore(tmp_path / "2.lance", 3)
    three = Projected(np.array([7]), np.ones((1, 3), np.float32), np.zeros(1, bool), np.zeros(1, np.float32))
    store.commit(store.write_fragment(iter([three])))
    assert contents(store) == {7: ([1, 1, 1], False)}


def test_folders_that_hold_no_version_yet_are_written_to_like_none(tmp_path: Path) -> None:
    (tmp_path / "2.lance" / "_versions").mkdir(parents=True)
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([part(1)])))
    assert contents(store) == {1: ([1, 1], False)}


def test_pieces_of_attempts_that_were_cut_off_can_be_dropped_once_another_is_committed(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.write_fragment(iter([part(1)]))
    store.commit(store.write_fragment(iter([part(1, 2)])))
    store.write_fragment(iter([part(9)]))
    store.commit(store.write_fragment(iter([part(3)])))
    store.drop_pieces()
    assert len(list((tmp_path / "2.lance" / "data").iterdir())) == 1
    assert store.whole()
