"""What fuses both models' queries in a gallery: the weights that were proved, and moments of all its items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.crossings import Crossing
from app.artifacts.folder import UpgradeArtifacts
from models.portable import Alphas, Moments, load_fusion
from models.proof.report import FusedResult
from tests.app.crossings import affine, space
from tests.workers.reporting.reports import PROOF, quantity
from workers.rows.items import Items
from workers.rows.partial import Partial
from workers.training.gallery_fusion import keep_fusion

OLD, NEW = space("old", 2), space("new", 3)
FUSED = FusedResult("cmc@1", quantity(0.5), quantity(0.25), quantity(0.125), 0.75, 0.25, (), ())
RNG = np.random.default_rng(0)
VECTORS, SIDE = RNG.standard_normal((2, 40, 2)).astype(np.float32)
HAS = np.arange(40) % 4 != 0


def items(has: np.ndarray) -> Items:
    ids = np.array([f"i{row}" for row in range(40)], object)
    return Items(np.arange(40), ids, np.full(40, None, object), VECTORS, Partial(SIDE * has[:, None], has))


@pytest.mark.parametrize("side", [None, 2])
def test_moments_are_those_of_the_items_as_they_stand_and_as_they_are_transformed(
    tmp_path: Path, side: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.gallery_fusion._AT_ONCE", 7)
    plain = affine(OLD, NEW, seed=1)
    crossing = Crossing(plain if side is None else affine(OLD, NEW, side), plain)
    artifacts, stored = UpgradeArtifacts(tmp_path, "upgrade"), items(HAS if side else np.zeros(40, bool))
    keep_fusion(artifacts, "faq", crossing, replace(PROOF, fused=FUSED), stored)
    kept = load_fusion(artifacts.fusion("faq"), source=OLD, target=NEW)
    transformed = crossing.apply(VECTORS, SIDE if side else None, stored.side.has)
    for mine, expected in (
        (kept.old, Moments.of(VECTORS, OLD.metric)),
        (kept.crossed, Moments.of(transformed, NEW.metric)),
    ):
        np.testing.assert_allclose(mine.mean, expected.mean, atol=1e-6)
        np.testing.assert_allclose(mine.covariance, expected.covariance, atol=1e-6)
    assert kept.alphas == Alphas(pushed=0.25, exact=0.75)


def test_nothing_is_kept_where_nothing_was_measured(tmp_path: Path) -> None:
    plain = affine(OLD, NEW)
    keep_fusion(UpgradeArtifacts(tmp_path, "upgrade"), "faq", Crossing(plain, plain), PROOF, items(HAS))
    assert not any(tmp_path.iterdir())
