"""Galleries, items and datasets over HTTP: what was acknowledged is found, what was refused is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.e2e.conftest import NewScene
from tests.e2e.user import ARROW, NPZ, PARQUET, arrow, checked, cosine_ranking, npz, parquet, problem, table
from tests.worlds import OLD, SIDE

JSON = "application/json"


def test_items_of_every_format_are_found_by_the_next_search(scene: NewScene) -> None:
    s = scene()
    items = s.world.gallery.take(slice(0, 80))
    parts = [items.take(slice(start, start + 20)) for start in range(0, 80, 20)]
    rows = [
        {"id": name, "label": label, "embedding": vector}
        for name, label, vector in zip(parts[3].id, parts[3].label, parts[3].old.tolist(), strict=True)
    ]
    bodies = [
        (parquet(table(parts[0], parts[0].old)), PARQUET),
        (arrow(table(parts[1], parts[1].old)), ARROW),
        (npz(id=parts[2].id, label=parts[2].label, embedding=parts[2].old), NPZ),
        (json.dumps({"items": rows}).encode(), JSON),
    ]
    for number, (body, media_type) in enumerate(bodies):
        assert s.put_body(body, media_type) == {"inserted": 20, "updated": 0}
        written = items.take(slice(0, 20 * (number + 1)))
        assert s.ask(s.old).ids == cosine_ranking(written.id, written.old, s.world.queries.old, 10)
    assert s.get(f"/galleries/{s.gallery}")["items"] == 80
    for part in parts:
        kept = s.item(part.id[3])
        assert kept["label"] == part.label[3]
        assert np.array_equal(np.array(kept["embeddings"][s.old], np.float32), part.old[3])


def test_deleted_items_are_found_no_more(scene: NewScene) -> None:
    s = scene()
    items = s.world.gallery.take(slice(0, 60))
    s.put(items)
    s.ask(s.old)
    assert s.delete([*items.id[:10], "nobody"]) == 10
    assert s.delete(items.id[:10]) == 0
    left = items.take(slice(10, 60))
    assert s.ask(s.old).ids == cosine_ranking(left.id, left.old, s.world.queries.old, 10)
    problem(s.client.get(f"/galleries/{s.gallery}/items/{items.id[0]}"), 404, "not-found")
    assert s.put(items) == {"inserted": 10, "updated": 50}
    assert s.ask(s.old).ids == cosine_ranking(items.id, items.old, s.world.queries.old, 10)


def test_columns_left_out_of_an_upsert_keep_their_values(scene: NewScene) -> None:
    s = scene(side=True)
    one = {"id": "a'b/c", "embedding": [1.0] * OLD, "label": "x", "payload": {"n": [1, None]}}
    s.put_body(json.dumps({"items": [{**one, "side_information": [0.5] * SIDE}]}).encode(), JSON)
    body = {"items": [{"id": one["id"], "embedding": [2.0] * OLD}]}
    assert s.put_body(json.dumps(body).encode(), JSON) == {"inserted": 0, "updated": 1}
    assert s.item("a'b/c") == {
        "id": "a'b/c",
        "label": "x",
        "payload": {"n": [1, None]},
        "side_information": [0.5] * SIDE,
        "embeddings": {s.old: [2.0] * OLD},
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "b"}, "embedding"),
        ({"id": "b", "embedding": [1.0] * (OLD - 1)}, "embedding"),
        ({"id": "b", "embedding": [1.0] * (OLD - 1) + [float("nan")]}, "embedding"),
        ({"id": "a", "embedding": [1.0] * OLD}, "id"),
        ({"id": "b", "embedding": [1.0] * OLD, "side_information": [0.0]}, "side_information"),
    ],
)
def test_one_wrong_row_refuses_the_whole_request(scene: NewScene, row: dict[str, object], message: str) -> None:
    s = scene()
    body = json.dumps({"items": [{"id": "a", "embedding": [1.0] * OLD}, row]}).encode()
    url, headers = f"/galleries/{s.gallery}/items?model={s.old}", {"content-type": JSON}
    refused = s.client.put(url, content=body, headers=headers)
    assert refused.status_code in (400, 422)
    assert message in refused.text
    assert s.get(f"/galleries/{s.gallery}")["items"] == 0


def test_vectors_stamped_with_a_model_that_the_gallery_does_not_hold_are_refused(scene: NewScene) -> None:
    s = scene()
    items = s.world.gallery.take(slice(0, 3))
    url, headers = f"/galleries/{s.gallery}/items", {"content-type": NPZ}
    body = npz(id=items.id, embedding=items.new)
    stamped = s.client.put(url, params={"model": s.new}, content=body, headers=headers)
    refused = problem(stamped, 422, "validation-error")
    assert f"POST /models/{s.old}/upgrade" in refused["detail"]
    problem(s.client.put(url, params={"model": "nobody"}, content=body, headers=headers), 404, "not-found")
    wrong_size = s.client.put(url, params={"model": s.old}, content=body, headers=headers)
    assert wrong_size.status_code in (400, 422)
    assert s.get(f"/galleries/{s.gallery}")["items"] == 0


def test_registering_twice_is_harmless_and_another_body_is_refused(scene: NewScene) -> None:
    s = scene(side=True)
    same = {"id": s.gallery, "model": s.old, "side_information": {"dimension": SIDE}}
    assert s.post("/galleries", same, 200) == s.get(f"/galleries/{s.gallery}")
    other = problem(s.client.post("/galleries", json={**same, "model": s.new}), 409, "id-taken")
    assert other["differing"] == ["model"]
    assert s.post("/datasets", {"id": s.dataset}, 200) == s.get(f"/datasets/{s.dataset}")
    other = problem(s.client.post("/datasets", json={"id": s.dataset, "description": "other"}), 409, "id-taken")
    assert other["differing"] == ["description"]
    problem(s.client.post("/galleries", json={"id": "unheard-of", "model": "nobody"}), 404, "not-found")


def test_what_is_in_use_is_not_deleted_and_names_what_uses_it(scene: NewScene) -> None:
    s = scene()
    refused = problem(s.client.delete(f"/models/{s.old}"), 409, "in-use")
    assert refused["used_by"] == [f"gallery {s.gallery}"]
    s.put_pairs(s.world.pairs(3))
    refused = problem(s.client.delete(f"/models/{s.new}"), 409, "in-use")
    assert refused["used_by"] == [f"dataset {s.dataset}"]
    for url in (f"/galleries/{s.gallery}", f"/datasets/{s.dataset}", f"/models/{s.old}", f"/models/{s.new}"):
        checked(s.client.delete(url), 204)
        problem(s.client.get(url), 404, "not-found")
        problem(s.client.delete(url), 404, "not-found")


def test_gallery_registered_anew_under_an_old_id_is_empty(scene: NewScene) -> None:
    s = scene()
    s.put(s.world.gallery.take(slice(0, 30)))
    s.ask(s.old)
    checked(s.client.delete(f"/galleries/{s.gallery}"), 204)
    s.post("/galleries", {"id": s.gallery, "model": s.new}, 201)
    assert s.search(s.world.queries.new[:1], s.new).ids == [[]]
    few = s.world.gallery.take(slice(30, 35))
    s.put(few, s.new)
    assert s.search(s.world.queries.new[:3], s.new, k=3).ids == cosine_ranking(
        few.id, few.new, s.world.queries.new[:3], 3
    )


def test_lists_are_paged_in_order_of_ids(scene: NewScene) -> None:
    s = scene()
    names = [f"{s.gallery}-{letter}" for letter in "cab"]
    for name in names:
        s.post("/galleries", {"id": name, "model": s.old}, 201)
        s.post("/datasets", {"id": name}, 201)
    for kind in ("galleries", "datasets"):
        listed = s.listed(f"/{kind}")
        assert listed == sorted(set(listed))
        assert set(names) <= set(listed)


def test_search_by_url_and_by_body_agree(scene: NewScene) -> None:
    s = scene()
    s.put(s.world.gallery.take(slice(0, 50)))
    vector = s.world.queries.old[0]
    body = {"gallery": s.gallery, "model": s.old, "k": 5, "vectors": [vector.tolist()]}
    many = s.post("/search", body)
    one = s.get("/search", gallery=s.gallery, model=s.old, k=5, vector=",".join(map(repr, vector.tolist())))
    assert one["results"] == many["results"][0]
    assert [hit["score"] for hit in one["results"]] == sorted((hit["score"] for hit in one["results"]), reverse=True)
    assert set(one["results"][0]) == {"id", "score", "label", "payload"}


def test_filter_finds_only_what_it_lets_through(scene: NewScene) -> None:
    s = scene()
    items = s.world.gallery.take(slice(0, 100))
    s.put(items)
    labels = sorted(set(items.label))[:2]
    body = {"gallery": s.gallery, "model": s.old, "k": 5, "vectors": s.world.queries.old[:4].tolist()}
    through = items.of_classes(set(labels))
    expected = cosine_ranking(through.id, through.old, s.world.queries.old[:4], 5)
    answer = s.post("/search", {**body, "filter": {"label": {"in": labels}}})
    assert [[hit["id"] for hit in hits] for hits in answer["results"]] == expected
    answer = s.post("/search", {**body, "filter": {"label": {"in": labels}, "id": {"in": [through.id[0], "nobody"]}}})
    assert [[hit["id"] for hit in hits] for hits in answer["results"]] == [[through.id[0]]] * 4
    assert s.post("/search", {**body, "filter": {"not": {}}})["results"] == [[]] * 4


def test_sample_is_deterministic_spread_and_weighted(scene: NewScene) -> None:
    s = scene(side=True)
    s.put(s.world.gallery)
    first = s.sample(60)
    assert s.sample(60) == first
    assert len(set(first["ids"])) == len(first["ids"]) == 60
    assert set(first["ids"]) <= set(s.world.gallery.id)
    assert sum(first["weights"]) == pytest.approx(1)
    twin = scene(s.world, side=True)
    twin.put(s.world.gallery)
    assert twin.sample(60) == first


def test_sample_of_a_gallery_registered_anew_is_of_its_own_items(scene: NewScene) -> None:
    s = scene()
    first, second = (s.world.gallery.take(slice(*ends)) for ends in ((0, 20), (20, 40)))
    for items in (first, second):
        s.put(items)
        assert set(s.sample(5)["ids"]) < set(items.id)
        checked(s.client.delete(f"/galleries/{s.gallery}"), 204)
        s.post("/galleries", {"id": s.gallery, "model": s.old}, 201)


def test_sample_of_an_empty_gallery_is_refused_and_of_a_small_one_is_all_of_it(scene: NewScene) -> None:
    s = scene()
    problem(s.client.get(f"/galleries/{s.gallery}/sample", params={"n": 5}), 422, "validation-error")
    few = s.world.gallery.take(slice(0, 4))
    s.put(few)
    assert sorted(s.sample(5)["ids"]) == few.id


def test_dataset_rows_complete_each_other(scene: NewScene) -> None:
    s = scene()
    s.put_pairs(s.world.gallery.take(slice(0, 5)), s.new)
    s.put_pairs(s.world.gallery.take(slice(3, 8)), s.old)
    dataset = s.get(f"/datasets/{s.dataset}")
    assert (dataset["rows"], dataset["labelled"]) == (8, 8)
    assert dataset["embeddings"] == {s.new: 5, s.old: 5}
