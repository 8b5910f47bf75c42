"""What can be done with keys: make, list, revoke, rotate. The command line does it too, on the database itself."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.keys.access import Access, KeyScope
from app.keys.schemas import CreatedKey, Key, NewKey
from app.keys.secret import new_secret
from app.keys.tables import ApiKeyRow
from app.keys.valid_keys import ValidKey, ValidKeys
from app.problems import NotFound, WrongState
from app.storage.database import Database, utc_now


class Keys:
    """The keys resource."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, new: NewKey) -> CreatedKey:
        """Makes a key. The answer alone has its secret."""
        with self._database.session() as session:
            return _add(session, new)

    def get(self, key: str) -> Key:
        """Raises NotFound."""
        with self._database.read() as session:
            return _wire(_existing(session.get(ApiKeyRow, key), key))

    def rows_after(self, cursor: str | None, limit: int) -> list[Key]:
        """Up to `limit` keys in order of their ids, after the one named by the cursor."""
        query = select(ApiKeyRow).order_by(ApiKeyRow.id).limit(limit)
        with self._database.read() as session:
            return [_wire(row) for row in session.scalars(query.where(ApiKeyRow.id > cursor) if cursor else query)]

    def revoke(self, key: str) -> None:
        """Ends a key for good. Doing it twice is harmless. Raises NotFound."""
        with self._database.session() as session:
            row = _existing(session.get(ApiKeyRow, key, with_for_update=True), key)
            row.revoked_at = row.revoked_at or utc_now()

    def rotate(self, key: str, until: datetime | None = None) -> CreatedKey:
        """Makes a new key that may do what this one may, which ends at `until`, or at once. Where
        it was to expire, the new one lasts as long from now on as it was to last.

        Raises NotFound, and WrongState where it has ended.
        """
        with self._database.session() as session:
            row = _existing(session.get(ApiKeyRow, key, with_for_update=True), key)
            old = _wire(row)
            if old.state != "active":
                raise WrongState(f"Key {key} is {old.state}; make a new one.", state=old.state)
            if until is None:
                row.revoked_at = utc_now()
            else:
                row.expires_at = min(until, row.expires_at or until)
            ends = None if old.expires_at is None else utc_now() + (old.expires_at - old.created_at)
            new = NewKey(**old.model_dump(include=set(NewKey.model_fields)) | {"expires_at": ends})
            return _add(session, new)

    def used(self, when: Mapping[str, datetime]) -> None:
        """Notes when keys were last used. when: by the key's id."""
        with self._database.session() as session:
            for key, at in list(when.items()):
                earlier = ApiKeyRow.last_used_at.is_(None) | (ApiKeyRow.last_used_at < at)
                session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key, earlier).values(last_used_at=at))

    def valid(self) -> ValidKeys:
        """The keys that are taken now, and whether any was ever made."""
        ends = ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > utc_now())
        with self._database.read() as session:
            rows = session.scalars(select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None), ends)).all()
            ever = bool(rows) or session.scalar(select(ApiKeyRow.id).limit(1)) is not None
        return ValidKeys({row.id: _valid(row) for row in rows}, in_use=ever)


def _valid(row: ApiKeyRow) -> ValidKey:
    access = Access(
        key=row.id,
        scopes=frozenset(map(KeyScope, row.scopes)),
        galleries=None if row.galleries is None else frozenset(row.galleries),
        datasets=None if row.datasets is None else frozenset(row.datasets),
    )
    return ValidKey(access, row.hash, row.expires_at, row.rate, row.concurrency)


def _add(session: Session, new: NewKey) -> CreatedKey:
    secret = new_secret()
    row = ApiKeyRow(
        id=secret.id,
        name=new.name,
        hash=secret.hash,
        scopes=sorted(set(new.scopes)),
        galleries=None if new.galleries is None else sorted(set(new.galleries)),
        datasets=None if new.datasets is None else sorted(set(new.datasets)),
        rate=new.rate,
        concurrency=new.concurrency,
        expires_at=new.expires_at,
    )
    session.add(row)
    session.flush()
    return CreatedKey(**_wire(row).model_dump(), key=secret.key)


def _existing(row: ApiKeyRow | None, key: str) -> ApiKeyRow:
    if row is None:
        raise NotFound(f"There is no key {key!r}. GET /keys lists them.")
    return row


def _wire(row: ApiKeyRow) -> Key:
    expired = row.expires_at is not None and row.expires_at <= utc_now()
    return Key(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        galleries=row.galleries,
        datasets=row.datasets,
        expires_at=row.expires_at,
        rate=row.rate,
        concurrency=row.concurrency,
        state="revoked" if row.revoked_at else "expired" if expired else "active",
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
