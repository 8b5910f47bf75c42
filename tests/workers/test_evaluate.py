"""What a crossing that reads side-information is proved on."""

import numpy as np
import pytest

from models.transformations.pairs import Pairs
from workers.context import StepFailed
from workers.evidence.galleries import Items
from workers.evidence.pairs import DatasetPairs
from workers.evidence.partial import Partial
from workers.steps.evaluate import check_side


def test_items_written_without_side_information_meanwhile_are_left_out_of_the_proof() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    has = np.array([True, False, True])
    ids, labels = np.array(["x", "y", "z"], object), np.array(["a", None, "b"], object)
    items = Items(np.arange(3), ids, labels, vectors, Partial(vectors * has[:, None], has))
    kept = items.having_side()
    assert kept.id.tolist() == ["x", "z"]
    assert kept.row.tolist() == [0, 2]
    gallery = kept.as_gallery(side=True)
    assert gallery.old.tolist() == [[0, 1], [4, 5]]
    assert gallery.side is not None
    assert gallery.side.tolist() == [[0, 1], [4, 5]]
    with pytest.raises(ValueError, match="no side-information"):
        items.as_gallery(side=True)


def test_rows_without_side_information_cannot_judge_a_crossing_that_reads_it() -> None:
    vectors = np.ones((2, 2), np.float32)
    ids = np.array(["x", "y"], object)
    check_side(DatasetPairs(ids, Pairs(vectors, vectors, vectors, None)), "held-out")
    with pytest.raises(StepFailed, match="'held-out' have none"):
        check_side(DatasetPairs(ids, Pairs(vectors, vectors, None, None)), "held-out")
