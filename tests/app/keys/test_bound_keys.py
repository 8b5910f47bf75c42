"""A key bound to one gallery, in a service that holds another: nothing of the other is seen, told or changed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import delete, make_url

from app.evaluations.states import EvaluationState
from app.evaluations.tables import EvaluationRow
from app.keys.access import KeyScope
from app.keys.service import Keys
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow
from models.portable import SpaceSketch
from tests.app.keys.keyed import KeyedService
from tests.serving import serving
from tests.spaces import DIMENSION, made_model
from tests.upgrade_rows import FORWARD_REQUEST, store_upgrade
from tests.waiting import wait_until

PAIR: dict[str, Any] = {"queries": "old", "gallery": "old"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(Settings(data_dir=tmp_path_factory.mktemp("data")).sqlalchemy_url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def service(database: Database) -> Iterator[KeyedService]:
    """Galleries, datasets, upgrades and evaluations `mine`, `other`, and of both."""
    with serving(Settings(data_dir=Path(str(make_url(database.url).database)).parent)) as client:
        for model in ("old", "new"):
            client.post("/models", json={"id": model, "dimension": 2, "metric": "cosine"}).raise_for_status()
        for name in ("mine", "other"):
            client.post("/galleries", json={"id": name, "model": "old"}).raise_for_status()
            client.post("/datasets", json={"id": name}).raise_for_status()
            vectors = {"old": [1, 0], "new": [0, 1]}
            rows = {"rows": [{"id": f"a{k}", "label": "x", "embeddings": vectors} for k in range(8)]}
            client.put(f"/datasets/{name}/rows", json=rows).raise_for_status()
            items = {"items": [{"id": "a", "embedding": [1, 0], "label": name}]}
            client.put(f"/galleries/{name}/items?model=old", json=items).raise_for_status()
        for name, galleries in (("mine", ["mine"]), ("other", ["other"]), ("both", ["mine", "other"])):
            request = FORWARD_REQUEST | {"dataset": "mine"}
            store_upgrade(database, f"upg-{name}", UpgradeState.REJECTED, galleries, request=request)
        store_upgrade(database, "upg-unseen", UpgradeState.ROLLED_BACK, ["mine", "other"])
        with database.session() as session:
            for name, dataset in (("mine", "mine"), ("other", "mine"), ("mine", "other")):
                body = PAIR | {"dataset": dataset, "gallery_id": name}
                row = EvaluationRow(id=f"eva-{name}-{dataset}", request=body, state=EvaluationState.FAILED)
                session.add(row)
        yield KeyedService(client, Keys(database))


@pytest.fixture(scope="module")
def mine(service: KeyedService) -> str:
    """A key with every scope that a bound key may have."""
    key = service.key(KeyScope.SEARCH, KeyScope.WRITE, KeyScope.UPGRADE, galleries=["mine"], datasets=["mine"])
    service.knows(key)
    return key


def _refused(answer: httpx.Response, status: int = 403) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def _ids(answer: httpx.Response) -> list[str]:
    return [row["id"] for row in answer.json()["items"]]


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/galleries", ["mine"]),
        ("/datasets", ["mine"]),
        ("/upgrades", ["upg-mine"]),
        ("/evaluations", ["eva-mine-mine"]),
        ("/models", ["new", "old"]),
    ],
)
def test_lists_name_what_the_key_is_bound_to(service: KeyedService, mine: str, path: str, seen: list[str]) -> None:
    assert _ids(service.ask(mine, "GET", path)) == seen
    page = service.ask(mine, "GET", f"{path}?limit=1").json()
    assert page["items"][0]["id"] == seen[0]
    assert (page["next_cursor"] is None) == (len(seen) == 1)


def test_searches_find_nothing_of_another_gallery_however_they_name_it(service: KeyedService, mine: str) -> None:
    npy = {"content-type": "application/x-npy", "Authorization": f"Bearer {mine}"}
    for gallery in ("other", "missing"):
        body = {"gallery": gallery, "model": "old", "k": 1, "vectors": [[1, 0]]}
        query = f"gallery={gallery}&model=old"
        told = {
            _refused(service.ask(mine, "GET", f"/search?{query}&vector=1,0")),
            _refused(service.ask(mine, "POST", "/search", json=body)),
            _refused(service.client.post(f"/search?{query}", content=_npy(), headers=npy)),
        }
        assert told == {f"This key is bound to other galleries than {gallery!r}."}
    found = service.ask(mine, "POST", "/search", json={"gallery": "mine", "model": "old", "k": 1, "vectors": [[1, 0]]})
    assert found.json()["results"][0][0]["label"] == "mine"
    assert service.client.post("/search?gallery=mine&model=old", content=_npy(), headers=npy).is_success


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[1, 0]], np.float32))
    return buffer.getvalue()


def test_nothing_is_registered_under_another_name(service: KeyedService, mine: str) -> None:
    for name in ("other", "missing"):
        _refused(service.ask(mine, "POST", "/galleries", json={"id": name, "model": "old"}))
        _refused(service.ask(mine, "POST", "/datasets", json={"id": name}))
    assert service.ask(mine, "POST", "/galleries", json={"id": "mine", "model": "old"}).status_code == 200
    assert service.ask(mine, "POST", "/datasets", json={"id": "mine"}).status_code == 200


@pytest.mark.parametrize("part", ["", "/events", "/report", "/rows"])
def test_an_upgrade_of_a_gallery_not_seen_is_as_if_it_were_not(service: KeyedService, mine: str, part: str) -> None:
    told = {
        _refused(service.ask(mine, "GET", f"/upgrades/upg-{name}{part}"), 404).replace(name, "…")
        for name in ("other", "both", "missing")
    }
    assert told == {"There is no upgrade 'upg-…'. GET /upgrades lists them."}
    assert service.ask(mine, "GET", f"/upgrades/upg-mine{part}").status_code in (200, 409)


@pytest.mark.parametrize("action", ["activate", "rollback", "cancel"])
def test_an_upgrade_of_a_gallery_not_seen_cannot_be_acted_on(service: KeyedService, mine: str, action: str) -> None:
    for name in ("other", "both", "missing"):
        _refused(service.ask(mine, "POST", f"/upgrades/upg-{name}/{action}"), 404)
    _refused(service.ask(mine, "POST", f"/upgrades/upg-mine/{action}"), 409)


def test_an_upgrade_names_galleries_and_datasets_that_are_seen(service: KeyedService, mine: str) -> None:
    asked = {"to": "new", "dataset": "mine", "galleries": ["mine"], "dry_run": True}
    compatible = {"strategy": "compatible", "to": {"id": "third", "architecture": "small-bert"}}
    for wrong in (
        {"galleries": ["other"]},
        {"galleries": ["mine", "other"]},
        {"galleries": ["mine", "missing"]},
        {"galleries": None},
        {"dataset": "other"},
        {"dataset": "missing"},
        {"evaluation": "other"},
        compatible,
    ):
        _refused(service.ask(mine, "POST", "/models/old/upgrade", json=asked | wrong))
    started = service.ask(mine, "POST", "/models/old/upgrade", json=asked)
    assert started.status_code == 202, started.text
    assert service.ask(mine, "POST", f"/upgrades/{started.json()['id']}/cancel").is_success


def test_evaluations_read_what_is_seen(service: KeyedService, mine: str) -> None:
    asked = PAIR | {"dataset": "mine", "gallery_id": "mine"}
    for wrong in ({"dataset": "other"}, {"dataset": "missing"}, {"gallery_id": "other"}, {"gallery_id": "missing"}):
        _refused(service.ask(mine, "POST", "/evaluations", json=asked | wrong))
    _refused(service.ask(mine, "POST", "/evaluations", json={"dataset": "other", "models": ["old", "new"]}))
    for upgrade in ("upg-other", "upg-missing"):
        crossed = asked | {"queries": "new", "via": upgrade}
        assert "There is no upgrade" in _refused(service.ask(mine, "POST", "/evaluations", json=crossed), 404)
    for evaluation in ("eva-other-mine", "eva-mine-other", "eva-missing"):
        for method in ("GET", "DELETE"):
            assert "no evaluation" in _refused(service.ask(mine, method, f"/evaluations/{evaluation}"), 404)
    assert service.ask(mine, "GET", "/evaluations/eva-mine-mine").is_success


def test_no_crossing_of_an_upgrade_not_seen_is_taken_or_named(service: KeyedService, mine: str) -> None:
    operator = service.key(KeyScope.ADMIN)
    service.knows(operator)
    crossed = PAIR | {"dataset": "mine", "queries": "new"}
    query = {"gallery": "mine", "model": "new", "k": 1, "vectors": [[1, 0]]}
    evaluation = service.ask(operator, "POST", "/evaluations", json=crossed)
    assert evaluation.json()["request"]["via"] == "upg-unseen", evaluation.text
    assert "upg-unseen" in _refused(service.ask(operator, "POST", "/search", json=query), 409)
    for path, body in (("/evaluations", crossed), ("/search", query)):
        assert "Learn a crossing" in _refused(service.ask(mine, "POST", path, json=body), 409)


def test_no_upgrade_not_seen_is_named_by_what_it_is_in_the_way_of(
    service: KeyedService, database: Database, mine: str
) -> None:
    operator = service.key(KeyScope.ADMIN)
    service.knows(operator)
    refusals: list[tuple[str, str, dict[str, Any] | None]] = [
        ("DELETE", "/galleries/mine", None),
        ("DELETE", "/datasets/mine", None),
        ("POST", "/galleries/mine/activate", {"generation": 1}),
        ("POST", "/models/old/upgrade", {"to": "new", "dataset": "mine", "galleries": ["mine"], "dry_run": True}),
    ]
    with _under_way(database, "upg-in-the-way", ["mine", "other"]):
        for method, path, body in refusals:
            answers = [service.ask(key, method, path, json=body) for key in (operator, mine)]
            assert [answer.status_code for answer in answers] == [409, 409], answers[1].text
            assert ["upg-in-the-way" in answer.text for answer in answers] == [True, False]
            assert "more galleries than this key sees" in answers[1].text


@contextmanager
def _under_way(database: Database, upgrade: str, galleries: list[str]) -> Iterator[None]:
    """An upgrade of these galleries is under way meanwhile, and learns from the dataset `mine`."""
    request = FORWARD_REQUEST | {"dataset": "mine"}
    store_upgrade(database, upgrade, UpgradeState.QUEUED, galleries, request=request)
    yield
    with database.session() as session:
        session.execute(delete(UpgradeRow).where(UpgradeRow.id == upgrade))


def test_one_keys_stored_answers_are_not_anothers(service: KeyedService, mine: str) -> None:
    asked = PAIR | {"dataset": "mine", "gallery_id": "mine"}
    also = service.key(KeyScope.UPGRADE, galleries=["mine"], datasets=["mine"])
    service.knows(also)
    answers = []
    for key in (mine, also, mine):
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "one-and-the-same"}
        answers.append(service.client.post("/evaluations", json=asked, headers=headers).json()["id"])
    assert answers[0] == answers[2] != answers[1]


def test_a_model_is_watched_and_known_by_all_but_told_and_taught_by_nobody_else(settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    with serving(settings) as client:
        client.post("/models", json={"id": "m", "dimension": DIMENSION, "metric": "cosine"}).raise_for_status()
        for name in ("mine", "secret"):
            client.post("/galleries", json={"id": name, "model": "m"}).raise_for_status()
        client.post("/datasets", json={"id": "mine"}).raise_for_status()
        service = KeyedService(client, Keys(database))
        operator = service.key(KeyScope.ADMIN)
        bound = service.key(KeyScope.SEARCH, KeyScope.WRITE, galleries=["mine"], datasets=["mine"])
        service.knows(operator)
        service.knows(bound)

        def put(key: str, path: str, vectors: np.ndarray, ids: str, column: str = "embedding") -> httpx.Response:
            rows = [{"id": f"{ids}-{row}", column: vector.tolist()} for row, vector in enumerate(vectors)]
            return service.ask(key, "PUT", path, json={"rows" if "datasets" in path else "items": rows})

        items = "/galleries/{}/items?model=m"
        assert put(operator, items.format("secret"), made_model(1, 1_500), "own").is_success
        wait_until(lambda: any((settings.data_dir / "spaces").glob("*.npz")), "the model to be known")

        strange = made_model(2, 1_500)
        unchecked = items.format("mine") + "&space=unchecked"
        assert put(bound, unchecked, strange, "strange").is_success
        assert put(bound, "/datasets/mine/rows?space=unchecked", strange, "strange", "embedding.m").is_success
        assert put(bound, items.format("mine"), made_model(1, 80, of=3), "right").is_success
        assert put(operator, unchecked, strange, "strange-too").is_success
        (sketch,) = (settings.data_dir / "spaces").glob("*.npz")
        before = sketch.read_bytes()
        assert put(operator, items.format("secret"), made_model(1, 80, of=4), "more").is_success
        wait_until(lambda: sketch.read_bytes() != before, "what the operator put to be learned")
        assert len(SpaceSketch.from_bytes(sketch.read_bytes())) == 1_580

        def told(key: str) -> list[str]:
            return list(service.ask(key, "GET", "/models/m").json().get("warnings", []))

        queries = {"gallery": "secret", "model": "m", "k": 1, "vectors": strange[:64].tolist()}
        wait_until(
            lambda: service.ask(operator, "POST", "/search", json=queries).is_success and told(operator),
            "the operator to be told",
        )
        assert "'secret'" in told(operator)[0]
        assert told(bound) == []
    database.close()
