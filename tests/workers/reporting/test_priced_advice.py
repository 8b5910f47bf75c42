"""The advice with prices: which rungs there are, what they are worth, and what their cost rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.artifacts.crossings import Crossing
from app.settings import Settings
from models.proof.report import EvidenceNeeded, Recommendation
from models.transformations.pairs import Pairs
from tests.app.crossings import affine, normal, space
from tests.workers.reporting.reports import CASCADE, PROOF, RATE, SETTINGS
from workers.reporting.priced_advice import priced, priced_recommendation, timed


def test_a_cascade_is_worth_what_rewriting_is_and_is_not_offered_where_it_finds_too_little() -> None:
    short = replace(CASCADE, measured=CASCADE.overlap - 0.01)
    no_instant = replace(PROOF, advice=tuple(rung for rung in PROOF.advice if rung.name != "instant"))
    for proof in (PROOF, no_instant):
        rungs = priced(proof, RATE, SETTINGS, cascade=CASCADE)
        (place,) = [place for place, rung in enumerate(rungs) if rung.name == "cascade"]
        assert rungs[place].quality == PROOF.advice[2].quality
        assert rungs[place + 1].name == "transform"
        assert "cascade" not in {rung.name for rung in priced(proof, RATE, SETTINGS, cascade=short)}


def test_what_would_decide_has_the_price_of_embedding_so_many_items_as_far_as_it_is_known() -> None:
    needed = EvidenceNeeded("pairs", 400, 1200, 0.02)
    open_proof = replace(PROOF, recommendation=Recommendation("cannot_tell", "Cannot tell yet.", "Figures.", needed))
    said = priced_recommendation(open_proof, RATE.dimension, SETTINGS)
    assert said.costs == "Embedding them with the new model takes about 40 minutes and costs about 300.00."
    assert said.needed is not None
    assert said.needed.cost is not None
    assert (said.needed.cost.items_to_re_embed, said.needed.cost.compute_seconds) == (1200, 2400.0)
    assert said.needed.cost.unknown == ("compute_price",)
    assert said.to_json()["needed"]["more"] == 1200
    unknown = priced_recommendation(open_proof, RATE.dimension, Settings())
    assert unknown.costs == ""
    assert "costs" not in unknown.to_json()
    assert priced_recommendation(PROOF, RATE.dimension, SETTINGS) == PROOF.recommendation


def test_judged_queries_that_would_decide_have_no_price_of_items() -> None:
    needed = EvidenceNeeded("judged queries", 400, 1200, 0.02)
    said = Recommendation("cannot_tell", "Cannot tell yet.", "Figures.", needed)
    assert priced_recommendation(replace(PROOF, recommendation=said), RATE.dimension, SETTINGS) == said


def test_a_transformation_is_timed_on_vectors_with_and_without_side_information() -> None:
    rng = np.random.default_rng(0)
    old, new, side = normal(rng, 50, 4), normal(rng, 50, 3), normal(rng, 50, 2)
    reads = Crossing(affine(space("old", 4), space("new", 3), 2), affine(space("old", 4), space("new", 3)))
    plain = Crossing(affine(space("old", 4), space("new", 3)), affine(space("old", 4), space("new", 3)))
    for crossing, pairs in ((reads, Pairs(old, new, side)), (plain, Pairs(old, new))):
        assert timed(crossing, pairs).dimension == 3
