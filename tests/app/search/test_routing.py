"""Which route answers a query, over every shape that a gallery's history can take."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.galleries.info import BUILDING, READY, GalleryInfo, GenerationInfo
from app.search.fused_routing import NothingToFuse, find_fused_route
from app.search.routing import Route, choices, find_route
from models.portable import Space

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def gallery(active: int, *steps: tuple[str, int | None], state: str = READY) -> GalleryInfo:
    """Generations by model and parent, numbered from 1; `state` is that of the last."""
    generations = {
        number: GenerationInfo(
            number=number,
            space=Space(model, 4, "cosine"),
            parent=parent,
            upgrade=None if parent is None else f"upgrade-{number}",
            transformation=None if parent is None else f"upgrade-{number}",
            state=state if number == len(steps) else READY,
            store_version=None,
            index_name=None,
            created_at=NOW,
            ready_at=NOW,
        )
        for number, (model, parent) in enumerate(steps, 1)
    }
    return GalleryInfo("g", "g", steps[0][0], None, {}, active, NOW, generations)


CHAIN = (("a", None), ("b", 1), ("c", 2))
BRANCH = (("a", None), ("b", 1), ("c", 1))


@pytest.mark.parametrize(
    ("info", "model", "crossable", "expected"),
    [
        (gallery(1, ("a", None)), "a", {}, Route("direct", 1)),
        (gallery(1, ("a", None)), "b", {}, None),
        (gallery(1, ("a", None)), "b", {"b": "u"}, Route("instant", 1, "u")),
        (gallery(1, ("a", None)), "a", {"a": "u"}, Route("direct", 1)),
        (gallery(1, ("a", None), ("b", 1), state=BUILDING), "b", {"b": "u"}, Route("instant", 1, "u")),
        (gallery(1, ("a", None), ("b", 1)), "b", {}, None),
        (gallery(2, ("a", None), ("b", 1)), "b", {}, Route("transformed", 2)),
        (gallery(2, ("a", None), ("b", 1)), "a", {}, Route("direct", 1)),
        (gallery(3, *CHAIN), "a", {}, Route("direct", 1)),
        (gallery(3, *CHAIN), "b", {}, Route("transformed", 2)),
        (gallery(3, *CHAIN), "c", {}, Route("transformed", 3)),
        (gallery(2, *CHAIN), "c", {}, None),
        (gallery(2, *CHAIN), "c", {"c": "u"}, Route("instant", 2, "u")),
        (gallery(3, *BRANCH), "b", {}, None),
        (gallery(3, *BRANCH), "c", {}, Route("transformed", 3)),
        (gallery(3, *BRANCH), "d", {"e": "u"}, None),
    ],
)
def test_route_leads_to_the_active_generation_or_one_that_it_was_derived_from(
    info: GalleryInfo, model: str, crossable: dict[str, str], expected: Route | None
) -> None:
    assert find_route(info, model, {}, crossable.get(model)) == expected


@pytest.mark.parametrize(
    ("info", "compatible", "crossable", "expected"),
    [
        (gallery(1, ("a", None)), {"a": "t"}, {}, Route("compatible", 1, "t")),
        (gallery(1, ("a", None)), {"b": "t"}, {}, None),
        (gallery(1, ("a", None)), {"a": "t"}, {"q": "u"}, Route("compatible", 1, "t")),
        (gallery(1, ("q", None)), {"a": "t"}, {}, Route("direct", 1)),
        (gallery(2, ("a", None), ("q", 1)), {"a": "t"}, {}, Route("transformed", 2)),
        (gallery(2, ("a", None), ("b", 1)), {"b": "t"}, {}, Route("compatible", 2, "t")),
        (gallery(2, ("a", None), ("b", 1)), {"a": "t"}, {}, Route("compatible", 1, "t")),
        (gallery(2, ("a", None), ("b", 1)), {"a": "t", "b": "s"}, {}, Route("compatible", 2, "s")),
        # The generation behind lacks what was written in the new space: the active one answers where it can.
        (gallery(2, ("a", None), ("b", 1)), {"a": "t"}, {"q": "u"}, Route("instant", 2, "u")),
        (gallery(1, ("a", None), ("b", 1)), {"b": "t"}, {}, None),
        (gallery(3, *CHAIN), {"b": "t"}, {}, Route("compatible", 2, "t")),
        (gallery(3, *BRANCH), {"b": "t"}, {}, None),
    ],
)
def test_compatible_route_leads_to_the_newest_generation_in_whose_space_the_model_lands(
    info: GalleryInfo, compatible: dict[str, str], crossable: dict[str, str], expected: Route | None
) -> None:
    assert find_route(info, "q", compatible, crossable.get("q")) == expected


def test_cascade_answers_by_instant_too_where_that_is_asked_for_and_no_other_route_by_another() -> None:
    assert set(choices(Route("cascade", 1, "u"))) == {"cascade", "instant"}
    assert choices(Route("instant", 1, "v")) == ("instant",)
    assert choices(Route("transformed", 2)) == ("transformed",)


@pytest.mark.parametrize(
    ("info", "model", "crossable", "expected"),
    [
        (gallery(1, ("a", None)), "b", {}, None),
        (gallery(1, ("a", None)), "b", {"b": "u"}, Route("fused", 1, "u")),
        (gallery(1, ("a", None), ("b", 1), state=BUILDING), "b", {"b": "u"}, Route("fused", 1, "u")),
        (gallery(1, ("a", None), ("b", 1)), "b", {}, None),
        (gallery(2, ("a", None), ("b", 1)), "b", {}, Route("fused", 2, "upgrade-2", beside=1)),
        (gallery(3, *CHAIN), "b", {}, Route("fused", 2, "upgrade-2", beside=1)),
        (gallery(3, *CHAIN), "c", {}, Route("fused", 3, "upgrade-3", beside=2)),
        (gallery(2, *CHAIN), "c", {"c": "u"}, Route("fused", 2, "u")),
        (gallery(3, *BRANCH), "b", {}, None),
        (gallery(3, *BRANCH), "c", {}, Route("fused", 3, "upgrade-3", beside=1)),
    ],
)
def test_fused_route_leads_over_the_crossing_or_to_a_transformed_generation_and_the_one_before_it(
    info: GalleryInfo, model: str, crossable: dict[str, str], expected: Route | None
) -> None:
    assert find_fused_route(info, model, crossable.get(model)) == expected


def test_nothing_is_fused_with_vectors_that_are_all_the_models_own() -> None:
    with pytest.raises(NothingToFuse, match="no old model"):
        find_fused_route(gallery(1, ("a", None)), "a", None)
    with pytest.raises(NothingToFuse, match="no old model"):
        find_fused_route(gallery(2, ("a", None), ("b", 1)), "a", None)
    info = gallery(2, ("a", None), ("b", 1))
    info.generations[2] = replace(info.generations[2], retired_at=NOW)
    with pytest.raises(NothingToFuse, match="the transformation from 'a' was retired"):
        find_fused_route(info, "b", None)
