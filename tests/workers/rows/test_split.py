"""Which rows are trained on: decided once, with whole classes kept back where the gallery holds others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.compatible_training import Split
from tests.workers.workshop import Workshop, compatible_upgrade
from workers.rows.split import read_split, split_rows

CODES = np.arange(200) % 5
LABELS = np.array(list("01234"))


def split(shop: Workshop, path: Path, evaluation: str | None = None, seed: int = 0) -> Split:
    upgrade = compatible_upgrade(
        shop, [shop.gallery], evaluation=evaluation, training={"validation": 0.2, "seed": seed}
    )
    return split_rows(shop.crosswalk, upgrade, CODES, LABELS, path)


def items(shop: Workshop, labels: list[str | None]) -> None:
    shop.put_items(range(len(labels)), label=labels)


def test_every_class_gives_its_share_where_the_dataset_has_every_label(shop: Workshop, tmp_path: Path) -> None:
    items(shop, ["0", "1", None, "4"])
    parts = split(shop, tmp_path / "split.npz")
    assert not parts.unseen.any()
    assert np.bincount(CODES[parts.held_out]).tolist() == [8] * 5
    assert sorted([*parts.training, *parts.held_out]) == list(range(200))


@pytest.mark.parametrize(("evaluation", "whole"), [(None, 2), ("judge", 0)])
def test_whole_classes_are_kept_back_for_a_gallery_with_labels_of_its_own_unless_others_judge(
    shop: Workshop, tmp_path: Path, evaluation: str | None, whole: int
) -> None:
    items(shop, ["0", "1", None, "of its own"])
    parts = split(shop, tmp_path / "split.npz", evaluation)
    assert parts.unseen.sum() == whole
    assert set(CODES[parts.training]) == set(np.flatnonzero(~parts.unseen))
    assert np.isin(np.flatnonzero(parts.unseen[CODES]), parts.held_out).all()


def test_it_is_decided_once_whatever_is_written_meanwhile(shop: Workshop, tmp_path: Path) -> None:
    items(shop, ["0", "1"])
    first = split(shop, tmp_path / "split.npz")
    items(shop, ["0", "of its own"])
    again, anew = split(shop, tmp_path / "split.npz", seed=1), split(shop, tmp_path / "anew.npz", seed=1)
    assert again.training.tolist() == first.training.tolist()
    assert not again.unseen.any()
    assert anew.unseen.any()
    assert read_split(tmp_path / "split.npz").held_out.tolist() == first.held_out.tolist()
    assert list(tmp_path.glob(".*")) == []
