"""Evaluations over HTTP: what starts one, what is refused before it starts, what is listed and removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.composition import compose
from app.settings import Settings
from tests.e2e.user import problem
from tests.serving import serving
from tests.versions import Versions


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    """Rows of `old` and `new`, a gallery of `old`; crossings accepted and rejected; nothing works on anything."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    crosswalk = compose(settings)
    with serving(settings) as client:
        versions = Versions(client, crosswalk)
        versions.with_rows(versions.old, versions.new).put(versions.world.gallery)
        yield versions
    crosswalk.close()


@pytest.fixture
def each_versions(each_client: httpx.Client, each_settings: Settings) -> Iterator[Versions]:
    """On SQLite and on PostgreSQL in turn."""
    crosswalk = compose(each_settings)
    yield Versions(each_client, crosswalk)
    crosswalk.close()


def post_evaluation(s: Versions, **body: Any) -> httpx.Response:
    return s.client.post("/evaluations", json={"dataset": s.dataset, **body})


def refused(s: Versions, status: int, slug: str, **body: Any) -> dict[str, Any]:
    before = len(s.listed("/evaluations"))
    refusal = problem(post_evaluation(s, **body), status, slug)
    assert len(s.listed("/evaluations")) == before
    return refusal


def wrong(s: Versions, **body: Any) -> str:
    """The place in the body that is wrong."""
    (error,) = refused(s, 422, "validation-error", **body)["errors"]
    return str(error["pointer"])


def test_an_evaluation_is_accepted_located_listed_and_removed(each_versions: Versions) -> None:
    s = each_versions.with_rows(each_versions.old)
    answer = post_evaluation(s, queries=s.old, gallery=s.old)
    assert answer.status_code == 202
    evaluation = answer.json()
    assert answer.headers["location"] == f"/evaluations/{evaluation['id']}"
    assert s.client.get(answer.headers["location"]).json() == evaluation
    assert (evaluation["kind"], evaluation["state"], evaluation["result"]) == ("pair", "queued", None)
    assert evaluation["progress"] == {"step": "evaluate_models", "done": 0, "total": 0, "eta_seconds": None}
    more = [post_evaluation(s, queries=s.old, gallery=s.old).json()["id"] for _ in range(2)]
    assert s.listed("/evaluations") == [evaluation["id"], *more]
    assert s.client.delete(f"/evaluations/{more[0]}").status_code == 204
    assert s.listed("/evaluations") == [evaluation["id"], more[1]]
    problem(s.client.get(f"/evaluations/{more[0]}"), 404, "not-found")
    problem(s.client.delete(f"/evaluations/{more[0]}"), 404, "not-found")


