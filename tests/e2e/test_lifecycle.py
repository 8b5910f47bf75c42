"""Galleries that live on while they are upgraded: writes and searches without pause, chains of models, restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from models.portable import Space, Transformation, load_transformation
from tests.e2e.conftest import NewScene, Running, ServiceInside, in_both_arrangements
from tests.e2e.service import Service
from tests.e2e.user import NPZ, Scene, checked, cosine_ranking, npz, problem
from tests.waiting import PATIENCE_SECONDS
from tests.worlds import NEW, NEWEST, OLD, Items

ENOUGH = 30
"""Items, of which at least so many are written while a gallery is upgraded."""


def crossing(service: Service | ServiceInside, upgrade: str, source: Space, target: Space) -> Transformation:
    return load_transformation(service.data / "artifacts" / upgrade / "chosen", source=source, target=target)


@in_both_arrangements
def test_searches_and_writes_go_on_without_pause_and_none_is_lost(scene: NewScene, service: Service) -> None:
    s = scene()
    gallery = s.world.gallery
    start, puts, gone = gallery.take(slice(0, 300)), gallery.take(slice(300, 600)), gallery.id[:150]
    s.put(start)
    s.put_pairs(s.world.pairs(200), s.new, s.old)
    upgrade = s.start()
    done = threading.Event()
    routes: list[tuple[str, str]] = []
    written: list[int] = []
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(2) as pool:
        searching = pool.submit(_search_on, s, client, done, routes)
        writing = pool.submit(_write_on, s, client, done, puts, gone, written)
        try:
            s.reaches(upgrade, "active")
        finally:
            done.set()
        searching.result(PATIENCE_SECONDS)
        writing.result(PATIENCE_SECONDS)
    assert {model for model, _ in routes} == {"old", "new"}
    assert {route for model, route in routes if model == "old"} == {"direct"}
    assert "transformed" in {route for model, route in routes if model == "new"} | {s.ask(s.new).route}
    put, deleted = written
    assert put >= ENOUGH
    left = gallery.take(slice(deleted, 300 + put))
    h = crossing(service, upgrade, Space(s.old, OLD, "cosine"), Space(s.new, NEW, "cosine"))
    assert s.ask(s.new).ids == cosine_ranking(left.id, h.apply(left.old), s.world.queries.new, 10)
    assert s.ask(s.old).ids == cosine_ranking(left.id, left.old, s.world.queries.old, 10)


def _search_on(s: Scene, client: httpx.Client, done: threading.Event, routes: list[tuple[str, str]]) -> None:
    """Asks in both models until done and each was answered; once there is a route from the new one, there always is."""
    new_answered = False
    while not (done.is_set() and new_answered):
        for name, model in (("old", s.old), ("new", s.new)):
            query = {"gallery": s.gallery, "model": model, "k": 5}
            vectors = s.seen_by(s.world.queries, model)[:4].tolist()
            answer = client.post("/search", json={**query, "vectors": vectors})
            if name == "new" and not new_answered and answer.status_code == 409:
                continue
            body = checked(answer, 200)
            assert [len(hits) for hits in body["results"]] == [5] * 4
            routes.append((name, body["route"]))
            new_answered = new_answered or name == "new"


def _write_on(
    s: Scene, client: httpx.Client, done: threading.Event, puts: Items, gone: list[str], written: list[int]
) -> None:
    """Puts ten items and deletes five, often enough and until done; `written` says how many of each."""
    put = deleted = 0
    while put < (ENOUGH if done.is_set() else len(puts)):
        part = puts.take(slice(put, put + 10))
        url, headers = f"/galleries/{s.gallery}/items?model={s.old}", {"content-type": NPZ}
        body = npz(id=part.id, label=part.label, embedding=part.old)
        assert checked(client.put(url, content=body, headers=headers), 200)["inserted"] == 10
        put += 10
        names = {"ids": gone[deleted : deleted + 5]}
        assert checked(client.post(f"/galleries/{s.gallery}/items/delete", json=names), 200) == {"deleted": 5}
        deleted += 5
    written[:] = [put, deleted]


def test_chain_of_upgrades_computes_each_generation_through_all_crossings_or_past_a_poor_one(
    scene: NewScene, service: ServiceInside
) -> None:
    s = scene()
    gallery, queries = s.world.gallery, s.world.queries
    old_items, new_items, newest_items = (gallery.take(slice(*ends)) for ends in ((0, 400), (400, 500), (500, 600)))
    loose = {"gate": {"metric": "cmc@1", "require": {"at_least": 0.3}}}
    s.put(old_items)
    s.put_pairs(old_items.take(slice(0, 250)), s.new, s.newest)
    first = s.start(method="orthogonal")
    s.reaches(first, "active")
    s.put(new_items, s.new)
    # An id for which both are known: the vector that was really made by a generation's model is what it holds.
    s.put(old_items.take(slice(0, 20)), s.new)
    before = s.ask(s.new)
    refused = s.client.post(f"/models/{s.old}/upgrade", json={**_body(s), "to": s.newest})
    problem(refused, 422, "validation-error")
    second = s.start(source=s.new, to=s.newest, **loose)
    s.reaches(second, "active")
    s.put(newest_items, s.newest)
    spaces = [Space(s.old, OLD, "cosine"), Space(s.new, NEW, "cosine"), Space(s.newest, NEWEST, "cosine")]
    h = crossing(service, second, *spaces[1:])
    in_new = np.concatenate([old_items.new[:20], new_items.new])
    (link,) = s.upgrade(second)["report"]["learned"]["chain"]
    assert (link["from"], link["items"], link["kept"]) == (s.old, 380, "direct")
    assert link["direct"]["mean"] >= link["composed"]["mean"]
    past = crossing(service, f"{second}/from/{s.old}", spaces[0], spaces[2])
    transformed = h.apply(in_new)
    in_newest = np.concatenate(
        [transformed[:20], past.apply(old_items.old[20:]), transformed[20:], newest_items.newest]
    )
    answer = s.ask(s.newest)
    assert (answer.route, answer.generation) == ("transformed", 3)
    assert answer.ids == cosine_ranking(gallery.id, in_newest, queries.newest, 10)
    assert s.ask(s.new) == before
    assert s.ask(s.old).generation == 1

    moved_on = problem(s.client.post(f"/upgrades/{first}/rollback"), 409, "wrong-state")
    assert "Roll that back first" in moved_on["detail"]
    checked(s.client.post(f"/galleries/{s.gallery}/activate", json={"generation": 1}), 200)
    assert [s.upgrade(one)["state"] for one in (first, second)] == ["rolled_back", "rolled_back"]
    assert s.ask(s.old).ids == cosine_ranking(old_items.id, old_items.old, queries.old, 10)
    # What is built on an upgrade brings it back with it.
    s.post(f"/upgrades/{second}/activate")
    assert [s.upgrade(one)["state"] for one in (first, second)] == ["active", "active"]
    assert s.ask(s.newest) == answer
    s.post(f"/upgrades/{second}/rollback")
    assert s.ask(s.new) == before


def test_old_vector_written_anew_replaces_what_newer_models_said_of_the_item(
    scene: NewScene, service: ServiceInside
) -> None:
    s = scene().filled()
    upgrade = s.start(method="orthogonal")
    s.reaches(upgrade, "active")
    one, another = s.world.gallery.take(slice(0, 1)), s.world.gallery.take(slice(1, 2))
    s.put(one, s.new)
    assert set(s.item(one.id[0])["embeddings"]) == {s.old, s.new}
    s.put_body(npz(id=one.id, embedding=another.old), NPZ)
    assert set(s.item(one.id[0])["embeddings"]) == {s.old}
    h = crossing(service, upgrade, Space(s.old, OLD, "cosine"), Space(s.new, NEW, "cosine"))
    (found,) = s.search(h.apply(another.old), s.new, k=2).ids
    assert set(found) == {one.id[0], another.id[0]}


@pytest.fixture(scope="session")
def plain(scene: NewScene) -> Running:
    """An upgrade that is just switched to."""
    return Running.of(scene().filled(), method="orthogonal")


def test_generations_do_not_change_under_an_upgrade_and_cancelling_it_when_ready_takes_its_own_away(
    plain: Running,
) -> None:
    s, first = plain.scene, plain.id
    s.reaches(first, "active")
    before = s.ask(s.new)
    s.put_pairs(s.world.pairs(200), s.newest)
    loose = {"metric": "cmc@1", "require": {"at_least": 0.3}}
    second = s.start(source=s.new, to=s.newest, method="orthogonal", activate="manually", gate=loose)
    for url, body in ((f"/upgrades/{first}/rollback", None), (f"/galleries/{s.gallery}/activate", {"generation": 1})):
        refused = problem(s.client.post(url, json=body), 409, "wrong-state")
        assert refused["upgrade"] == second
    s.reaches(second, "ready")
    assert list(s.generations()) == [1, 2, 3]
    s.post(f"/upgrades/{second}/cancel")
    assert list(s.generations()) == [1, 2]
    problem(s.client.post(f"/galleries/{s.gallery}/activate", json={"generation": 3}), 404, "not-found")
    assert s.ask(s.new) == before


@in_both_arrangements
def test_of_many_upgrades_started_at_once_on_one_gallery_one_starts(scene: NewScene, service: Service) -> None:
    s = scene()
    s.put(s.world.gallery)
    s.put_pairs(s.world.pairs(20))
    gate = {"metric": "cmc@1", "require": {"at_least": 0}}
    body = {**_body(s), "gate": gate, "activate": "manually"}  # so that it is not over when the last is asked for

    def start(_: int) -> int:
        return httpx.post(f"{service.url}/models/{s.old}/upgrade", json=body, timeout=PATIENCE_SECONDS).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(start, range(6)))
    assert statuses == [202, 409, 409, 409, 409, 409]


def test_one_upgrade_switches_several_galleries_together(scene: NewScene) -> None:
    s = scene().filled()
    other = f"{s.gallery}-too"
    s.post("/galleries", {"id": other, "model": s.old}, 201)
    part = s.world.gallery.take(slice(0, 200))
    body, headers = npz(id=part.id, label=part.label, embedding=part.old), {"content-type": NPZ}
    checked(s.client.put(f"/galleries/{other}/items?model={s.old}", content=body, headers=headers))
    # None named: every gallery in the old model's space.
    upgrade = s.start(galleries=None, method="orthogonal")
    upgraded = s.reaches(upgrade, "active")
    assert upgraded["galleries"] == sorted([s.gallery, other])
    assert set(upgraded["report"]["galleries"]) == {s.gallery, other}
    assert [s.get(f"/galleries/{name}")["active_model"] for name in (s.gallery, other)] == [s.new, s.new]
    s.post(f"/upgrades/{upgrade}/rollback")
    assert [s.get(f"/galleries/{name}")["active_model"] for name in (s.gallery, other)] == [s.old, s.old]


@in_both_arrangements
@pytest.mark.parametrize("how", [Service.stop, Service.kill], ids=["stopped", "killed"])
def test_everything_is_still_there_after_a_restart(
    plain: Running, service: Service, how: Callable[[Service], None]
) -> None:
    s, upgrade = plain.scene, plain.id
    active = s.reaches(upgrade, "active")
    s.put(s.world.gallery.take(slice(0, 10)))
    s.put(s.world.gallery.take(slice(0, 10)), s.new)
    s.delete(s.world.gallery.id[-5:])
    urls = [f"/galleries/{s.gallery}", f"/galleries/{s.gallery}/generations", f"/datasets/{s.dataset}"]
    late = s.world.gallery.take(slice(10, 12))
    s.put(late, s.new)
    before = (s.ask(s.old), s.ask(s.new), [s.get(url) for url in urls])
    how(service)
    service.start()
    assert set(s.item(late.id[0])["embeddings"]) == {s.old, s.new}
    assert (s.ask(s.old), s.ask(s.new), [s.get(url) for url in urls]) == before
    assert s.upgrade(upgrade) == active


def _body(s: Scene) -> dict[str, object]:
    return {"to": s.new, "method": "ridge", "dataset": s.dataset, "galleries": [s.gallery]}
