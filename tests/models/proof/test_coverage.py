from __future__ import annotations

import numpy as np
import pytest

from models.proof.coverage import cover_by_density, cover_by_label


def labels(*names: str | None) -> np.ndarray:
    return np.array(names, dtype=object)


def test_label_is_covered_where_it_has_a_pair() -> None:
    c = cover_by_label(labels("a", "a", "b", None, "c"), labels("a", "c", None), labels("b"))
    assert c.names == ("a", "b", "c")
    assert c.gallery_cell.tolist() == [0, 0, 1, -1, 2]
    assert c.pair_cell.tolist() == [0, 2, -1]
    assert c.evaluation_cell.tolist() == [1]
    assert c.covered.tolist() == [True, False, True]
    assert c.share == pytest.approx(3 / 4)


def test_label_that_the_gallery_lacks_is_no_cell() -> None:
    c = cover_by_label(labels("a", "b"), labels("a", "z"), labels())
    assert c.names == ("a", "b")
    assert c.pair_cell.tolist() == [0, -1]


def test_integer_labels_are_labels() -> None:
    c = cover_by_label(np.array([3, 3, 7]), np.array([7]), np.array([], np.int64))
    assert c.names == ("3", "7")
    assert c.covered.tolist() == [False, True]


def test_pairs_stand_for_the_rows_of_their_label() -> None:
    c = cover_by_label(labels(*"aaaabb"), labels("a", "a", "b", None), labels())
    assert c.pair_weights().tolist() == [2, 2, 2, 0]


def test_chosen_pairs_share_out_their_label_by_what_they_stand_for() -> None:
    c = cover_by_label(labels(*"aaaabb"), labels("a", "a", "b", None), labels())
    assert c.pair_weights(np.array([0.3, 0.2, 0.4, 0.1])).tolist() == pytest.approx([2.4, 1.6, 2, 0])


def test_pairs_beside_a_sample_stand_for_as_much_as_its_pairs_on_the_average() -> None:
    c = cover_by_label(labels(*"aaaaaabb"), labels("a", "a", "a", "b", "b", None), labels())
    weight = c.pair_weights(np.array([0.25, 0.15, np.nan, np.nan, 0.6, np.nan]))
    assert weight.tolist() == pytest.approx([2 * 1.25, 2 * 0.75, 2, 1, 1, 0])
    assert weight.sum() == pytest.approx(c.size.sum()), "no item is counted twice, none is left out"
    nothing_known = c.pair_weights(np.full(6, np.nan))
    assert nothing_known.tolist() == c.pair_weights().tolist()


def test_chosen_pairs_that_stand_for_nothing_share_their_label_equally() -> None:
    c = cover_by_label(labels(*"aabb"), labels("a", "a", "b", "b"), labels())
    assert c.pair_weights(np.array([0.0, 0.0, 1.0, 0.0])).tolist() == [1, 1, 2, 0]


def test_no_pair_stands_for_more_than_twice_the_mean() -> None:
    c = cover_by_label(labels(*"aaaaaaaaab"), labels("a", "b", "b"), labels())
    assert c.pair_weights().tolist() == pytest.approx([2 * 10 / 3, 0.5, 0.5])


def clusters(rng: np.random.Generator, each: int) -> tuple[np.ndarray, np.ndarray]:
    centres = 5 * rng.normal(size=(8, 16))
    code = np.repeat(np.arange(8), each)
    return (centres[code] + rng.normal(size=(len(code), 16))).astype(np.float32), code


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_region_without_pairs_is_not_covered(metric: str) -> None:
    rng = np.random.default_rng(0)
    gallery, code = clusters(rng, 100)
    rows = rng.choice(np.flatnonzero(code < 4), 160, replace=False)
    c = cover_by_density(gallery, gallery[rows], gallery[:3], metric)  # type: ignore[arg-type]
    assert c.share == pytest.approx(0.5, abs=0.05)
    assert (code[~c.covered[c.gallery_cell]] >= 4).mean() > 0.95
    assert c.evaluation_cell.tolist() == c.gallery_cell[:3].tolist()


def test_random_pairs_cover_everything() -> None:
    rng = np.random.default_rng(1)
    gallery, _ = clusters(rng, 100)
    rows = rng.choice(len(gallery), 160, replace=False)
    assert cover_by_density(gallery, gallery[rows], gallery[:0], "l2").share > 0.97


def test_handful_of_pairs_still_covers_something() -> None:
    rng = np.random.default_rng(2)
    gallery, _ = clusters(rng, 10)
    assert cover_by_density(gallery, gallery[:2], gallery[:0], "l2").share > 0