def test_the_same_key_starts_one_evaluation(each_versions: Versions) -> None:
    s = each_versions.with_rows(each_versions.old)
    body = {"dataset": s.dataset, "queries": s.old, "gallery": s.old}
    first, second = (s.client.post("/evaluations", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert len(s.listed("/evaluations")) == 1
    other = s.client.post("/evaluations", json=body | {"metrics": ["map"]}, headers={"Idempotency-Key": "once"})
    problem(other, 422, "idempotency-key-reused")


def test_what_was_left_out_is_filled_in(shared: Versions) -> None:
    s = shared
    upgrade = s.crossed(s.old, s.new)
    request = post_evaluation(s, queries=s.new, gallery_id=s.gallery).json()["request"]
    assert (request["gallery"], request["via"]) == (s.old, upgrade)
    assert request["against"] == {"queries": s.old, "gallery": s.old, "via": None}
    alone = post_evaluation(s, queries=s.new, gallery=s.old, against=None).json()["request"]
    assert (alone["against"], alone["via"]) == (None, upgrade)


@pytest.mark.parametrize(
    "body",
    [
        {"queries": "nobody", "gallery": "nobody"},
        {"queries": "OLD", "gallery": "nobody"},
        {"queries": "OLD", "gallery_id": "nowhere"},
        {"queries": "OLD", "gallery": "OLD", "dataset": "nothing"},
        {"queries": "NEW", "gallery": "OLD", "via": "upg-none"},
        {"queries": "OLD", "gallery": "OLD", "unconstrained": "nobody"},
        {"queries": "OLD", "gallery": "OLD", "against": {"queries": "nobody", "gallery": "OLD"}},
        {"models": ["OLD", "nobody"]},
    ],
    ids=str,
)
def test_what_is_not_there_is_not_found(shared: Versions, body: dict[str, Any]) -> None:
    refused(shared, 404, "not-found", **_named(shared, body))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"queries": "OLD"}, "/gallery"),
        ({"gallery": "OLD"}, "/queries"),
        ({"queries": "OLD", "gallery": "OLD", "more": 1}, "/more"),
        ({"queries": "OLD", "gallery": "OLD", "metrics": []}, "/metrics"),
        ({"queries": "OLD", "gallery": "OLD", "metrics": ["cmc@2"]}, "/metrics/0"),
        ({"queries": "OLD", "gallery": "OLD", "metrics": ["map", "map"]}, "/metrics"),
        ({"queries": "NEWEST", "gallery": "NEWEST"}, "/queries"),
        (
            {"queries": "OLD", "gallery": "OLD", "against": {"queries": "NEWEST", "gallery": "NEWEST"}},
            "/against/queries",
        ),
        ({"queries": "OLD", "gallery": "OLD", "against": {"queries": "OLD"}}, "/against/gallery"),
        ({"queries": "OLD", "gallery": "OLD", "unconstrained": "NEWEST"}, "/unconstrained"),
        ({"queries": "OLD", "gallery": "OLD", "slices": ["label"]}, "/slices"),
        (
            {
                "queries": "NEW",
                "gallery": "NEW",
                "against": {"queries": "OLD", "gallery": "OLD"},
                "slices": ["country"],
            },
            "/slices/0",
        ),
        ({"queries": "NEW", "gallery_id": "GALLERY", "gallery": "NEW"}, "/gallery"),
        ({"queries": "NEW", "gallery_id": "GALLERY", "metrics": ["map", "recall@10"], "via": "ACCEPTED"}, "/metrics/1"),
        ({"queries": "OLD", "gallery": "NEW", "via": "ACCEPTED"}, "/via"),
        ({"queries": "OLD", "gallery": "OLD", "via": "ACCEPTED"}, "/via"),
        ({"queries": "NEW", "gallery": "OLD", "via": "LEARNING"}, "/via"),
        ({"models": ["OLD"]}, "/models"),
        ({"models": ["OLD", "OLD"]}, "/models"),
        ({"models": ["OLD", "NEWEST"]}, "/models/1"),
        ({"models": ["OLD", "NEW"], "metrics": ["recall@10"]}, "/metrics/0"),
        ({"models": ["OLD", "NEW"], "queries": "OLD"}, "/queries"),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_refused_where_it_is_wrong(
    shared: Versions, body: dict[str, Any], pointer: str
) -> None:
    assert wrong(shared, **_named(shared, body)) == pointer


def test_a_gallery_that_holds_nothing_is_named_as_the_request_named_it(shared: Versions) -> None:
    s = shared
    s.client.post("/galleries", json={"id": "empty", "model": s.old}).raise_for_status()
    assert wrong(s, queries=s.old, gallery_id="empty") == "/gallery_id"
    assert wrong(s, queries=s.old, gallery_id="empty", gallery=s.old) == "/gallery"


def test_spaces_that_nothing_leads_between_are_not_compared(shared: Versions) -> None:
    s = shared
    refusal = refused(s, 409, "no-route", queries=s.old, gallery=s.new)
    assert f"POST /models/{s.new}/upgrade" in refusal["detail"]
    rejected = s.crossed(s.new, s.old, accepted=False)
    refusal = refused(s, 409, "no-route", queries=s.old, gallery=s.new)
    assert (refusal["upgrade"], "rejected" in refusal["detail"]) == (rejected, True)
    assert post_evaluation(s, queries=s.old, gallery=s.new, via=rejected).status_code == 202


def test_rows_of_which_none_has_all_the_models_are_refused(shared: Versions) -> None:
    s = shared
    s.post("/datasets", {"id": "apart"}, 201)
    rows = [
        {"id": "a", "label": "x", "embeddings": {s.old: s.world.queries.old[0].tolist()}},
        {"id": "b", "label": "x", "embeddings": {s.new: s.world.queries.new[0].tolist()}},
    ]
    assert s.client.put("/datasets/apart/rows", json={"rows": rows}).is_success
    pair = {"queries": s.new, "gallery": s.new, "against": {"queries": s.old, "gallery": s.old}}
    assert wrong(s, dataset="apart", **pair) == "/queries"
    assert wrong(s, dataset="apart", models=[s.old, s.new]) == "/models/0"


