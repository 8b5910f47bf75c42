"""Does the work of a POST at most once for each key, in one transaction with the memory of having done it.

Two requests with one key at the same moment meet at the key's row: the database lets one insert it, and the other waits
until the first has committed, and then finds the answer. A request that failed leaves nothing, its key neither.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette._utils import get_route_path
from starlette.responses import Response

from app.failpoints import Failpoint, reached
from app.idempotency.tables import IdempotencyKeyRow
from app.keys.access import Caller
from app.problems import KeyReused
from app.storage.database import Database, utc_now

KEPT = timedelta(hours=24)
REPLAYED = "Idempotent-Replayed"


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that is stored under the request's Idempotency-Key, to be sent again."""

    content: BaseModel
    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OncePerKey:
    """Does what one request asks for at most once for its Idempotency-Key; without a key it is simply done."""

    database: Database
    key: str | None
    operation: str
    fingerprint: str

    def run(self, work: Callable[[Session], StoredAnswer]) -> Response:
        """The answer of `work`, done in one transaction that has committed when this returns; or the stored answer.

        Raises what `work` raises, with nothing done, and KeyReused where the key came with another body before.
        """
        try:
            with self.database.session() as session:
                row = self._claim(session)
                reached(Failpoint.KEY_CLAIMED)
                done = work(session)
                body = done.content.model_dump_json(by_alias=True).encode()
                if row is not None:
                    row.status, row.headers, row.body = done.status, dict(done.headers), body
        except _Known as known:
            return self._replay(known)
        return _response(done.status, body, done.headers)

    def _claim(self, session: Session) -> IdempotencyKeyRow | None:
        if self.key is None:
            return None
        session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < utc_now() - KEPT))
        self._raise_if_known(session)
        row = IdempotencyKeyRow(key=self.key, operation=self.operation, fingerprint=self.fingerprint)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:
            self._raise_if_known(session)
            raise
        return row

    def _raise_if_known(self, session: Session) -> None:
        row = session.get(IdempotencyKeyRow, (self.key, self.operation))
        if row is not None and row.status is not None and row.body is not None:
            raise _Known(row.fingerprint, row.status, dict(row.headers or {}), row.body)

    def _replay(self, known: "_Known") -> Response:
        if known.fingerprint != self.fingerprint:
            raise KeyReused(
                f"Idempotency-Key {self.key!r} came with another body before. Use a new key for a new request."
            )
        return _response(known.status, known.body, known.headers | {REPLAYED: "true"})


class _Known(Exception):
    """Leaves the transaction, which has nothing to commit, with what an earlier one stored."""

    def __init__(self, fingerprint: str, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__()
        self.fingerprint, self.status, self.headers, self.body = fingerprint, status, headers, body


async def _once(
    request: Request,
    caller: Caller,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Sent again within 24 hours with the same body, the first answer is repeated, and nothing is "
            "started twice.",
        ),
    ] = None,
) -> OncePerKey:
    database: Database = request.app.state.crosswalk.database
    operation = f"{request.method} {get_route_path(request.scope)}"
    if caller.key is not None:  # what one sender was answered is not for another
        operation += f" by {caller.key}"
    return OncePerKey(database, idempotency_key, operation, _fingerprint(await request.body()))


Once = Annotated[OncePerKey, Depends(_once)]
"""What a route takes that starts work: `once.run(lambda session: StoredAnswer(service.start(session, …)))`."""


def _fingerprint(body: bytes) -> str:
    """A digest of the request that does not depend on the order in which a JSON body's members are written."""
    with suppress(ValueError, RecursionError):
        body = json.dumps(json.loads(body), sort_keys=True).encode()
    return hashlib.sha256(body).hexdigest()


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    return Response(body, status, dict(headers), "application/json")
