"""Fused scores are what the formula says, pushed or in full, and artifacts of them are taken for nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Floats
from models.portable import (
    Affine,
    Alphas,
    Array,
    Card,
    CorruptArtifact,
    Dense,
    Distance,
    Fusion,
    Moments,
    Network,
    NotPushable,
    PushedFusion,
    Space,
    Transformation,
    WrongDirection,
    load_fusion,
    load_uncertainty,
    save_fusion,
)
from tests.similarity import similarity

METRICS: tuple[Distance, ...] = ("cosine", "ip", "l2")
ROWS = 40


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def standardised(scores: Floats) -> Floats:
    return np.asarray((scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True))


@dataclasses.dataclass(frozen=True)
class World:
    """A gallery, queries of both models, and a crossing that is pushed exactly: h(x) = √c·Qx + b, Q orthonormal."""

    fusion: Fusion
    crossing: Transformation
    gallery: Array
    q_old: Array
    q_new: Array

    @classmethod
    def of(cls, source: Distance, target: Distance, alphas: Alphas, *, seed: int, size: float, far: float) -> "World":
        rng = np.random.default_rng(seed)
        gallery = size * (normal(rng, ROWS, 4) * np.array([3, 1, 1, 0.3], np.float32) + np.float32(far))
        weight = np.float32(1.7) * np.linalg.qr(rng.standard_normal((5, 4)))[0].astype(np.float32)
        bias = np.zeros(5, np.float32) if target == "cosine" else normal(rng, 5)
        card = Card("test", Space("old", 4, source), Space("new", 5, target), None, 9, {}, {}, "2026-01-01T00:00:00Z")
        h = Transformation(card, Affine(weight, bias))
        fusion = Fusion(card, Moments.of(gallery, source), Moments.of(h.apply(gallery), target), alphas)
        return cls(fusion, h, gallery, size * (normal(rng, 6, 4) + np.float32(far)), normal(rng, 6, 5))

    def similarities(self) -> tuple[Floats, Floats]:
        crossed = self.crossing.apply(self.gallery)
        return (
            similarity(self.q_old, self.gallery, self.fusion.source.metric),
            similarity(self.q_new, crossed, self.fusion.target.metric),
        )

    def by_the_index(self) -> Floats:
        """What an index of the old vectors answers the pushed queries with, as fused scores."""
        pushed = self.fusion.push(self.q_old, self.q_new, self.crossing)
        assert pushed.exact
        rows = self.gallery
        if self.fusion.source.metric == "cosine":
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        asked = similarity(pushed.queries, rows, pushed.score) * (1 if pushed.score == "ip" else -1)
        return np.asarray(pushed.scale[:, None] * asked + pushed.offset[:, None])


worlds = st.builds(
    World.of,
    st.sampled_from(METRICS),
    st.sampled_from(METRICS),
    st.integers(0, 20).map(lambda twentieths: Alphas(twentieths / 20, twentieths / 20)),
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
    far=st.sampled_from([0.0, 2.0]),
).filter(lambda world: world.fusion.source.metric == "cosine" or world.fusion.target.metric != "cosine")


@given(worlds)
@settings(max_examples=100)
def test_pushed_scores_are_the_scores_in_full_where_the_crossing_is_pushed_exactly(world: World) -> None:
    s_old, s_new = world.similarities()
    alpha = world.fusion.alphas.exact
    in_full = (1 - alpha) * standardised(s_old) + alpha * standardised(s_new)
    scored = world.fusion.scores(world.q_old, world.q_new, s_old, s_new)
    np.testing.assert_allclose(scored, in_full, atol=2e-3)
    np.testing.assert_allclose(world.by_the_index(), in_full, atol=2e-3)


@pytest.mark.parametrize("source", METRICS)
@pytest.mark.parametrize("target", METRICS)
def test_moments_give_the_mean_and_the_spread_of_the_scores_of_every_metric(source: Distance, target: Distance) -> None:
    world = World.of(source, target, Alphas(0.5, 0.5), seed=1, size=1.0, far=1.0)
    s_old, s_new = world.similarities()
    fused = world.fusion.scores(world.q_old, world.q_new, s_old, s_new)
    np.testing.assert_allclose(fused, (standardised(s_old) + standardised(s_new)) / 2, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_moments_are_the_same_whatever_parts_the_vectors_come_in(metric: Distance) -> None:
    rng = np.random.default_rng(0)
    vectors = (normal(rng, 90, 4) ** 3 + 50 * np.arange(4, dtype=np.float32)).astype(np.float32)
    vectors[:20] += 30
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
    y = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    squared = (y**2).sum(axis=1)
    for moments in (Moments.of(vectors, metric), Moments.of_parts(np.split(vectors, [20, 50]), metric)):
        np.testing.assert_allclose(moments.mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(moments.covariance, y.T @ y / 90, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(moments.skew, squared @ y / 90, rtol=1e-4, atol=1e-6)
        assert moments.square == pytest.approx(squared.var(), rel=1e-4)
    with pytest.raises(ValueError, match="one vector or more"):
        Moments.of(vectors[:0], metric)


def test_the_new_opinion_stands_for_both_of_an_item_without_an_old_vector() -> None:
    world = World.of("l2", "cosine", Alphas(0.1, 0.25), seed=2, size=1.0, far=0.0)
    s_old, s_new = world.similarities()
    lacking = np.arange(ROWS) % 3 == np.zeros((6, 1))
    fused = world.fusion.scores(world.q_old, world.q_new, np.where(lacking, np.nan, s_old), s_new)
    z_old, z_new = standardised(s_old), standardised(s_new)
    np.testing.assert_allclose(fused, np.where(lacking, z_new, 0.75 * z_old + 0.25 * z_new), atol=1e-4)


@pytest.mark.parametrize("source", METRICS)
def test_alpha_zero_ranks_as_the_old_search_even_where_pushing_is_approximate(source: Distance) -> None:
    world = World.of(source, "cosine", Alphas(0.0, 0.0), seed=3, size=1.0, far=1.0)
    np.testing.assert_array_equal(
        world.by_the_index().argsort(axis=1)[:, ::-1],
        np.argsort(-world.similarities()[0], axis=1),
    )


def test_pushing_is_said_to_be_approximate_where_the_crossing_is_not_pushed_exactly() -> None:
    world = World.of("l2", "cosine", Alphas(0.5, 0.5), seed=4, size=1.0, far=0.0)
    pushed = world.fusion.push(world.q_old, world.q_new, world.crossing)
    assert not pushed.exact
    assert "approximated" in pushed.reason


def test_a_crossing_that_is_not_linear_is_not_pushed() -> None:
    world = World.of("l2", "l2", Alphas(0.5, 0.5), seed=5, size=1.0, far=0.0)
    rng = np.random.default_rng(0)
    bent = Network((Dense(normal(rng, 3, 4), normal(rng, 3)),), (), (Dense(normal(rng, 5, 3), normal(rng, 5)),))
    with pytest.raises(NotPushable):
        world.fusion.push(world.q_old, world.q_new, Transformation(world.fusion.card, None, bent))


def test_a_query_that_tells_no_item_from_another_is_not_heard() -> None:
    card = Card("test", Space("old", 2, "ip"), Space("new", 2, "ip"), None, 9, {}, {}, "2026-01-01T00:00:00Z")
    old = np.array([[0, 1], [0, 2], [0, 4]], np.float32)
    alike = np.ones((3, 2), np.float32)
    fusion = Fusion(card, Moments.of(old, "ip"), Moments.of(alike, "ip"), Alphas(0.5, 0.5))
    blind, seeing = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    for q_old in (blind, seeing):
        s_old, s_new = similarity(q_old, old, "ip"), similarity(seeing, alike, "ip")
        fused = fusion.scores(q_old, seeing, s_old, s_new)
        expected = np.zeros((1, 3)) if q_old is blind else 0.5 * standardised(s_old)
        np.testing.assert_allclose(fused, expected, atol=1e-6)


def test_pushed_queries_are_never_longer_than_an_index_takes() -> None:
    world = World.of("l2", "ip", Alphas(0.95, 0.95), seed=0, size=1.0, far=0.0)
    directions = world.q_old / np.linalg.norm(world.q_old, axis=1, keepdims=True)

    def pushed(length: float) -> PushedFusion:
        return world.fusion.push(np.float32(length) * directions, world.q_new, world.crossing)

    near, far = pushed(1e6), pushed(1e18)
    assert np.linalg.norm(far.queries.astype(np.float64), axis=1).max() <= 1e18
    # What items are ranked by, but for |x|², hardly depends on how far away the old query is.
    by, expected = (2 * asked.scale[:, None] * asked.queries for asked in (far, near))
    np.testing.assert_allclose(by, expected, rtol=1e-3, atol=1e-4)


def test_wrong_shapes_and_weights_are_refused() -> None:
    world = World.of("cosine", "cosine", Alphas(0.5, 0.5), seed=6, size=1.0, far=0.0)
    fusion, scores = world.fusion, np.zeros((6, 3))
    calls: list[Callable[[], object]] = [
        lambda: fusion.scores(world.q_old[:, 1:], world.q_new, scores, scores),
        lambda: fusion.scores(world.q_old, world.q_old, scores, scores),
        lambda: fusion.scores(world.q_old[1:], world.q_new, scores, scores),
        lambda: fusion.scores(world.q_old, world.q_new, scores[1:], scores),
        lambda: fusion.scores(world.q_old, world.q_new, scores, scores[:, 1:]),
        lambda: fusion.push(world.q_old[1:], world.q_new, world.crossing),
        lambda: Alphas(1.1, 0),
        lambda: Alphas(0, float("nan")),
        lambda: dataclasses.replace(fusion, old=fusion.crossed),
        lambda: dataclasses.replace(fusion.old, square=float("nan")),
        lambda: dataclasses.replace(fusion.old, covariance=fusion.old.covariance[1:]),
        lambda: dataclasses.replace(fusion.old, skew=np.full(4, np.inf)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"shape|queries|weight|dimensions|variance|finite"):
            call()


def test_a_saved_fusion_loads_and_computes_the_same(tmp_path: Path) -> None:
    world = World.of("l2", "ip", Alphas(0.1, 0.2), seed=7, size=1.0, far=1.0)
    card = save_fusion(world.fusion, tmp_path)
    back = load_fusion(tmp_path, source=world.fusion.source, target=world.fusion.target)
    before, after = (f.push(world.q_old, world.q_new, world.crossing) for f in (world.fusion, back))
    np.testing.assert_array_equal(before.queries, after.queries)
    s_old, s_new = world.similarities()
    asked = (world.q_old, world.q_new, s_old, s_new)
    np.testing.assert_array_equal(world.fusion.scores(*asked), back.scores(*asked))
    assert back.card == card


def test_damaged_and_foreign_fusions_are_refused(tmp_path: Path) -> None:
    world = World.of("cosine", "cosine", Alphas(0.1, 0.2), seed=8, size=1.0, far=0.0)
    source, target = world.fusion.source, world.fusion.target
    save_fusion(world.fusion, tmp_path)
    with pytest.raises(WrongDirection):
        load_fusion(tmp_path, source=target, target=source)
    with pytest.raises(CorruptArtifact):
        load_uncertainty(tmp_path, source=source, target=target)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptArtifact):
        load_fusion(tmp_path, source=source, target=target)
