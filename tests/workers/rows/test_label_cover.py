"""A crossing learns from labels only where nearly every item has one that the pairs show."""

from __future__ import annotations

import numpy as np

from models.transformations.pairs import Pairs
from tests.workers.workshop import Workshop
from workers.rows.label_cover import labels_cover


def _pairs(*labels: str | None) -> Pairs:
    vectors = np.ones((len(labels), 2), np.float32)
    return Pairs(vectors, vectors, None, np.array(labels, object) if labels[0] else None)


def test_labels_are_learned_from_only_where_two_pairs_show_each_of_the_gallerys(shop: Workshop) -> None:
    def cover(*labels: str | None) -> bool:
        return labels_cover(shop.crosswalk, [shop.gallery], _pairs(*labels))

    shop.put_items(range(4), label=["a", "b", "b", "a"])
    assert cover("a", "b", "b", "a")
    assert cover("a", "b", "b", "a", "c")
    assert not cover("a", "a", "b"), "one row of a label teaches nothing of it"
    assert not cover("a", "a")
    assert not cover(None, None)
    shop.put_items([4], label=[None])
    assert not cover("a", "b", "b", "a"), "an item of no label might be of any other"
