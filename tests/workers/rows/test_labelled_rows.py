"""Rows to train on: what they lack, what they get from items, and that they stay as they were first read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.workers.workshop import Workshop, compatible_upgrade
from workers.rows.labelled_rows import LabelledRows, labelled_rows


def read(shop: Workshop, path: Path, column: str = "image", galleries: Sequence[str] | None = None) -> LabelledRows:
    names = [shop.gallery] if galleries is None else list(galleries)
    return labelled_rows(shop.crosswalk, compatible_upgrade(shop, names), shop.dataset, column, path)


def texts(places: Sequence[int]) -> dict[str, Any]:
    return {"text": [f"text {place}" for place in places]}


def place(row: object) -> int:
    return int(str(row).removeprefix("picture-"))


def test_what_a_row_lacks_it_takes_from_the_item_of_its_id_and_its_own_counts(shop: Workshop, tmp_path: Path) -> None:
    shop.put_items(range(10), shop.pictures.old[:10] + 100, label=[f"item {n}" for n in range(9)] + [None])
    shop.put_rows(shop.dataset, range(2), shop.pictures.old[:2])
    shop.put_rows(shop.dataset, range(2, 4), shop.pictures.old[2:4], label=pa.nulls(2, pa.string()), **texts([2, 3]))
    shop.put_rows(shop.dataset, range(4, 6), None, **texts([4, 5]))
    shop.put_rows(shop.dataset, range(0, 2), None, **texts([0, 1]))
    shop.put_rows(shop.dataset, [8, 9, 20], None, label=pa.nulls(3, pa.string()), **texts([8, 9, 20]))
    shop.put_rows(shop.dataset, [21], None, **texts([21]))
    rows = read(shop, tmp_path / "rows.arrow", "text")
    own = shop.pictures.codes
    expected = {0: str(own[0]), 1: str(own[1]), 2: "item 2", 3: "item 3", 4: str(own[4]), 5: str(own[5]), 8: "item 8"}
    assert {place(row): label for row, label in zip(rows.id, rows.label, strict=True)} == expected
    assert list(rows.inputs) == [f"text {place(row)}" for row in rows.id]
    shifted = np.array([[100 * (place(row) >= 4)] for row in rows.id], np.float32)
    np.testing.assert_array_equal(rows.old, shop.pictures.old[[place(row) for row in rows.id]] + shifted)
    assert rows.old.dtype == np.float32
    assert rows.left_out == 3  # 9 has no label anywhere; 20 and 21 have no vector


def test_the_first_gallery_that_holds_an_item_gives_its_vector(shop: Workshop, tmp_path: Path) -> None:
    other = shop.with_gallery("second")
    other.put_items(range(3, 6), shop.pictures.old[3:6] + 100)
    shop.put_items(range(4))
    shop.put_rows(shop.dataset, range(6), None)
    rows = read(shop, tmp_path / "rows.arrow", galleries=[shop.gallery, other.gallery])
    np.testing.assert_array_equal(rows.old[:4], shop.pictures.old[:4])
    np.testing.assert_array_equal(rows.old[4:], shop.pictures.old[4:6] + 100)


def test_rows_without_the_input_that_is_asked_for_are_no_rows(shop: Workshop, tmp_path: Path) -> None:
    shop.put_rows(shop.dataset, range(3), shop.pictures.old[:3])
    shop.put_rows(shop.dataset, range(3, 5), shop.pictures.old[3:5], **texts([3, 4]))
    rows = read(shop, tmp_path / "rows.arrow")
    assert [place(row) for row in rows.id] == [0, 1, 2]
    assert list(rows.inputs) == shop.pictures.inputs[:3]
    assert rows.left_out == 0


@pytest.mark.parametrize("many", [40, 4_500])
def test_they_are_in_the_order_of_their_ids_however_they_were_written(
    shop: Workshop, tmp_path: Path, many: int
) -> None:
    shop.ids = [f"row-{number:05d}" for number in range(many)]
    places = np.random.default_rng(0).permutation(many)
    vectors = np.random.default_rng(1).normal(size=(many, shop.pictures.old.shape[1])).astype(np.float32)
    for part in np.array_split(places, 3):
        body = {"label": [str(number % 7) for number in part], **texts(part.tolist())}
        shop.put_rows(shop.dataset, [0] * len(part), vectors[part], id=[shop.ids[number] for number in part], **body)
    rows = read(shop, tmp_path / "rows.arrow", "text")
    assert rows.id.tolist() == shop.ids
    assert rows.label.tolist() == [str(number % 7) for number in range(many)]
    assert list(rows.inputs) == [f"text {number}" for number in range(many)]
    np.testing.assert_array_equal(rows.old, vectors)
    assert [path.name for path in tmp_path.glob("*rows.arrow*")] == ["rows.arrow"]


def test_what_is_written_later_does_not_change_rows_that_were_read(shop: Workshop, tmp_path: Path) -> None:
    shop.put_items(range(10))
    shop.put_rows(shop.dataset, range(10), None)
    first = read(shop, tmp_path / "rows.arrow")
    shop.put_rows(shop.dataset, range(5, 20), shop.pictures.old[:15])
    shop.put_items(range(10), shop.pictures.old[20:30])
    again, anew = read(shop, tmp_path / "rows.arrow"), read(shop, tmp_path / "anew.arrow")
    assert (again.fingerprint(), again.version) == (first.fingerprint(), first.version)
    assert (len(anew.id), anew.version > first.version) == (20, True)


def test_what_a_killed_attempt_left_half_written_is_written_anew(shop: Workshop, tmp_path: Path) -> None:
    shop.put_rows(shop.dataset, range(10), shop.pictures.old[:10])
    for name in ("stored", "partial"):
        (tmp_path / f".rows.arrow.{name}").write_bytes(b"ARROW1\0\0 and then the lights went out")
    assert len(read(shop, tmp_path / "rows.arrow").id) == 10


def test_the_fingerprint_is_of_ids_labels_inputs_and_vectors(shop: Workshop, tmp_path: Path) -> None:
    def after(name: str, *changes: Any, **columns: Any) -> str:
        shop.put_rows(shop.dataset, *changes, **columns)
        return read(shop, tmp_path / f"{name}.arrow", "text").fingerprint()

    old = shop.pictures.old
    prints = [
        after("first", range(10), old[:10], **texts(range(10))),
        after("same", range(10), old[:10], **texts(range(10))),
        after("label", [3], None, label=["another"], **texts([3])),
        after("input", [3], None, label=["another"], text=["another"]),
        after("vector", [3], old[4:5], label=["another"], text=["another"]),
        after("row", [11], old[11:12], **texts([11])),
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 5


def test_a_dataset_in_which_no_row_has_everything_has_no_rows(shop: Workshop, tmp_path: Path) -> None:
    shop.put_rows(shop.dataset, range(10), None)
    rows = read(shop, tmp_path / "rows.arrow")
    assert (len(rows.id), len(rows.inputs), rows.old.shape[0], rows.left_out) == (0, 0, 0, 10)
