"""What a crossing that reads side-information is proved on: everything, as it will be served."""

import numpy as np
import pytest

from app.artifacts.crossings import Crossing
from models.transformations.mixture import transform
from models.transformations.pairs import Pairs
from tests.app.crossings import affine, space
from workers.rows.items import Items
from workers.rows.pairs import DatasetPairs
from workers.rows.partial import Partial

HAS = np.array([True, False, True])
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
IDS, LABELS = np.array(["x", "y", "z"], object), np.array(["a", None, "b"], object)
ITEMS = Items(np.arange(3), IDS, LABELS, VECTORS, Partial(VECTORS * HAS[:, None], HAS))


def test_items_that_lack_side_information_are_judged_with_a_guess_that_is_known_to_be_one() -> None:
    gallery = ITEMS.as_gallery(side=True, guess=lambda old: old + 10)
    assert gallery.side is not None
    assert gallery.has_side is not None
    assert gallery.side.tolist() == [[0, 1], [12, 13], [4, 5]]
    assert gallery.has_side.tolist() == HAS.tolist()
    some = gallery.subset(np.array([1, 2]))
    assert some.has_side is not None
    assert some.has_side.tolist() == [False, True]
    with pytest.raises(ValueError, match="no side-information"):
        ITEMS.as_gallery(side=True)
    assert ITEMS.as_gallery(side=False).side is None


def test_rows_to_judge_by_need_no_side_information() -> None:
    rows = DatasetPairs(IDS, Pairs(VECTORS, VECTORS, None, None))
    evidence = rows.beside(5).located(ITEMS, None, side=True)
    assert evidence.pairs.side is not None
    assert evidence.has_side is not None
    assert evidence.pairs.side.shape == (3, 5)
    assert not evidence.has_side.any()
    whole = DatasetPairs(IDS, Pairs(VECTORS, VECTORS, VECTORS, None))
    assert whole.beside(2) is whole
    assert whole.located(ITEMS, None, side=True).has_side is None


def test_pairs_beside_a_sample_are_known_to_be_none_of_it() -> None:
    rows = DatasetPairs(np.array(["y", "stranger", "x"], object), Pairs(VECTORS, VECTORS))
    placed = rows.located(ITEMS, {"x": 0.75, "y": 0.25}, side=False)
    assert placed.row.tolist() == [1, -1, 0]
    assert placed.weight is not None
    np.testing.assert_array_equal(placed.weight, [0.25, np.nan, 0.75])


def test_a_mixed_gallery_is_transformed_as_it_will_be_served() -> None:
    old, new = space("old", 2), space("new", 3)
    crossing = Crossing(affine(old, new, 2), affine(old, new, seed=1))
    transformed = transform(crossing, VECTORS, VECTORS, HAS)
    np.testing.assert_allclose(transformed[HAS], crossing.chosen.apply(VECTORS[HAS], VECTORS[HAS]), rtol=1e-5)
    np.testing.assert_allclose(transformed[~HAS], crossing.plain.apply(VECTORS[~HAS]), rtol=1e-5)
    np.testing.assert_array_equal(transform(crossing, VECTORS, VECTORS), crossing.chosen.apply(VECTORS, VECTORS))
    np.testing.assert_array_equal(transform(crossing, VECTORS, None), crossing.plain.apply(VECTORS))
