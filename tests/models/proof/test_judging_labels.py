"""Labels that cannot judge a search judge none: no verdict comes of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from models.arrays import Labels
from models.portable import Space
from models.proof.crossing import Refittable, prove
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.judging_labels import answerable, first_copies, judging_labels
from models.proof.report import ProofReport
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.pairs import Pairs

ROWS, OLD, NEW = 60, 8, 8


def _labels(*values: Any) -> Labels:
    return np.array(values, object)


def test_labels_that_one_item_or_every_item_has_are_taken_for_none() -> None:
    nobody = np.empty(0, object), np.empty(0, np.int64)
    kept = judging_labels(_labels("a", "a", "b", "b", "c", None), *nobody)
    assert kept.tolist() == ["a", "a", "b", "b", None, None]
    assert judging_labels(_labels("a", "a", "c"), *nobody).tolist() == [None] * 3
    assert judging_labels(_labels(1, 1, 1), *nobody).tolist() == [None] * 3
    assert judging_labels(_labels("a", "b", "c"), *nobody).tolist() == [None] * 3


def test_a_query_from_outside_may_find_the_only_item_of_its_label() -> None:
    gallery = _labels("a", "b", "c")
    kept = judging_labels(gallery, _labels("a", "b", "c"), np.array([-1, -1, 2]))
    assert kept.tolist() == ["a", "b", None]
    codes, near = np.array([0, 1, 1, -1]), np.array([[-1, -1], [1, -1], [-1, 0], [-1, -1]])
    assert answerable(codes, near, np.array([0, 1, -1])).tolist() == [True, False, True, False]


def _proof(label: Labels | None, copies: int = 1, pair_label: Labels | None = None) -> ProofReport:
    """Of a crossing from noisy old vectors to new ones that know the 12 groups of 5 rows, each there so many times;
    pair_label: of the pairs, where they have others than the items."""
    rng = np.random.default_rng(5)
    centre = np.repeat(rng.standard_normal((12, OLD)), 5, 0) + 0.15 * rng.standard_normal((ROWS, OLD))
    old = (centre + 1.5 * rng.standard_normal((ROWS, OLD))).astype(np.float32)
    new = (centre @ np.linalg.qr(rng.standard_normal((OLD, NEW)))[0]).astype(np.float32)
    old, new = np.tile(old, (copies, 1)), np.tile(new, (copies, 1))
    label = None if label is None else np.tile(label, copies)
    source, target = Space("o", OLD, "cosine"), Space("n", NEW, "cosine")
    pairs = Pairs(old, new, label=label if pair_label is None else pair_label)
    refit = partial(
        learn, Recipe(method_named("orthogonal")), source=source, target=target, device=torch.device("cpu"), seed=0
    )
    return prove(
        ProofGallery(old, label=label),
        PlacedPairs(pairs, np.arange(copies * ROWS)),
        Refittable(refit(pairs), refit),
        source=source,
        target=target,
    )


GROUPS = np.repeat(np.arange(12), 5)
LABELS: dict[str, Labels] = {
    "every label stands alone": _labels(*(f"sku-{row}" for row in range(ROWS))),
    "every label is the same": _labels(*["all"] * ROWS),
    "two thirds stand alone": _labels(*(f"g{GROUPS[row]}" if row < 20 else f"sku-{row}" for row in range(ROWS))),
    "one label is shared": _labels(*("shared" if row < 40 else f"sku-{row}" for row in range(ROWS))),
}


@pytest.mark.parametrize("kind", LABELS)
def test_where_labels_cannot_judge_neighbours_do_as_without_labels(kind: str) -> None:
    report, unlabelled = _proof(LABELS[kind]), _proof(None)
    assert report.basis.judged_by == "neighbours"
    assert "no better" not in report.reason
    assert not report.accepted
    assert "It cannot be told whether the gate is met" in report.reason
    assert any("Labels cannot say" in note for note in report.notes)
    assert report.metrics == unlabelled.metrics


def test_items_whose_label_stands_alone_are_left_out_of_what_labels_judge_and_counted() -> None:
    label = _labels(*(f"g{GROUPS[row]}" if row < 40 else f"sku-{row}" for row in range(ROWS)))
    report = _proof(label)
    assert (report.basis.judged_by, report.basis.queries) == ("label", 40)
    without_them = _proof(_labels(*(value if value.startswith("g") else None for value in label.tolist())))
    assert report.metrics == without_them.metrics
    assert any("20 of 60 labelled items have a label that no other item has" in note for note in report.notes)


def test_copies_are_searched_once_and_counted_and_nobody_finds_his_own() -> None:
    label = _labels(*(f"g{group}" for group in GROUPS))
    once, thrice = _proof(label), _proof(label, copies=3)
    assert any("120 of 180 gallery rows have the very vector and label of another" in note for note in thrice.notes)
    assert (thrice.basis.gallery_rows_searched, thrice.basis.queries) == (ROWS, ROWS)
    for alone, among in zip(once.metrics, thrice.metrics, strict=True):
        assert among.old_old.mean == pytest.approx(alone.old_old.mean, abs=0.02)
        assert among.cross.mean == pytest.approx(alone.cross.mean, abs=0.1)
    assert once.backfilled is not None
    assert thrice.backfilled is not None
    assert thrice.backfilled.old_old.mean == pytest.approx(once.backfilled.old_old.mean, abs=0.02)


def test_a_gallery_of_copies_of_one_item_is_nothing_to_judge_by() -> None:
    old = np.ones((ROWS, OLD), np.float32)
    assert first_copies(old, _labels(*["a"] * 30, *["b"] * 30)).tolist() == [0] * 30 + [30] * 30
    assert first_copies(old, _labels(*[None] * ROWS)).tolist() == [0] * ROWS


def test_a_pair_labelled_otherwise_than_its_item_judges_nothing_and_is_counted() -> None:
    labels = _labels(*(f"g{group}" for group in GROUPS))
    others = _labels(*(f"g{(group + (row % 5 == 0)) % 12}" for row, group in enumerate(GROUPS)))
    right, doubtful = _proof(labels), _proof(labels, pair_label=others)
    assert (right.basis.queries, doubtful.basis.queries) == (ROWS, ROWS - 12)
    assert doubtful.metrics[0].cross.mean == pytest.approx(right.metrics[0].cross.mean, abs=0.1)
    assert any("12 of 60 pairs have another label" in note for note in doubtful.notes)
    assert not any("another label" in note for note in right.notes)
