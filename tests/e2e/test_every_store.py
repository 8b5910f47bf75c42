"""A gallery in a store of its user's own, of every kind, from its registration to its new vectors' end, over HTTP,
while the user's application goes on writing there.

What is learned and proved takes long, and is put there: `tests.e2e.test_qdrant` and
`tests.workers.steps.test_upgrade_in_store` learn it from stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.settings import Settings
from app.stores.protocol import Target
from tests.e2e.every_store import KINDS, StoreUser, choice, configured, dropped, same
from tests.e2e.store_owner import GALLERY, Owner, real
from tests.e2e.user import problem
from tests.embedding_server import embedding_server
from tests.serving import serving
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside
from tests.worlds import NEW

SAMPLE, BUDGET = 20, 10


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreUser]:
    with request.param(tmp_path, lambda: request.getfixturevalue("postgres")) as place:
        yield StoreUser(place)


@pytest.fixture
def owner(user: StoreUser, tmp_path: Path) -> Iterator[Owner]:
    connections = tmp_path / "connections.toml"
    made = real(user)
    with embedding_server(lambda text: made.get(text, np.ones(NEW, np.float32))) as embedder:
        tables = [configured(one) for one in (user.place.connection, user.place.unreachable)]
        connections.write_text("\n".join([*tables, embedder.connection("reader", batch=4)]))
        settings = Settings(data_dir=tmp_path / "data", connections=connections, device="cpu")
        with serving(settings, WorkerInside) as client:
            owner = Owner(user, client, settings, embedder)
            owner.register_models()
            yield owner


def test_gallery_is_upgraded_switched_back_and_forth_backfilled_and_left_as_its_application_wrote_it(
    owner: Owner,
) -> None:
    user, client = owner.user, owner.client
    what_is_wrong_is_told(owner)
    owner.register()
    refused_by_name(owner)
    sample = wait_until(lambda: owner.get(f"/galleries/{GALLERY}/sample", n=SAMPLE), "a sample to be chosen")
    assert len(set(sample["ids"]) & user.items.keys()) == SAMPLE
    owner.has_a_crossing_accepted()
    owner.waits_until_it_is_ready()
    assert user.finds_all_as_it_wrote_it()

    answer = owner.does("activate")
    target = owner.target
    switches = owner.get(f"/galleries/{GALLERY}")["store_state"]["abilities"]["switching"] == "atomic"
    if not switches:
        assert target.name in answer["statements"][GALLERY]
    assert same(user.new(target), owner.h(user.old()))
    if switches:
        assert same(user.place.seen(), user.new(target))
    problem(client.delete(f"/galleries/{GALLERY}/generations/2"), 409, "in-use")

    user.goes_on()
    owner.follows()
    wait_until(lambda: same(user.new(target), owner.h(user.old())), "the store to be followed")
    assert user.finds_all_as_it_wrote_it()
    if user.place.place.text is None:
        refused = problem(client.post(f"/galleries/{GALLERY}/backfill", json={}), 422, "validation-error")
        assert "no text" in refused["errors"][0]["message"]
    else:
        backfills_as_far_as_the_budget_goes(owner, target)
    assert user.finds_all_as_it_wrote_it()

    assert owner.does("rollback")["state"] == "rolled_back"
    if switches:
        assert same(user.place.seen(), user.old())
    assert client.delete(f"/galleries/{GALLERY}/generations/2").status_code == 204
    wait_until(lambda: dropped(user, target), "the new vectors to be dropped")
    assert user.finds_all_as_it_wrote_it()


def backfills_as_far_as_the_budget_goes(owner: Owner, target: Target) -> None:
    """The real vectors of the first in the order that is served take the place of the transformed ones, and stay."""
    user, client, embedder = owner.user, owner.client, owner.embedder
    url = f"/galleries/{GALLERY}/backfill"
    first = [one["id"] for one in owner.get(url, limit=BUDGET)["next"]]
    assert [one["id"] for one in owner.get(url, limit=BUDGET, order="class_mean_distance")["next"]] != first
    problem(client.get(url, params={"order": "traffic"}), 409, "items-elsewhere")
    done = owner.backfilled(budget={"items": BUDGET})
    assert "The budget is spent" in done["reason"]
    assert done["spent"]["items"] == len(embedder.charged) == BUDGET
    made = {id: embedder.embed(f"text of {id}") for id in first}
    assert same(user.new(target), owner.h(user.old()) | made)

    changed, kept = first[0], {id: made[id] for id in first[1:]}
    user.change(changed, -user.world.gallery.old[-1])
    owner.follows()
    wait_until(lambda: same(user.new(target), owner.h(user.old()) | kept), "what has changed to be transformed anew")
    counted = {"native_items": len(kept), "transformed_items": len(user.items) - len(kept)}
    wait_until(lambda: counted.items() <= owner.made.items(), "what is real to be counted")
    owner.backfilled()
    assert owner.get(url)["complete"]
    assert sorted(embedder.charged) == sorted([*(f"text of {id}" for id in user.items), f"text of {changed}"])
    assert same(user.new(target), {id: embedder.embed(f"text of {id}") for id in user.items})


def what_is_wrong_is_told(owner: Owner) -> None:
    """Places that are not there, and a store that is away, are problems that say so and show no secret."""
    place, client = owner.user.place, owner.client
    for wrong, there in place.wrong_places:
        body = {"id": "wrong", "model": "old", "store": choice(place.connection, wrong)}
        answer = client.post("/galleries", json=body)
        assert there in problem(answer, 422, "validation-error")["detail"]
        assert not [secret for secret in place.secrets if secret in answer.text]
    body = {"id": "away", "model": "old", "store": choice(place.unreachable, place.place)}
    answer = client.post("/galleries", json=body)
    assert place.unreachable.name in problem(answer, 503, "gallery-store-away")["detail"]
    assert not [secret for secret in place.secrets if secret in answer.text]


def refused_by_name(owner: Owner) -> None:
    """What is not done with items that lie elsewhere."""
    client, place = owner.client, owner.user.place
    query = {"gallery": GALLERY, "model": "old", "vectors": [[1.0] * place.dimension]}
    for answer in (
        client.post("/search", json=query),
        client.get(f"/galleries/{GALLERY}/items"),
        client.post(f"/galleries/{GALLERY}/items/delete", json={"ids": ["a"]}),
    ):
        told = problem(answer, 409, "items-elsewhere")["detail"]
        assert f"connection {place.connection.name!r}" in told
    for answer in (client.post(f"/galleries/{GALLERY}/follow"), client.get(f"/galleries/{GALLERY}/backfill")):
        problem(answer, 409, "wrong-state")
    problem(client.delete(f"/galleries/{GALLERY}/generations/1"), 422, "validation-error")
