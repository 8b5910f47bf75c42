"""What a request with the old model's vectors is told: of its answer, and of everything that can be wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from app.artifacts.folder import UpgradeArtifacts
from app.cli import resources
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING, Access
from app.problems import NoRoute
from app.registry.schemas import NewModel
from app.search.old_vectors import BodyRoutes, Resolver
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.settings import Settings
from app.upgrades.accepted_crossings import crossable
from app.upgrades.request import COMPATIBLE, FUSED
from app.upgrades.states import UpgradeState
from benchmarks.hostile_files import arrow
from tests.app.search.fused_world import NEW, OLD, FusedWorld, archive, fused_world
from tests.e2e.user import ARROW, NPY, NPZ, npy
from tests.upgrade_rows import FORWARD_REQUEST, store_upgrade

QUERY = {"gallery": "g", "model": "new"}
ONES, OLD_ONES = ",".join("1" * NEW), ",".join("1" * OLD)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FusedWorld]:
    """A gallery in the old space, for tests that leave nothing behind in it."""
    with fused_world(Settings(data_dir=tmp_path_factory.mktemp("data")), "cosine", "cosine") as made:
        yield made


@pytest.fixture
def own_world(settings: Settings) -> Iterator[FusedWorld]:
    with fused_world(settings, "cosine", "cosine") as made:
        yield made


def problem(answer: httpx.Response, status: int, slug: str, *words: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = dict(answer.json())
    assert body["type"] == f"/problems/{slug}"
    for word in words:
        assert word in body["detail"], body["detail"]
    return body


def get(world: FusedWorld, **query: str) -> httpx.Response:
    return world.client.get("/search", params={**QUERY, "vector": ONES, **query})


def send(world: FusedWorld, body: bytes, media_type: str, **query: str) -> httpx.Response:
    headers = {"content-type": media_type}
    return world.client.post("/search", params={**QUERY, "k": "5", **query}, content=body, headers=headers)


def columns(world: FusedWorld) -> bytes:
    return arrow(pa.table({"vector": world.q_new.tolist(), "old_vector": world.q_old.tolist()}))


def test_old_vectors_come_in_the_url_in_json_in_arrow_and_in_npz_and_are_answered_alike(world: FusedWorld) -> None:
    expected = world.agrees(pushed=True)
    assert world.ask(route="fused") == expected
    for query in ({}, {"route": "fused"}):
        assert send(world, columns(world), ARROW, **query).json() == expected
        assert send(world, archive(vector=world.q_new, old_vector=world.q_old), NPZ, **query).json() == expected
    texts = {"vector": world.q_new[0], "old_vector": world.q_old[0]}
    one = get(world, k="5", **{name: ",".join(map(str, vector.tolist())) for name, vector in texts.items()}).json()
    # Its scores may differ in the last bit: what a push rounds to depends on how many queries come together.
    assert [hit["id"] for hit in one["results"]] == [hit["id"] for hit in expected["results"][0]]
    assert {**one, "results": []} == {**expected, "results": []}


def test_without_old_vectors_the_crossing_answers_as_before(world: FusedWorld) -> None:
    plain = {**world.body(), "old_vectors": None}
    answer = world.client.post("/search", json=plain).json()
    assert answer["route"] == "instant"
    assert send(world, archive(vector=world.q_new), NPZ).json() == answer
    assert send(world, npy(world.q_new), NPY).json() == answer


def test_the_command_line_searches_with_an_old_vector(world: FusedWorld) -> None:
    commands, url = typer.Typer(), f"--url={world.client.base_url}"
    resources.register(commands)
    done = CliRunner().invoke(
        commands, ["search", "g", f"--vector={ONES}", f"--old-vector={OLD_ONES}", "--model=new", url]
    )
    assert done.exit_code == 0, done.output
    assert '"route": "fused"' in done.output


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ("1,2", f"has 2 numbers; the model's dimension is {OLD}"),
        (",".join(["nan"] * OLD), "'nan' at position 0"),
        (",".join(["1e39"] * OLD), "too large"),
        ("", "has 0 numbers"),
    ],
)
def test_an_old_vector_in_the_url_is_checked_like_any_query(world: FusedWorld, old: str, words: str) -> None:
    refused = problem(get(world, old_vector=old), 422, "validation-error", "`old_vector`", words)
    assert refused["errors"][0]["parameter"] == "old_vector"


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ([[1.0] * OLD, [1.0] * (OLD - 1)], f"`old_vector` of query 1 has {OLD - 1} numbers"),
        ([[1.0] * OLD, [1e39] * OLD], "`old_vector` of query 1 holds"),
        ([[1.0] * OLD, [0.0] * OLD], "`old_vector` of query 1 is all zeros"),
    ],
)
def test_old_vectors_in_json_are_checked_like_any_query(world: FusedWorld, old: list[list[float]], words: str) -> None:
    body = {**QUERY, "vectors": [[1.0] * NEW] * 2, "old_vectors": old}
    refused = problem(world.client.post("/search", json=body), 422, "validation-error", words)
    assert refused["errors"][0] == {**refused["errors"][0], "row": 1, "column": "old_vector"}


def test_each_query_needs_an_old_vector_of_its_own(world: FusedWorld) -> None:
    body = {**QUERY, "vectors": [[1.0] * NEW] * 2, "old_vectors": [[1.0] * OLD]}
    refused = problem(world.client.post("/search", json=body), 422, "validation-error", "has 1 vector,")
    assert refused["errors"][0]["pointer"] == "/old_vectors"
    short = archive(vector=world.q_new, old_vector=world.q_old[1:])
    problem(send(world, short, NPZ), 400, "invalid-upload", "unequal numbers of rows")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_old_vectors_in_a_column_are_checked_like_any_query(world: FusedWorld, value: float) -> None:
    old = world.q_old.astype(np.float64)
    old[2, 1] = value
    refused = problem(send(world, archive(vector=world.q_new, old_vector=old), NPZ), 422, "validation-error")
    assert (refused["errors"][0]["row"], refused["errors"][0]["column"]) == (2, "old_vector")
    old[2] = 0
    zero = send(world, archive(vector=world.q_new, old_vector=old), NPZ)
    problem(zero, 422, "validation-error", "`old_vector` of query 2 is all zeros")
    wide = archive(vector=world.q_new, old_vector=np.ones((len(world.q_new), OLD + 1)))
    problem(send(world, wide, NPZ), 422, "validation-error", "old_vector", f"(n, {OLD})")


def test_the_route_fused_needs_old_vectors_wherever_they_can_come(world: FusedWorld) -> None:
    refused = problem(get(world, route="fused"), 422, "validation-error", "send the old model's vector")
    assert refused["errors"][0]["parameter"] == "old_vector"
    body = {**QUERY, "vectors": [[1.0] * NEW], "route": "fused"}
    refused = problem(world.client.post("/search", json=body), 422, "validation-error", "send the old model's vector")
    assert refused["errors"][0]["pointer"] == "/old_vectors"
    for content, media_type in ((npy(world.q_new), NPY), (archive(vector=world.q_new), NPZ)):
        answer = send(world, content, media_type, route="fused")
        refused = problem(answer, 422, "validation-error", "npy holds one array")
        assert refused["errors"][0]["column"] == "old_vector"


@dataclass
class Noting:
    """Resolves searches, and notes what was wanted."""

    resolver: Resolver
    wanted: list[AskedRoute | None] = field(default_factory=list)

    def resolve(self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access) -> ResolvedSearch:
        self.wanted.append(wanted)
        return self.resolver.resolve(gallery, model, wanted, caller)


def test_the_fused_route_is_not_looked_for_where_no_old_vectors_can_come(world: FusedWorld) -> None:
    for columns, wanted in ((False, [None]), (True, [None, "fused"])):
        noting = Noting(world.crosswalk.search_resolver)
        ways = BodyRoutes.of(noting, "g", "new", None, EVERYTHING, columns=columns)
        assert noting.wanted == wanted
        assert isinstance(ways.fused, ResolvedSearch) == columns


def test_another_route_takes_no_old_vectors(world: FusedWorld) -> None:
    problem(get(world, route="instant", old_vector=OLD_ONES), 422, "validation-error", "`instant`")
    answer = world.client.post("/search", json=world.body(route="instant"))
    problem(answer, 422, "validation-error", "`instant`")
    problem(send(world, columns(world), ARROW, route="instant"), 422, "validation-error", "`instant`")


def test_old_vectors_are_no_query_of_the_old_model_and_no_filter(world: FusedWorld) -> None:
    own = {"gallery": "g", "model": "old", "vector": OLD_ONES, "old_vector": OLD_ONES}
    refused = problem(world.client.get("/search", params=own), 409, "no-route", "'old''s own", "Leave `old_vector` out")
    assert refused["generation"] == 1
    both = archive(vector=world.q_old, old_vector=world.q_old)
    answer = world.client.post(
        "/search", params={"gallery": "g", "model": "old"}, content=both, headers={"content-type": NPZ}
    )
    problem(answer, 409, "no-route", "Leave `old_vector` out")
    named = {"gallery": "g", "model": "old", "route": "fused"}
    answer = world.client.post("/search", params=named, content=both, headers={"content-type": NPZ})
    problem(answer, 409, "no-route", "Leave `old_vector` out")


def test_items_that_cannot_be_fused_are_told_of_the_route_and_not_of_old_vectors_that_nobody_sent(
    world: FusedWorld,
) -> None:
    like = {"gallery": "g", "model": "old", "route": "fused"}
    for answer in (
        world.client.get("/search", params={**like, "like": "i0"}),
        world.client.post("/search", json={**like, "like": ["i0"]}),
    ):
        refused = problem(answer, 409, "no-route", "'old''s own", "`like` cannot be used with `fused`: leave `route`")
        assert "old_vector" not in refused["detail"]


def test_where_nothing_leads_to_the_gallery_old_vectors_do_not_either(world: FusedWorld) -> None:
    world.crosswalk.models.create(NewModel(id="stranger", dimension=NEW, metric="cosine"))
    stranger = {"gallery": "g", "model": "stranger", "vector": ONES}
    without = problem(world.client.get("/search", params=stranger), 409, "no-route", "POST /models/old/upgrade")
    beside = world.client.get("/search", params={**stranger, "old_vector": OLD_ONES})
    assert problem(beside, 409, "no-route")["detail"] == without["detail"]


def test_an_upgrade_of_an_earlier_release_has_nothing_to_fuse(world: FusedWorld) -> None:
    world.crosswalk.galleries.create(NewGallery(id="other", model="old"))
    world.crosswalk.models.create(NewModel(id="newer", dimension=NEW, metric="cosine"))
    request = {**FORWARD_REQUEST, "to": "newer"}
    store_upgrade(world.crosswalk.database, "v", UpgradeState.READY, ["other"], request=request, target="newer")
    answer = world.client.get(
        "/search", params={"gallery": "other", "model": "newer", "vector": ONES, "old_vector": OLD_ONES}
    )
    problem(answer, 409, "no-route", "earlier release", "Leave `old_vector` out")


def test_a_model_that_was_trained_to_search_the_gallery_is_fused_with_none(world: FusedWorld) -> None:
    world.crosswalk.models.create(NewModel(id="trained", dimension=OLD, metric="cosine"))
    to = {"id": "trained", "architecture": "small-bert"}
    request = {"strategy": COMPATIBLE, "to": to, "dataset": "d", "method": "averaged"}
    store_upgrade(world.crosswalk.database, "t", UpgradeState.READY, ["g"], request=request, target="trained")
    params = {"gallery": "g", "model": "trained", "vector": OLD_ONES, "old_vector": OLD_ONES}
    problem(world.client.get("/search", params=params), 409, "no-route", "trained to search gallery")


def test_an_upgrade_accepted_only_as_fused_answers_plain_queries_only_where_a_route_is_named(
    own_world: FusedWorld,
) -> None:
    world, plain = own_world, {**own_world.body(), "old_vectors": None}
    before = world.client.post("/search", json=plain).json()
    world.accept_only_as_fused()
    for answer in (
        world.client.post("/search", json=plain),
        get(world),
        send(world, npy(world.q_new), NPY),
        send(world, archive(vector=world.q_new), NPZ),
    ):
        refused = problem(answer, 409, "no-route", "accepted only as fused", "`old_vector`", "`route=instant`")
        assert (refused["upgrade"], refused["old_model"]) == ("u", "old")
    assert world.client.post("/search", json={**plain, "route": "instant"}).json() == before
    problem(world.client.post("/search", json={**plain, "route": "cascade"}), 409, "no-route", "Name `instant`")
    assert send(world, npy(world.q_new), NPY, route="instant").json() == before
    world.agrees(pushed=True)
    assert send(world, columns(world), ARROW).json()["route"] == "fused"
    assert world.client.get("/search", params={"gallery": "g", "model": "old", "vector": OLD_ONES}).is_success


def test_a_crossing_that_was_accepted_by_itself_answers_on_beside_a_newer_one_accepted_only_as_fused(
    own_world: FusedWorld,
) -> None:
    world, plain = own_world, {**own_world.body(), "old_vectors": None}
    before = world.client.post("/search", json=plain).json()
    newer = UpgradeArtifacts(world.crosswalk.settings.artifacts_dir, "v")
    shutil.copytree(world.artifacts.folder, newer.folder)
    store_upgrade(world.crosswalk.database, "v", UpgradeState.READY, ["g"], served_as=FUSED)
    assert world.client.post("/search", json=plain).json() == before
    assert get(world).json()["route"] == "instant"
    info = world.crosswalk.galleries.info("g")
    assert world.crosswalk.search_resolver.resolve("g", "new", "fused", EVERYTHING).route.pushed == "v"
    with world.crosswalk.database.read() as session:
        assert crossable(session, info) == {("new", "u"), ("new", "v")}
    accepted = world.crosswalk.accepted_crossings.accepted("old", "new")
    assert accepted is not None
    assert accepted.upgrade == "u"
    world.set_state(UpgradeState.ROLLED_BACK)
    problem(world.client.post("/search", json=plain), 409, "no-route", "Upgrade v was accepted only as fused")


def test_where_every_item_was_re_embedded_the_old_model_is_heard_no_longer(own_world: FusedWorld) -> None:
    world = own_world
    world.transform()
    assert world.ask()["generation"] == 2
    world.retire()
    answer = world.client.post("/search", json=world.body())
    problem(answer, 409, "no-route", "was re-embedded with 'new'", "retired", "Leave `old_vector` out")
    assert world.client.post("/search", json={**world.body(), "old_vectors": None}).json()["route"] == "direct"


def test_rolling_back_takes_the_route_away(own_world: FusedWorld) -> None:
    world = own_world
    world.set_state(UpgradeState.ROLLED_BACK)
    answer = world.client.post("/search", json=world.body())
    problem(answer, 409, "no-route", "POST /upgrades/u/activate")


def test_a_gallery_registered_anew_under_its_name_inherits_nothing_that_was_proved_on_the_former(
    own_world: FusedWorld,
) -> None:
    world = own_world
    assert world.ask()["route"] == "fused"
    for state in (UpgradeState.ACTIVE, UpgradeState.ROLLED_BACK):
        world.set_state(state)
        world.client.delete("/galleries/g").raise_for_status()
        world.client.post("/galleries", json={"id": "g", "model": "old"}).raise_for_status()
        for old_vectors in (world.q_old.tolist(), None):
            answer = world.client.post("/search", json={**world.body(), "old_vectors": old_vectors})
            problem(answer, 409, "no-route", "nothing leads there from 'new'", "Learn a crossing")


def test_an_upgrade_is_named_to_keys_alone_that_see_all_its_galleries(own_world: FusedWorld) -> None:
    world = own_world
    world.accept_only_as_fused(galleries=["g", "other"])
    for galleries, named in ((None, True), (frozenset({"g", "other"}), True), (frozenset({"g"}), False)):
        with pytest.raises(NoRoute, match="accepted only as fused") as refused:
            world.crosswalk.search_resolver.resolve("g", "new", None, replace(EVERYTHING, galleries=galleries))
        assert ("upgrade" in refused.value.members) == ("Upgrade u" in refused.value.detail) == named
