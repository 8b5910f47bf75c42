"""Work that is asked for twice under one key is done once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import httpx
import pytest
from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.idempotency.once import KEPT, REPLAYED, OncePerKey, StoredAnswer
from app.idempotency.tables import IdempotencyKeyRow
from app.problems import Conflict, KeyReused
from app.registry.tables import ModelRow
from app.storage.database import Database, utc_now
from tests.waiting import PATIENCE_SECONDS


class Done(BaseModel):
    number: int


def _once(database: Database, key: str | None = "key", fingerprint: str = "body") -> OncePerKey:
    return OncePerKey(database, key, "POST /work", fingerprint)


def _work(session: Session) -> StoredAnswer:
    """Leaves one row for each time that it is done."""
    number = _rows(session)
    session.add(ModelRow(id=f"m-{number}", dimension=1, metric="l2"))
    session.flush()
    return StoredAnswer(Done(number=number), headers={"Location": f"/things/{number}"})


def _rows(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ModelRow)) or 0


def _done(database: Database) -> int:
    with database.read() as session:
        return _rows(session)


def test_the_same_request_again_gets_the_stored_answer(each_database: Database) -> None:
    first, second = (_once(each_database).run(_work) for _ in range(2))
    assert (first.status_code, first.body, first.headers["location"]) == (202, b'{"number":0}', "/things/0")
    assert REPLAYED not in first.headers
    assert (second.status_code, second.body, second.headers["location"]) == (202, b'{"number":0}', "/things/0")
    assert second.headers[REPLAYED] == "true"
    assert _done(each_database) == 1


def test_another_body_under_the_key_is_refused(each_database: Database) -> None:
    _once(each_database).run(_work)
    with pytest.raises(KeyReused):
        _once(each_database, fingerprint="another").run(_work)
    assert _done(each_database) == 1


def test_other_keys_and_no_key_do_the_work_each_time(each_database: Database) -> None:
    for key in ("one", "two", None, None):
        assert REPLAYED not in _once(each_database, key).run(_work).headers
    assert _done(each_database) == 4


def test_a_refused_request_leaves_its_key_unused(each_database: Database) -> None:
    def refuse(session: Session) -> StoredAnswer:
        _work(session)
        raise Conflict("not now")

    with pytest.raises(Conflict):
        _once(each_database).run(refuse)
    assert _done(each_database) == 0
    assert REPLAYED not in _once(each_database).run(_work).headers


def test_of_many_at_once_one_does_the_work(each_database: Database) -> None:
    together = Barrier(6)

    def ask(_: int) -> Response:
        together.wait(PATIENCE_SECONDS)
        return _once(each_database).run(_work)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6), timeout=PATIENCE_SECONDS))
    assert {answer.body for answer in answers} == {b'{"number":0}'}
    assert sum(REPLAYED in answer.headers for answer in answers) == 5
    assert _done(each_database) == 1


def test_a_key_is_forgotten_after_a_day(each_database: Database) -> None:
    _once(each_database).run(_work)
    with each_database.session() as session:
        session.execute(update(IdempotencyKeyRow).values(created_at=utc_now() - KEPT - timedelta(seconds=1)))
    assert REPLAYED not in _once(each_database).run(_work).headers
    assert _done(each_database) == 2


@pytest.fixture
def upgradable(client: httpx.Client) -> httpx.Client:
    """A service with all that an upgrade needs before it can start."""
    for body in ({"id": "old", "dimension": 2}, {"id": "new", "dimension": 3}):
        assert client.post("/models", json=body | {"metric": "cosine"}).is_success
    assert client.post("/galleries", json={"id": "faq", "model": "old"}).is_success
    assert client.post("/datasets", json={"id": "pairs"}).is_success
    assert client.put(
        "/galleries/faq/items?model=old", json=[{"id": "a", "embedding": [1, 0], "label": "x"}]
    ).is_success
    rows = [{"id": one, "embeddings": {"old": [1, 0], "new": [0, 1, 0]}} for one in "abcdefgh"]
    assert client.put("/datasets/pairs/rows", json={"rows": rows}).is_success
    return client


UPGRADE = {"to": "new", "dataset": "pairs", "galleries": ["faq"]}


def test_an_upgrade_is_started_once_per_key(upgradable: httpx.Client) -> None:
    headers = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    reordered = dict(reversed(UPGRADE.items()))
    first, second = (
        upgradable.post("/models/old/upgrade", json=body, headers=headers) for body in (UPGRADE, reordered)
    )
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["location"] == second.headers["location"] == f"/upgrades/{first.json()['id']}"
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(upgradable.get("/upgrades").json()["items"]) == 1
    other = upgradable.post("/models/old/upgrade", json=UPGRADE | {"dry_run": True}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", b"caf\xe9"])
def test_a_key_that_is_no_token_is_refused(upgradable: httpx.Client, key: str | bytes) -> None:
    headers = httpx.Headers([(b"idempotency-key", key.encode() if isinstance(key, str) else key)])
    answer = upgradable.post("/models/old/upgrade", json=UPGRADE, headers=headers)
    assert answer.status_code == 422
    assert upgradable.get("/upgrades").json()["items"] == []
