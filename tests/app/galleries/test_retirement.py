"""When a transformation is retired, what that changes, and what brings it back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import event, text

from app.galleries.info import BUILDING
from app.galleries.tables import GenerationRow
from app.storage.lance_table import vector_type
from tests.app.galleries.upgraded import ITEMS, OLD, Upgraded
from tests.e2e.user import problem

EVERYTHING, FIRST, REST = range(ITEMS), range(1), range(1, ITEMS)


@pytest.fixture
def shop(upgraded: Upgraded) -> Upgraded:
    upgraded.upgrade()
    return upgraded


def retired(shop: Upgraded) -> bool:
    return shop.generation(2)["retired_at"] is not None


def test_transformation_is_retired_with_the_last_item_and_not_before(shop: Upgraded) -> None:
    shop.put("new", REST)
    assert not retired(shop)
    assert shop.route() == "transformed"
    shop.put("new", FIRST)
    assert retired(shop)
    assert shop.route() == "direct"
    assert shop.backfill(order="random") | {"curve": []} == {
        "gallery": "shop",
        "generation": 2,
        "model": "new",
        "items": ITEMS,
        "native_items": ITEMS,
        "share": 1.0,
        "order": "random",
        "next": [],
        "metric": "cmc@1",
        "curve": [],
        "complete": True,
    }


def test_retired_once_it_stays_so_since_then(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    since = shop.generation(2)["retired_at"]
    shop.put("new", FIRST)
    shop.backfill(order="random")
    assert shop.generation(2)["retired_at"] == since


def test_deleting_the_last_transformed_item_retires_as_well(shop: Upgraded) -> None:
    shop.put("new", REST)
    shop.post("/galleries/shop/items/delete", {"ids": shop.ids[:1]})
    assert retired(shop)


def test_empty_gallery_retires_nothing(shop: Upgraded) -> None:
    shop.post("/galleries/shop/items/delete", {"ids": shop.ids})
    assert not retired(shop)
    shop.put("old", FIRST)
    assert shop.route() == "transformed"


def test_gallery_that_is_emptied_after_it_was_retired_takes_old_items_again(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    shop.post("/galleries/shop/items/delete", {"ids": shop.ids[1:]})
    assert retired(shop)
    shop.post("/galleries/shop/items/delete", {"ids": shop.ids})
    assert not retired(shop)
    shop.put("old", FIRST)
    assert shop.route() == "transformed"


def test_deleting_some_of_a_retired_gallery_waits_for_no_writer(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    with shop.crosswalk.database.session() as session:
        session.execute(text("SELECT 1"))  # this session is SQLite's one writer now
        shop.crosswalk.retirement.after_delete("shop")
    assert retired(shop)


def test_writing_to_a_gallery_that_nothing_transforms_reads_nothing_more(upgraded: Upgraded) -> None:
    info = upgraded.crosswalk.galleries.info("shop")
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    event.listen(upgraded.crosswalk.database.engine, "before_cursor_execute", note)
    upgraded.crosswalk.retirement.after_put(info, "old")
    assert statements == []
    upgraded.crosswalk.galleries.info("shop")
    assert statements


def test_generation_that_is_still_built_is_not_settled(upgraded: Upgraded) -> None:
    with upgraded.crosswalk.database.session() as session:
        session.add(GenerationRow(gallery="shop", number=2, model="new", parent=1, state=BUILDING))
    info = upgraded.crosswalk.galleries.info("shop")
    upgraded.crosswalk.retirement.after_put(info, "old")
    assert not upgraded.crosswalk.retirement.settle("shop", 2)


def test_items_of_the_old_model_are_refused_from_then_on_and_nothing_of_them_is_stored(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    refused = problem(shop.put_answer("old", FIRST), 409, "wrong-state")
    assert "PUT them with model=new" in refused["detail"]
    assert '{"generation": 1}' in refused["detail"]
    assert retired(shop)
    shop.put("new", FIRST)


def test_rolled_back_gallery_takes_old_items_and_needs_the_transformation_again(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    shop.post("/galleries/shop/activate", {"generation": 1})
    assert retired(shop)
    shop.put("old", FIRST)
    assert retired(shop)  # nothing changed
    shop.change(FIRST)
    assert not retired(shop)
    shop.post("/galleries/shop/activate", {"generation": 2})
    assert shop.route() == "transformed"
    assert [one["id"] for one in shop.backfill(order="random")["next"]] == shop.ids[:1]


def test_rolled_back_and_forth_untouched_it_is_still_retired(shop: Upgraded) -> None:
    shop.put("new", EVERYTHING)
    for generation in (1, 2):
        shop.post("/galleries/shop/activate", {"generation": generation})
    assert retired(shop)
    assert shop.route() == "direct"


def test_old_item_that_slips_in_while_it_is_being_retired_brings_it_back(each_upgraded: Upgraded) -> None:
    """Checked before and written after: it is kept, and the note put right before the write is acknowledged."""
    shop = each_upgraded
    shop.upgrade()
    galleries = shop.crosswalk.galleries
    store = galleries.store(galleries.info("shop"))
    shop.put("new", EVERYTHING)
    assert retired(shop)
    late = pa.table({"id": shop.ids[:1], "embedding": pa.array((shop.old[:1] + 1).tolist(), vector_type(OLD))})
    store.put("old", OLD, lambda: ("new",), late.schema, lambda: iter(late.to_batches()))
    shop.crosswalk.retirement.after_put(galleries.info("shop"), "old")
    assert not retired(shop)
    assert shop.route() == "transformed"


def test_vector_dropped_while_it_is_being_retired_brings_it_back(shop: Upgraded) -> None:
    """Counted before and dropped after: whoever drops it saw a transformation that was not retired yet."""
    before = shop.crosswalk.galleries.info("shop")
    store = shop.crosswalk.galleries.store(before)

    def says(body: str) -> dict[str, int]:
        row = pa.table({"id": shop.ids[:1], "payload": [f'{{"body": "{body}"}}']})
        return store.change(row.schema, lambda: iter(row.to_batches()), lambda unknown: None).dropped

    says("a text")
    shop.crosswalk.items.re_embed("shop", "new", {shop.ids[0]: "a text"}, shop.new[:1], "body")
    shop.put("new", REST)
    assert retired(shop)
    assert says("another text") == {"new": 1}
    shop.crosswalk.retirement.after_drop(before)
    assert not retired(shop)


def test_note_that_a_crash_left_wrong_is_put_right_by_asking(shop: Upgraded) -> None:
    with shop.crosswalk.database.session() as session:
        row = session.get(GenerationRow, ("shop", 2))
        assert row is not None
        row.retired_at = row.created_at
    assert shop.route() == "direct"
    assert not shop.backfill(order="random")["complete"]
    assert not retired(shop)
    assert shop.route() == "transformed"
