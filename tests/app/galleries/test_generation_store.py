"""A generation's vectors on disk: written in pieces, brought level, read back."""

from pathlib import Path

import numpy as np

from app.galleries.generation_store import GenerationStore
from app.galleries.lineage import Projected


def part(*rows: int, value: float = 1.0, native: bool = False) -> Projected:
    vectors = np.array([[row, value] for row in rows], np.float32).reshape(-1, 2)
    return Projected(np.array(rows, np.int64), vectors, np.full(len(rows), native))


def contents(store: GenerationStore) -> dict[int, tuple[list[float], bool]]:
    return {
        int(row): (vector.tolist(), bool(native))
        for found in store.scan()
        for row, vector, native in zip(found.rows, found.vectors, found.native, strict=True)
    }


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


def test_what_happened_since_may_be_carried_over_twice(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "2.lance", 2)
    store.commit(store.write_fragment(iter([part(1, 2, 3)])))
    for _ in range(2):
        store.apply(np.array([2, 77], np.int64), [part(3, 4, value=5.0), part(5, native=True)])
        assert contents(store) == {1: ([1, 1], False), 3: ([3, 5], False), 4: ([4, 5], False), 5: ([5, 1], True)}
