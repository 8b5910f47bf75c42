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
from app.problems import Conflict, NotFound, WrongState
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

    def revoke(self, key: str, *, even_last_admin: bool) -> bool:
        """Ends a key for good; doing it twice is harmless. Returns whether any admin's key is left to stay.

        Raises NotFound; and Conflict where it is the last admin's key, unless that too is to be ended.
        """
        with self._database.session() as session:
            # All that may be the last one are locked, so that two calls at once do not end two last ones.
            staying = _staying_admins(session)
            row = _existing(session.get(ApiKeyRow, key, with_for_update=True), key)
            if staying == {key} and not even_last_admin:
                raise Conflict(
                    f"Key {key} is the last admin's key: without it, nobody could manage keys over HTTP. POST "
                    f"/keys/{key}/rotate replaces it at once; or run `crosswalk keys revoke {key}` on the service's "
                    "machine."
                )
            row.revoked_at = _earlier(row.revoked_at, utc_now())
            return bool(staying - {key})

    def rotate(self, key: str, until: datetime | None = None) -> CreatedKey:
        """Makes a new key that may do what this one may, which ends at `until`, or at once. Where it was to expire, the
        new one lasts as long from now on as it was made to last, however soon it ends because it was rotated before.

        Raises NotFound, and WrongState where it has ended.
        """
        with self._database.session() as session:
            row = _existing(session.get(ApiKeyRow, key, with_for_update=True), key)
            old = _wire(row)
            if old.state != "active":
                raise WrongState(f"Key {key} is {old.state}; make a new one.", state=old.state)
            # What it was made to last stays as it is, for the next rotation.
            row.revoked_at = _earlier(row.revoked_at, until or utc_now())
            ends = None if old.expires_at is None else utc_now() + (old.expires_at - old.created_at)
            new = NewKey(**old.model_dump(include=set(NewKey.model_fields)) | {"expires_at": ends})
            return _add(session, new)

    def used(self, when: Mapping[str, datetime]) -> None:
        """Notes when keys were last used. when: by the key's id."""
        with self._database.session() as session:
            for key, at in sorted(when.items()):  # in the order in which revoking locks them
                earlier = ApiKeyRow.last_used_at.is_(None) | (ApiKeyRow.last_used_at < at)
                session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key, earlier).values(last_used_at=at))

    def valid(self) -> ValidKeys:
        """The keys that are taken now, and whether any was ever made."""
        now = utc_now()
        lasts = ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > now)
        stays = ApiKeyRow.revoked_at.is_(None) | (ApiKeyRow.revoked_at > now)
        with self._database.read() as session:
            rows = session.scalars(select(ApiKeyRow).where(lasts, stays)).all()
            ever = bool(rows) or session.scalar(select(ApiKeyRow.id).limit(1)) is not None
        return ValidKeys({row.id: _valid(row) for row in rows}, in_use=ever)


def _staying_admins(session: Session) -> set[str]:
    """The ids of the admin's keys that have not ended, and were not replaced by others; locked until the session's
    transaction ends."""
    lasts = ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > utc_now())
    query = select(ApiKeyRow).where(lasts, ApiKeyRow.revoked_at.is_(None)).order_by(ApiKeyRow.id).with_for_update()
    return {row.id for row in session.scalars(query) if KeyScope.ADMIN in row.scopes}


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """The earlier of two moments, of which either may never come."""
    return min((moment for moment in (one, other) if moment is not None), default=None)


def _valid(row: ApiKeyRow) -> ValidKey:
    access = Access(
        key=row.id,
        scopes=frozenset(map(KeyScope, row.scopes)),
        galleries=None if row.galleries is None else frozenset(row.galleries),
        datasets=None if row.datasets is None else frozenset(row.datasets),
    )
    return ValidKey(access, row.hash, _earlier(row.expires_at, row.revoked_at), row.rate, row.concurrency)


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
    now = utc_now()
    expired = row.expires_at is not None and row.expires_at <= now
    revoked = row.revoked_at is not None and row.revoked_at <= now
    return Key(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        galleries=row.galleries,
        datasets=row.datasets,
        expires_at=row.expires_at,
        rate=row.rate,
        concurrency=row.concurrency,
        state="revoked" if revoked else "expired" if expired else "active",
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
