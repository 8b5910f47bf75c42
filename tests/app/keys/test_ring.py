"""Keys in memory: how soon a change is seen, what happens without a database, and what is noted of use."""

from __future__ import annotations

import hashlib

import anyio
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from app.keys.access import KeyScope
from app.keys.ring import LAST_USE_SECONDS, KeyRing
from app.keys.schemas import NewKey
from app.keys.service import Keys
from app.problems import Unauthorized, Unavailable
from app.settings import Settings
from app.storage.database import Database
from tests.waiting import wait_until


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(each_database: Database) -> Keys:
    return Keys(each_database)


@pytest.fixture
def ring(each_database: Database, keys: Keys, clock: Clock) -> KeyRing:
    return KeyRing(Settings(), keys, clock)


def _taken(ring: KeyRing, key: str) -> bool:
    valid = anyio.run(ring.current)
    try:
        ring.identify(valid, key)
    except Unauthorized:
        return False
    return True


def _made(keys: Keys) -> tuple[str, str]:
    made = keys.create(NewKey(name="test", scopes=[KeyScope.SEARCH]))
    return made.id, made.key


def test_of_a_key_the_database_holds_the_hash_alone(each_database: Database, keys: Keys) -> None:
    _, key = _made(keys)
    with each_database.read() as session:
        row = session.execute(text("SELECT * FROM api_keys")).mappings().one()
    stored = " ".join(map(str, row.values()))
    assert hashlib.sha256(key.encode()).hexdigest() in stored
    assert key not in stored
    assert key.rpartition("_")[2] not in stored


def test_a_change_made_elsewhere_is_seen_within_a_second(ring: KeyRing, keys: Keys, clock: Clock) -> None:
    assert not anyio.run(ring.current).in_use
    identity, key = _made(keys)
    clock.now += 1.0
    assert _taken(ring, key)
    keys.revoke(identity, even_last_admin=False)
    clock.now += 1.0
    assert not _taken(ring, key)
    assert anyio.run(ring.current).in_use  # a service that had keys never becomes one without


def test_a_change_made_here_is_seen_at_once(ring: KeyRing, keys: Keys) -> None:
    identity, key = _made(keys)
    assert _taken(ring, key)
    keys.revoke(identity, even_last_admin=False)
    ring.changed()
    assert not _taken(ring, key)


def test_within_a_second_no_request_asks_the_database(
    ring: KeyRing, keys: Keys, each_database: Database, clock: Clock
) -> None:
    _, key = _made(keys)
    assert _taken(ring, key)
    asked: list[str] = []

    def ask(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            asked.append(statement)

    event.listen(each_database.engine, "before_cursor_execute", ask)
    for _ in range(100):
        assert _taken(ring, key)
        assert not _taken(ring, f"{key[:-1]}g")
    assert asked == []
    clock.now += 1.0
    assert _taken(ring, key)
    assert len(asked) == 1


def test_a_read_that_a_change_overtakes_is_not_taken_for_the_newest(
    ring: KeyRing, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, key = _made(keys)
    read = keys.valid

    def overtaken() -> object:
        before = read()
        keys.revoke(identity, even_last_admin=False)
        ring.changed()
        return before

    monkeypatch.setattr(keys, "valid", overtaken)
    ring.read()
    monkeypatch.setattr(keys, "valid", read)
    assert not _taken(ring, key)


def test_without_a_database_nobody_is_let_in_on_old_knowledge(
    ring: KeyRing, keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = _made(keys)
    assert _taken(ring, key)

    def away() -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(keys, "valid", away)
    assert _taken(ring, key)
    clock.now += 1.0
    with pytest.raises(Unavailable):
        anyio.run(ring.current)
    assert ring.last_read() is not None  # what is open to anybody is still answered


def test_when_a_key_was_used_is_noted_once_a_minute(ring: KeyRing, keys: Keys, clock: Clock) -> None:
    identity, key = _made(keys)
    assert _taken(ring, key)
    clock.now += 1.0
    assert _taken(ring, key)
    assert keys.get(identity).last_used_at is None
    clock.now += LAST_USE_SECONDS
    assert _taken(ring, key)
    wait_until(lambda: keys.get(identity).last_used_at is not None, "the use of the key to be noted")
    first = keys.get(identity).last_used_at
    assert _taken(ring, key)
    ring.note_last_use()
    last = keys.get(identity).last_used_at
    assert first is not None
    assert last is not None
    assert last >= first


def test_what_was_used_is_noted_later_where_it_could_not_be_written(
    ring: KeyRing, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(when: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    identity, key = _made(keys)
    assert _taken(ring, key)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "used", full)
        ring.note_last_use()
    assert keys.get(identity).last_used_at is None
    ring.note_last_use()
    assert keys.get(identity).last_used_at is not None


def test_the_same_is_said_of_an_unknown_key_and_of_a_wrong_secret(ring: KeyRing, keys: Keys) -> None:
    _, key = _made(keys)
    valid = anyio.run(ring.current)
    told = set()
    for wrong in (f"{key[:-64]}{'0' * 64}", f"cwk_{'0' * 12}_{key[-64:]}", "", "x", key.upper(), f"{key} ", "\udcff"):
        with pytest.raises(Unauthorized) as refusal:
            ring.identify(valid, wrong)
        told.add(refusal.value.detail)
    assert len(told) == 1
