"""The advice with prices: which rungs there are, what they are worth, and what their cost rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.artifacts.crossings import Crossing
from models.transformations.pairs import Pairs
from tests.app.crossings import affine, normal, space
from tests.workers.reporting.reports import CASCADE, PROOF, RATE, SETTINGS
from workers.reporting.priced_advice import priced, timed


def test_a_cascade_is_worth_what_rewriting_is_unless_it_finds_too_little() -> None:
    short = replace(CASCADE, measured=CASCADE.overlap - 0.01)
    for cascade, quality in ((CASCADE, PROOF.advice[2].quality), (short, None)):
        (rung,) = [rung for rung in priced(PROOF, RATE, SETTINGS, cascade=cascade) if rung.name == "cascade"]
        assert rung.quality == quality


def test_a_transformation_is_timed_on_vectors_with_and_without_side_information() -> None:
    rng = np.random.default_rng(0)
    old, new, side = normal(rng, 50, 4), normal(rng, 50, 3), normal(rng, 50, 2)
    reads = Crossing(affine(space("old", 4), space("new", 3), 2), affine(space("old", 4), space("new", 3)))
    plain = Crossing(affine(space("old", 4), space("new", 3)), affine(space("old", 4), space("new", 3)))
    for crossing, pairs in ((reads, Pairs(old, new, side)), (plain, Pairs(old, new))):
        assert timed(crossing, pairs).dimension == 3
