"""Fused searches find what the formula says, over every shape that a gallery can have, and stay level with writes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from app.settings import Settings
from models.portable import Distance
from tests.app.search.fused_world import NEW, OLD, SIDE, fused_world, normal

PUSHED: list[tuple[Distance, Distance]] = [("cosine", "cosine"), ("ip", "ip"), ("l2", "l2"), ("cosine", "l2")]
METRICS: list[tuple[Distance, Distance]] = [("cosine", "cosine"), ("ip", "ip"), ("l2", "l2"), ("l2", "cosine")]


@pytest.mark.parametrize(("source", "target"), PUSHED)
def test_one_query_to_the_old_index_finds_what_is_best_by_both_models_where_the_crossing_is_pushed_exactly(
    settings: Settings, source: Distance, target: Distance
) -> None:
    with fused_world(settings, source, target, items=300) as world:
        answer = world.agrees(pushed=True)
        assert (answer["generation"], answer["exact"], answer["note"]) == (1, True, None)
        world.put("old", {"i3": world.q_old[0], "later": world.q_old[1]})
        world.delete("i5", "i6")
        world.agrees(pushed=True)
        some = {f"i{row}" for row in range(0, 300, 7)}
        world.agrees(pushed=True, among=some, filter={"id": {"in": sorted(some)}})


@pytest.mark.parametrize(("source", "target"), METRICS)
def test_candidates_are_ranked_by_both_models_in_full_where_the_crossing_cannot_be_pushed(
    settings: Settings, source: Distance, target: Distance
) -> None:
    with fused_world(settings, source, target, exactly=False) as world:
        assert world.agrees()["exact"]
        world.put("old", {"i3": world.q_old[0], "later": world.q_old[1]}, {0: normal(8, SIDE), 1: normal(9, SIDE)})
        world.delete("i5", "i6")
        assert world.agrees(k=100)["exact"]
        some = {f"i{row}" for row in range(10, 60, 7)}
        world.agrees(among=some, filter={"id": {"in": sorted(some)}})


def test_an_answer_says_how_many_candidates_there_were_where_not_every_item_was_one(settings: Settings) -> None:
    with fused_world(settings, "cosine", "cosine", items=400, exactly=False) as world:
        answer, expected = world.ask(k=3), world.fused()
        assert not answer["exact"]
        assert answer["note"].startswith("100 candidates")
        for query, hits in enumerate(answer["results"]):
            own = [float(expected[hit["id"]][query]) for hit in hits]
            np.testing.assert_allclose([hit["score"] for hit in hits], own, atol=5e-3)


@pytest.mark.parametrize(("source", "target", "exactly"), [(*one, way) for one, way in product(METRICS, (True, False))])
def test_a_transformed_generation_and_the_one_before_it_are_searched_together_and_real_vectors_count_as_such(
    settings: Settings, source: Distance, target: Distance, exactly: bool
) -> None:
    with fused_world(settings, source, target, items=400, exactly=exactly) as world:
        world.put("new", {f"i{row}": normal(100 + row, NEW) for row in range(0, 40, 2)})
        world.transform()
        answer = world.agrees()
        assert (answer["generation"], answer["exact"], answer["note"]) == (2, True, None)
        world.put("new", {"i2": world.q_new[0], "i41": world.q_new[1], "by-new-alone": world.q_new[2]})
        world.put("old", {"i4": world.q_old[3], "by-old-alone": world.q_old[4]})
        world.delete("i8", "i9")
        world.agrees()
        assert "by-new-alone" in {hit["id"] for hit in world.agrees(k=500)["results"][2]}
        some = {f"i{row}" for row in range(0, 60, 3)} | {"by-new-alone"}
        world.agrees(among=some - {"i9"}, filter={"id": {"in": sorted(some)}})


def test_candidates_are_looked_for_until_no_other_item_can_be_among_the_best(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fused_world(settings, "cosine", "cosine", items=400) as world:
        world.transform()
        expected = world.agrees()
        monkeypatch.setattr("app.search.fused._LOOKED_AT", 5)
        monkeypatch.setattr("app.search.fused._CANDIDATES_AN_ANSWER", 1)
        assert world.agrees() == expected
        monkeypatch.setattr("app.search.fused._MOST_LOOKED_AT", 5)
        unsure = world.ask()
        assert not unsure["exact"]
        assert "the nearest 5 items by each of the two models" in unsure["note"]


def test_items_without_a_direction_are_found_last_by_the_old_model_and_searched_all_the_same(
    settings: Settings,
) -> None:
    with fused_world(settings, "cosine", "cosine") as world:
        world.put("old", {"zero": np.zeros(OLD, np.float32)})
        for transformed in (False, True):
            if transformed:
                world.transform()
            found = world.ask(k=61)["results"]
            assert [len(hits) for hits in found] == [61] * len(found)
            assert all(hits[0]["id"] != "zero" for hits in found)


def test_a_search_of_no_query_and_one_that_a_filter_empties_find_nothing(settings: Settings) -> None:
    with fused_world(settings, "l2", "l2") as world:
        for transformed in (False, True):
            if transformed:
                world.transform()
            assert world.ask(filter={"id": {"eq": "nobody"}})["results"] == [[]] * len(world.q_new)
