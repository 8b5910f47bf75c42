"""Proofs by judged queries, and what is learned from a log of them, in spaces that real models have: the figures stay
within what shares can be, and a dimension that tells nothing, or another unit, changes nothing."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.judged_metrics import Judgements
from models.portable import Distance
from models.proof.crossing import Refittable
from models.proof.gate import AcceptanceGate
from models.proof.inputs import NothingToJudge, PlacedPairs, ProofGallery, ProofLimits
from models.proof.judged_proof import prove_by_queries
from models.proof.judged_queries import JudgedQueries
from models.proof.report import ProofReport
from models.transformations.methods import Recipe, learn
from models.transformations.pairs import Pairs, Refit
from models.transformations.query_pairs import QueryPairsResult, try_query_pairs
from tests.models.degenerate import (
    COLLAPSES,
    METRICS,
    DegenerateWorld,
    collapsed,
    plain_vectors,
    with_dead_dimensions,
    world_of,
)

NEARLY_DEAD = st.sampled_from([0.0, 1e-38, 1e-33, 1e-20, 1e-9])
UNITS = st.sampled_from([(1e-20, 1.0), (1.0, 1e10), (1e-20, 1e-20), (1e10, 1e-3)])
metrics = st.sampled_from(METRICS)
HARD: list[tuple[str, Distance]] = [(how, "l2") for how in COLLAPSES]
HARD += [(how, "cosine") for how in ("one direction", "all zero", "sparse", "narrow")]


def refit_of(world: DegenerateWorld) -> Refit:
    recipe = Recipe("ridge", False, {})
    return partial(learn, recipe, source=world.source, target=world.target, device=torch.device("cpu"))


def proved(world: DegenerateWorld) -> ProofReport:
    """Every query asks for the items of its class; the pairs, which are half of the gallery, are held out."""
    assert world.pairs.label is not None
    assert world.queries.label is not None
    query, row = np.nonzero(world.queries.label[:, None] == world.pairs.label)
    judgements = Judgements(len(world.queries), query, row, np.ones(len(row)))
    rows = np.arange(0, len(world.pairs), 2)
    pairs, refit = Pairs(world.pairs.old[rows], world.pairs.new[rows]), refit_of(world)
    crossing = Refittable(refit(pairs), refit)
    return prove_by_queries(
        ProofGallery(world.pairs.old),
        PlacedPairs(pairs, rows),
        crossing,
        JudgedQueries(world.queries.old, world.queries.new, judgements),
        source=world.source,
        target=world.target,
        gate=AcceptanceGate("ndcg@10"),
        instant=crossing,
        limits=ProofLimits(row_folds=3),
    )


def tried(world: DegenerateWorld) -> QueryPairsResult:
    items, queries = (Pairs(part.old, part.new) for part in (world.pairs, world.queries))
    result = try_query_pairs(items, queries, refit_of(world))
    assert result is not None
    return result


def figures(world: DegenerateWorld) -> list[float]:
    """Every mean of a proof and of a trial, in order."""
    report, trial = proved(world), tried(world)
    assert report.fused is not None
    quantities = [q for result in report.metrics for q in (result.old_old, result.cross, result.difference)]
    means = [q.mean for q in (*quantities, report.fused.quality, report.fused.difference)]
    return [*means, trial.without.mean, trial.beside.mean]


@cache
def plain_figures(source: Distance, target: Distance) -> list[float]:
    return figures(world_of(*plain_vectors()[:2], source, target))


@given(in_old=NEARLY_DEAD, in_new=NEARLY_DEAD, units=UNITS, source=metrics, target=metrics)
@settings(max_examples=6)
def test_nearly_dead_dimensions_and_units_change_no_figure_of_judged_queries(
    in_old: float, in_new: float, units: tuple[float, float], source: Distance, target: Distance
) -> None:
    old, new, _ = plain_vectors()
    wider = with_dead_dimensions(old, in_old) * units[0], with_dead_dimensions(new, in_new) * units[1]
    changed = figures(world_of(*wider, source, target))
    np.testing.assert_allclose(changed, plain_figures(source, target), atol=0.03)


@pytest.mark.parametrize(("how", "metric"), HARD)
def test_figures_of_judged_queries_in_collapsed_spaces_are_shares(how: str, metric: Distance) -> None:
    old, new, _ = plain_vectors()
    for vectors in ((collapsed(old, how), new), (old, collapsed(new, how))):
        world = world_of(*vectors, metric, metric)
        trial = tried(world)
        if not np.ptp(world.pairs.old, axis=0).any():
            with pytest.raises(NothingToJudge, match="all 90 pairs have one old vector"):
                proved(world)
            continue
        report = proved(world)
        shares = [share for result in report.metrics for share in (result.old_old, result.cross)]
        assert all(0 <= share.low <= share.mean <= share.high <= 1 for share in shares)
        assert all(-1 <= result.difference.low <= result.difference.high <= 1 for result in report.metrics)
        assert min(trial.without.mean, trial.beside.mean) >= 0
        assert max(trial.without.mean, trial.beside.mean) <= 1


def test_queries_all_alike_by_the_new_model_are_not_accepted() -> None:
    old, new, _ = plain_vectors()
    report = proved(world_of(old, collapsed(new, "all the same")))
    assert not report.accepted
    assert report.metrics[0].difference.high < 0
