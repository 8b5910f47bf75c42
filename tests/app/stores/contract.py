"""What every kind of store keeps of `app.stores.protocol`, tested against the real thing.

A kind subclasses `StoreContract` in a module of its own and gives it a fixture `world`, a `StoreWorld`, new for each
test. What the kind is known not to do is told by its `Abilities`; all else is asked of every kind.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from app.stores.batches import item_batch, vector_array, vectors_of
from app.stores.protocol import CannotSwitch, Column, Store, StoreAway, Target, WrongPlace
from tests.app.stores.world import StoreWorld, UserItem, Vector, opened

ITEMS, BATCH_ROWS = 23, 5
TARGET = Target("faq-g2", dimension=6, metric="cosine")
ALL: tuple[Column, ...] = ("id", "vector", "mark", "text", "label", "payload")
SHOPS = [None, 'Bäckerei "Ümit" & Söhne', "it's; DROP TABLE x --", "書店\n\t\\", ""]


def unit_rows(count: int, dimension: int, seed: int = 0) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    unit: npt.NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def user_items(world: StoreWorld, count: int = ITEMS) -> list[UserItem]:
    """Items of every sort: with and without vectors where the store has both, with odd texts and fields."""
    vectors = unit_rows(count, world.dimension)
    return [
        UserItem(
            id=id_,
            vector=None if world.without_vectors and number % 7 == 3 else vectors[number],
            text=None if number % 5 == 4 else f"text {number} of {SHOPS[number % len(SHOPS)]}",
            label=f"label {number % 3}",
            payload={"shop": SHOPS[number % len(SHOPS)], "tags": ["a", {"b": number}]},
        )
        for number, id_ in enumerate(world.ids(count))
    ]


def items_to_write(items: pa.RecordBatch, seed: int = 1, target: Target = TARGET) -> pa.RecordBatch:
    """What an upgrade would write for scanned items: a new vector for each that has an old one."""
    items = items.filter(items.column("vector").is_valid())
    vectors = vector_array(unit_rows(items.num_rows, target.dimension, seed))
    return item_batch(
        ["id", "vector", "mark"], {"id": items.column("id"), "vector": vectors, "mark": items.column("mark")}
    )


def scanned(store: Store, columns: Sequence[Column] = ALL, after: str | None = None) -> pa.RecordBatch:
    batches = list(store.scan(columns, batch_rows=BATCH_ROWS, after=after))
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def ids_of(items: pa.RecordBatch) -> list[str]:
    return list(items.column("id").to_pylist())


def marks_of(items: pa.RecordBatch) -> dict[str, int]:
    return dict(zip(ids_of(items), items.column("mark").to_pylist(), strict=True))


def vectors_by_id(items: pa.RecordBatch) -> dict[str, Vector]:
    vectors, there = vectors_of(items)
    return {id_: vectors[row] for row, id_ in enumerate(ids_of(items)) if there[row]}


def held(store: Store, target: Target = TARGET) -> dict[str, Vector]:
    """What a target holds, by id."""
    batches = list(store.written(target, batch_rows=BATCH_ROWS, vectors=True))
    assert all(batch.num_rows <= BATCH_ROWS for batch in batches)
    return {id_: vector for batch in batches for id_, vector in vectors_by_id(batch).items()}


def assert_same(found: dict[str, Vector], wanted: dict[str, Vector], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for id_, vector in wanted.items():
        np.testing.assert_allclose(found[id_], vector, rtol=0, atol=tolerance)


class StoreContract:
    """Every kind passes all of it."""

    @pytest.fixture
    def items(self, world: StoreWorld) -> list[UserItem]:
        items = user_items(world)
        world.insert(items)
        return items

    @pytest.fixture
    def store(self, world: StoreWorld, items: list[UserItem]) -> Iterator[Store]:
        store = opened(world.connection, world.place)
        yield store
        store.close()

    # Reading

    def test_a_place_is_described(self, world: StoreWorld, store: Store) -> None:
        description = store.describe()
        assert (description.rows, description.dimension) == (ITEMS, world.dimension)
        assert description.metric in (None, "cosine")
        assert (description.rows_exact, store.describe(roughly=True).rows) == (True, ITEMS)

    def test_a_scan_gives_every_item_once_as_its_user_wrote_it(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        found = scanned(store)
        assert found.schema.names == list(ALL)
        assert sorted(ids_of(found)) == sorted(item.id for item in items)
        old = {item.id: item.vector for item in items if item.vector is not None}
        assert_same(vectors_by_id(found), old, world.tolerance)
        for name in ("text", "label"):
            wanted = {item.id: getattr(item, name) for item in items}
            assert dict(zip(ids_of(found), found.column(name).to_pylist(), strict=True)) == wanted
        payloads = dict(zip(ids_of(found), map(json.loads, found.column("payload").to_pylist()), strict=True))
        for item in items:
            without_nulls = {name: value for name, value in item.payload.items() if value is not None}
            assert {name: value for name, value in payloads[item.id].items() if value is not None} == without_nulls

    def test_a_scan_keeps_its_order_and_goes_on_behind_any_id(self, store: Store) -> None:
        order = ids_of(scanned(store, ["id"]))
        assert ids_of(scanned(store)) == order
        for place in (0, 4, 11):
            assert ids_of(scanned(store, ["id"], after=order[place])) == order[place + 1 :]
        assert list(store.scan(["id"], batch_rows=BATCH_ROWS, after=order[-1])) == []

    def test_batches_are_as_large_as_asked_for_at_most_and_have_the_columns_asked_for(self, store: Store) -> None:
        wanted: list[list[Column]] = [["id"], ["id", "mark"], ["vector", "id"], list(ALL)]
        for columns in wanted:
            batches = list(store.scan(columns, batch_rows=BATCH_ROWS))
            assert all(0 < batch.num_rows <= BATCH_ROWS for batch in batches)
            assert all(batch.schema.names == columns for batch in batches)
            assert all(batch.schema == batches[0].schema for batch in batches)

    def test_a_scan_left_early_leaves_the_store_as_it_was(self, store: Store) -> None:
        scan = store.scan(["id"], batch_rows=BATCH_ROWS)
        next(scan)
        del scan
        assert len(ids_of(scanned(store, ["id"]))) == ITEMS

    def test_items_are_found_by_their_ids_and_unknown_ones_are_left_out(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        wanted = [items[0].id, items[9].id, items[2].id]
        unknown = world.ids(ITEMS + 1)[-1]
        found = store.by_id([*wanted, unknown], ["id", "vector", "mark", "text"])
        assert sorted(ids_of(found)) == sorted(wanted)
        everything = scanned(store)
        assert marks_of(found) == {id_: marks_of(everything)[id_] for id_ in wanted}
        assert_same(vectors_by_id(found), {id_: vectors_by_id(everything)[id_] for id_ in wanted}, tolerance=0)
        assert store.by_id([unknown], ["id", "vector"]).num_rows == 0

    def test_a_mark_is_another_one_whenever_the_vector_is_and_only_then(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        before = marks_of(scanned(store, ["id", "mark"]))
        world.change(replace(items[0], vector=unit_rows(1, world.dimension, seed=9)[0]))
        world.change(replace(items[1], text="another text"))
        after = marks_of(scanned(store, ["id", "mark"]))
        of_items = store.describe().abilities.marks == "item"
        changed = {items[0].id, items[1].id} if of_items else {items[0].id}
        assert {id_ for id_ in before if before[id_] != after[id_]} == changed
        world.change(items[0])
        world.change(items[1])
        assert marks_of(scanned(store, ["id", "mark"])) == before

    def test_what_changes_during_a_scan_is_seen_as_the_store_says(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        scan = store.scan(["id"], batch_rows=BATCH_ROWS)
        seen = ids_of(next(scan))
        gone = [item.id for item in items if item.id not in seen][-2:]
        world.delete(gone)
        added = replace(items[0], id=world.ids(ITEMS + 1)[-1])
        world.insert([added])
        seen += [id_ for batch in scan for id_ in ids_of(batch)]
        assert len(seen) == len(set(seen))
        if store.describe().abilities.snapshot == "all":
            assert set(seen) == {item.id for item in items}
        assert {item.id for item in items} - set(gone) <= set(seen)
        assert set(seen) <= {item.id for item in [*items, added]}

    # Writing

    def test_what_is_written_is_there_for_whoever_opens_the_store_next(self, world: StoreWorld, store: Store) -> None:
        before = world.everything()
        store.make_target(TARGET)
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        assert store.write(TARGET, written) == []
        other = opened(world.connection, world.place)
        try:
            assert_same(held(other), vectors_by_id(written), world.tolerance)
            some = ids_of(written)[3:6]
            found = vectors_by_id(other.written_by_id(TARGET, [*some, world.ids(ITEMS + 1)[-1]]))
            assert_same(found, {id_: vectors_by_id(written)[id_] for id_ in some}, world.tolerance)
            assert sorted(id_ for batch in other.written(TARGET, batch_rows=4) for id_ in ids_of(batch)) == sorted(
                ids_of(written)
            )
        finally:
            other.close()
        assert world.everything() == before

    def test_a_target_is_empty_until_something_is_written(self, store: Store) -> None:
        store.make_target(TARGET)
        assert held(store) == {}

    def test_writing_again_replaces_and_repeats_nothing(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        items = scanned(store, ["id", "vector", "mark"])
        assert store.write(TARGET, items_to_write(items)) == []
        again = items_to_write(items, seed=2)
        assert store.write(TARGET, again) == []
        assert store.write(TARGET, again) == []
        assert_same(held(store), vectors_by_id(again), world.tolerance)
        assert len(next(store.written(TARGET, batch_rows=1000))) == again.num_rows

    def test_an_item_that_is_gone_is_not_written_and_named(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        gone = ids_of(written)[2:4]
        world.delete(gone)
        assert sorted(store.write(TARGET, written)) == sorted(gone)
        assert held(store).keys() == set(ids_of(written)) - set(gone)
        assert world.everything().keys() == set(ids_of(scanned(store, ["id"])))

    def test_an_item_that_has_changed_since_is_not_written_where_the_store_can_tell(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        world.change(replace(items[0], vector=unit_rows(1, world.dimension, seed=9)[0]))
        world.change(replace(items[1], text="another text"))
        refused = store.write(TARGET, written)
        abilities = store.describe().abilities
        changed = [items[0].id, items[1].id] if abilities.marks == "item" else [items[0].id]
        assert sorted(refused) == (sorted(changed) if abilities.conditional_write else [])
        assert held(store).keys() == set(ids_of(written)) - set(refused)

    def test_marks_and_old_vectors_stay_as_they_are_when_the_target_is_written(
        self, world: StoreWorld, store: Store
    ) -> None:
        before = scanned(store)
        store.make_target(TARGET)
        store.write(TARGET, items_to_write(before))
        assert scanned(store).equals(before)

    def test_erased_vectors_are_gone_and_no_others(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        store.write(TARGET, written)
        before = world.everything()
        erased = ids_of(written)[:3]
        for _ in range(2):
            store.erase(TARGET, erased)
            assert held(store).keys() == set(ids_of(written)) - set(erased)
        assert world.everything() == before

    def test_a_deleted_item_is_out_of_the_target_once_it_is_erased(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        store.write(TARGET, written)
        gone = ids_of(written)[1:3]
        world.delete(gone)
        store.erase(TARGET, gone)
        assert held(store).keys() == set(ids_of(written)) - set(gone)

    def test_targets_of_two_upgrades_do_not_touch_each_other(self, world: StoreWorld, store: Store) -> None:
        other = Target("faq-g3", dimension=9, metric="cosine")
        items = scanned(store, ["id", "vector", "mark"])
        for target in (TARGET, other):
            store.make_target(target)
            store.write(target, items_to_write(items, target=target))
        store.drop(other)
        assert_same(held(store), vectors_by_id(items_to_write(items)), world.tolerance)

    def test_a_name_that_something_else_has_is_refused(self, world: StoreWorld, store: Store) -> None:
        world.take_name(TARGET)
        with pytest.raises(WrongPlace, match=TARGET.name):
            store.make_target(TARGET)

    # Switching

    def test_an_index_is_built_as_often_as_asked_for(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        store.write(TARGET, written)
        store.build_index(TARGET)
        store.build_index(TARGET)
        assert_same(held(store), vectors_by_id(written), world.tolerance)

    def test_readers_see_the_target_after_a_switch_and_the_old_vectors_after_switching_back(
        self, world: StoreWorld, store: Store
    ) -> None:
        items = scanned(store, ["id", "vector", "mark"])
        before = world.everything()
        store.make_target(TARGET)
        written = items_to_write(items)
        store.write(TARGET, written)
        store.build_index(TARGET)
        if store.describe().abilities.switching == "statement":
            statement = store.switch(TARGET).statement
            assert statement is not None
            assert TARGET.name in statement
            store.switch_back(TARGET)
        else:
            store.switch_back(TARGET)
            for _ in range(2):
                store.switch(TARGET)
                store.switch(TARGET)
                assert_same(world.seen(), vectors_by_id(written), world.tolerance)
                assert world.everything() == before
                store.switch_back(TARGET)
                store.switch_back(TARGET)
                assert_same(world.seen(), vectors_by_id(items), world.tolerance)
        assert world.everything() == before
        assert scanned(store, ["id", "vector", "mark"]).equals(items)

    def test_switching_back_from_a_target_that_readers_do_not_see_changes_nothing(
        self, world: StoreWorld, store: Store
    ) -> None:
        if store.describe().abilities.switching == "statement":
            pytest.skip("the store does not know what its readers see")
        other = Target("faq-g3", dimension=9, metric="cosine")
        items = scanned(store, ["id", "vector", "mark"])
        for target in (TARGET, other):
            store.make_target(target)
            store.write(target, items_to_write(items, target=target))
            store.build_index(target)
        store.switch(TARGET)
        store.switch_back(TARGET)
        store.switch(other)
        seen = vectors_by_id(items_to_write(items, target=other))
        store.switch_back(TARGET)
        assert_same(world.seen(), seen, world.tolerance)
        store.drop(TARGET)
        store.switch_back(TARGET)
        assert_same(world.seen(), seen, world.tolerance)
        store.switch_back(other)
        assert_same(world.seen(), vectors_by_id(items), world.tolerance)

    def test_what_readers_see_is_not_dropped(self, world: StoreWorld, store: Store) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        store.write(TARGET, written)
        if store.describe().abilities.switching == "statement":
            pytest.skip("the store does not know what its readers see")
        store.switch(TARGET)
        with pytest.raises(CannotSwitch):
            store.drop(TARGET)
        assert_same(world.seen(), vectors_by_id(written), world.tolerance)
        store.switch_back(TARGET)
        store.drop(TARGET)

    def test_dropping_removes_the_target_and_nothing_else(self, world: StoreWorld, store: Store) -> None:
        before = world.everything()
        store.drop(TARGET)
        store.make_target(TARGET)
        store.write(TARGET, items_to_write(scanned(store, ["id", "vector", "mark"])))
        store.build_index(TARGET)
        store.drop(TARGET)
        store.drop(TARGET)
        assert world.everything() == before
        store.make_target(TARGET)
        assert held(store) == {}

    # What is wrong

    def test_a_place_that_is_not_there_is_refused_and_what_there_is_is_named(
        self, world: StoreWorld, items: list[UserItem]
    ) -> None:
        assert world.wrong_places
        for place, there in world.wrong_places:
            with pytest.raises(WrongPlace) as raised:
                opened(world.connection, place).describe()
            assert there in str(raised.value)
            assert not [secret for secret in world.secrets if secret in str(raised.value)]

    def test_a_store_that_does_not_answer_is_told_without_its_address_and_secrets(self, world: StoreWorld) -> None:
        with pytest.raises(StoreAway) as raised:
            opened(world.unreachable, world.place).describe()
        assert world.unreachable.name in str(raised.value)
        assert not [secret for secret in world.secrets if secret in str(raised.value)]
        assert raised.value.__suppress_context__ or raised.value.__cause__ is None