def test_rows_without_labels_make_no_chain_and_no_label_metric(shared: Versions) -> None:
    s = shared
    s.post("/datasets", {"id": "bare"}, 201)
    rows = [
        {"id": str(place), "embeddings": {s.old: s.world.queries.old[place].tolist(), s.new: [1.0] * 16}}
        for place in range(3)
    ]
    assert s.client.put("/datasets/bare/rows", json={"rows": rows}).is_success
    assert wrong(s, dataset="bare", models=[s.old, s.new]) == "/dataset"
    assert wrong(s, dataset="bare", queries=s.old, gallery=s.old, metrics=["recall@10", "map"]) == "/metrics/1"
    against = {"queries": s.new, "gallery": s.new}
    assert wrong(s, dataset="bare", queries=s.old, gallery=s.old, against=against, slices=["label"]) == "/slices/0"
    # The gallery is labelled, and does not hold the queries' own vectors: neither labels nor neighbours can judge.
    s.crossed(s.old, s.new)
    assert wrong(s, dataset="bare", queries=s.new, gallery_id=s.gallery) == "/dataset"


def _named(s: Versions, body: Any) -> Any:
    """With the scene's own ids for the words in capitals."""
    if isinstance(body, dict):
        return {name: _named(s, value) for name, value in body.items()}
    if isinstance(body, list):
        return [_named(s, value) for value in body]
    if body == "ACCEPTED":
        return s.crossed(s.old, s.new)
    if body == "LEARNING":
        return s.learning(s.old, s.new)
    return {"OLD": s.old, "NEW": s.new, "NEWEST": s.newest, "GALLERY": s.gallery}.get(body, body)


def test_an_upgrade_stays_while_an_evaluation_measures_its_crossing(each_versions: Versions) -> None:
    s = each_versions.with_rows(each_versions.old, each_versions.new)
    upgrade = s.crossed(s.old, s.new, accepted=False)
    evaluation = post_evaluation(s, queries=s.new, gallery=s.old, via=upgrade).json()["id"]
    refusal = problem(s.client.delete(f"/upgrades/{upgrade}"), 409, "in-use")
    assert refusal["used_by"] == [f"evaluation {evaluation}"]
    assert s.client.delete(f"/evaluations/{evaluation}").status_code == 204
    assert s.client.delete(f"/upgrades/{upgrade}").status_code == 204


def test_judged_queries_are_asked_for_where_there_are_some_with_what_it_takes(each_versions: Versions) -> None:
    s = each_versions.with_rows(each_versions.old)
    body = {"kind": "judged", "queries": s.old, "gallery": s.old}
    no_queries = refused(s, 422, "validation-error", **body)
    assert f"PUT /datasets/{s.dataset}/queries" in no_queries["detail"]
    vectors = s.seen_by(s.world.queries, s.old)
    queries: list[dict[str, Any]] = [{"id": "q", "embeddings": {s.old: vectors[0].tolist()}}]
    assert s.client.put(f"/datasets/{s.dataset}/queries", json=queries).is_success
    assert "relevant" in refused(s, 422, "validation-error", **body)["detail"]
    queries[0]["relevant"] = [s.world.queries.id[0]]
    assert s.client.put(f"/datasets/{s.dataset}/queries", json=queries).is_success
    evaluation = post_evaluation(s, **body).json()
    assert (evaluation["kind"], evaluation["state"]) == ("judged", "queued")
    assert evaluation["request"]["metrics"][0] == "ndcg@10"
    assert s.client.get(f"/evaluations/{evaluation['id']}").json() == evaluation
    assert wrong(s, **body | {"queries": s.newest, "gallery": s.newest}) == "/queries"
    assert wrong(s, **body | {"metrics": ["ndcg@10", "cmc@1"]}) == "/metrics/1"
    assert wrong(s, **body | {"metrics": ["ndcg@1001"]}) == "/metrics/0"
    assert wrong(s, **body | {"kind": "clicks"}) == "/kind"
    assert wrong(s, **body | {"slices": ["label"]}) == "/slices"
