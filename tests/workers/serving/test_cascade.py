"""The number of candidates that is measured, against loops over every query and every number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifacts.cascade import Cascade
from app.artifacts.crossings import Crossing
from models.portable import Affine, Array, Card, Distance, Space, Transformation, as_indexed
from models.transformations.linear import orthogonal
from tests.app.crossings import network_crossing, normal
from tests.models.degenerate import METRICS, plain_vectors, with_dead_dimensions, world_of
from workers.rows.items import Items
from workers.rows.partial import Partial
from workers.serving.cascade import CascadeQueries, measure_cascade, needs_cascade

SOURCE, TARGET, SIDE, ITEMS = Space("old", 6, "cosine"), Space("new", 8, "l2"), 3, 260


def items(rows: int = ITEMS) -> Items:
    rng = np.random.default_rng(2)
    has = np.arange(rows) % 4 > 0
    side = Partial(normal(rng, rows, SIDE) * has[:, None], has)
    names = np.array([f"i{row}" for row in range(rows)], object)
    return Items(np.arange(rows), names, np.full(rows, None), normal(rng, rows, SOURCE.dimension), side)


def measured(
    gallery: Items, queries: CascadeQueries, crossing: Crossing, folder: Path, overlap: float, limit: int
) -> Cascade:
    ticks: list[int] = []
    measurement = measure_cascade(
        gallery,
        queries,
        crossing,
        source=SOURCE,
        target=TARGET,
        overlap=overlap,
        limit=limit,
        scratch=folder,
        tick=lambda done, total: ticks.append(done),
    )
    assert ticks[-1] == len(gallery.id)
    assert not list(folder.iterdir()), "what was measured with is thrown away"
    return measurement


def overlaps(gallery: Items, queries: CascadeQueries, crossing: Crossing, wanted: int) -> list[float]:
    """The mean share of the true nearest among the first 1, 2, … candidates, own item excluded."""
    transformed = crossing.apply(gallery.vector, gallery.side.values, gallery.side.has).astype(np.float64)
    old, pushed = as_indexed(gallery.vector, "cosine"), crossing.plain.push(queries.vectors)
    shares = np.zeros((len(queries.vectors), len(gallery.id)))
    for number, (query, own) in enumerate(zip(queries.vectors, queries.own.tolist(), strict=True)):
        nearest = [int(row) for row in np.argsort(((query - transformed) ** 2).sum(axis=1)) if row != own]
        away = ((pushed.queries[number].astype(float) - old) ** 2).sum(axis=1)
        order = [int(row) for row in np.argsort(away if pushed.score == "l2" else -away) if row != own]
        for count in range(1, len(order) + 1):
            shares[number, count - 1] = len(set(order[:count]) & set(nearest[:wanted])) / wanted
        shares[number, len(order) :] = 1
    return [float(share) for share in shares.mean(axis=0)]


@pytest.mark.parametrize("overlap", [0.6, 0.9, 1.0])
def test_fewest_candidates_with_the_overlap_asked_for_are_found(overlap: float, tmp_path: Path) -> None:
    gallery, crossing = items(), network_crossing(SOURCE, TARGET, SIDE)
    queries = CascadeQueries(normal(np.random.default_rng(3), 30, 8), np.where(np.arange(30) % 2, np.arange(30), -1))
    cascade = measured(gallery, queries, crossing, tmp_path, overlap, ITEMS)
    ten, hundred = (overlaps(gallery, queries, crossing, wanted) for wanted in (10, 100))
    assert cascade.k == max(10, 1 + next(count for count, share in enumerate(ten) if share >= overlap - 1e-9))
    assert cascade.k_for_100 is not None
    assert cascade.k_for_100 == 1 + next(count for count, share in enumerate(hundred) if share >= overlap - 1e-9)
    assert cascade.measured == pytest.approx(ten[cascade.k - 1])
    assert cascade.interval[0] <= cascade.measured <= cascade.interval[1]
    assert (cascade.queries, cascade.gallery_rows) == (30, ITEMS)


def test_limit_is_kept_and_what_it_costs_is_said(tmp_path: Path) -> None:
    gallery, crossing = items(), network_crossing(SOURCE, TARGET, SIDE)
    queries = CascadeQueries(normal(np.random.default_rng(3), 30, 8), np.full(30, -1))
    cascade = measured(gallery, queries, crossing, tmp_path, 1.0, 20)
    assert cascade.k == 20
    assert cascade.measured == pytest.approx(overlaps(gallery, queries, crossing, 10)[19])
    assert cascade.measured < 1


@pytest.mark.parametrize("rows", [1, 9])
def test_gallery_of_fewer_rows_than_answers_is_searched_whole(rows: int, tmp_path: Path) -> None:
    queries = CascadeQueries(normal(np.random.default_rng(3), 5, 8), np.full(5, 0))
    cascade = measured(items(rows), queries, network_crossing(SOURCE, TARGET, SIDE), tmp_path, 0.99, 50)
    assert (cascade.k, cascade.k_for_100, cascade.measured) == (rows, None, 1.0)


def test_queries_whose_own_item_is_gone_are_measured_beside_those_whose_item_is_there(tmp_path: Path) -> None:
    queries = CascadeQueries(normal(np.random.default_rng(3), 5, 8), np.array([0, -1, 1, -1, 2]))
    cascade = measured(items(20), queries, network_crossing(SOURCE, TARGET, SIDE), tmp_path, 0.99, 50)
    assert (cascade.queries, cascade.gallery_rows) == (5, 20)
    assert cascade.measured >= 0.99


def test_only_what_cannot_be_pushed_exactly_needs_a_cascade() -> None:
    def rotation(target: Space, shift: float, beside: int | None = None) -> Crossing:
        affine = Affine(np.eye(8, 6, dtype=np.float32), np.full(8, shift, np.float32), _side(beside))
        card = Card("test", SOURCE, target, beside, 9, {}, {}, "2026-01-01T00:00:00Z")
        h = Transformation(card, affine)
        return Crossing(h, h)

    queries = np.ones((2, 8), np.float32)
    towards_cosine = Space("new", 8, "cosine")
    assert not needs_cascade(rotation(TARGET, 0.5), queries)
    assert not needs_cascade(rotation(towards_cosine, 0), queries)
    assert needs_cascade(rotation(towards_cosine, 0.5), queries)
    assert needs_cascade(rotation(TARGET, 0.5, beside=SIDE), queries)
    assert needs_cascade(network_crossing(SOURCE, TARGET, SIDE), queries)


@pytest.mark.parametrize("scale", [1e-33, 1e-20])
@pytest.mark.parametrize("dead", ["old", "new", "both"])
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_learned_from_nearly_dead_dimensions_finds_what_the_rewritten_gallery_does(
    metric: Distance, dead: str, scale: float, tmp_path: Path
) -> None:
    old, new, _ = plain_vectors()
    old = with_dead_dimensions(old, scale) if dead != "new" else old
    new = with_dead_dimensions(new, scale) if dead != "old" else new
    seen = world_of(old, new, metric, metric)
    crossing = orthogonal(seen.pairs, seen.source, seen.target)
    rows = len(seen.pairs)
    names, nobody = np.array([f"i{row}" for row in range(rows)], object), np.full(rows, None)
    found = measure_cascade(
        Items(np.arange(rows), names, nobody, seen.pairs.old, Partial.empty(rows)),
        CascadeQueries(seen.queries.new, np.full(len(seen.queries), -1)),
        Crossing(crossing, crossing),
        source=seen.source,
        target=seen.target,
        overlap=0.9,
        limit=60,
        scratch=tmp_path,
        tick=lambda done, total: None,
    )
    assert found.measured >= 0.9
    assert found.k < 60


def _side(beside: int | None) -> Array | None:
    return None if beside is None else np.ones((8, beside), np.float32)
