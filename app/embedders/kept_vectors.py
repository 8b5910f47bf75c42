"""Vectors kept as they come, so that what was paid for once is not paid for again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.embedders.protocol import EmbedderCall
from app.embedders.tables import KeptVectorRow
from app.storage.database import Database, utc_now

LOOKED_UP_AT_ONCE = 500
"""Texts that one query looks up."""
_FORGOTTEN_AT_ONCE = 5_000


def forget_old_vectors(database: Database, days: float) -> None:
    """Removes vectors that were kept for longer, a few at a time, so that nobody waits for long."""
    before = utc_now() - timedelta(days=days)
    old = select(KeptVectorRow.key).where(KeptVectorRow.created_at < before).limit(_FORGOTTEN_AT_ONCE)
    while True:
        with database.session() as session:
            keys = sorted(session.scalars(old))
            for part in _parts(keys):
                session.execute(delete(KeptVectorRow).where(KeptVectorRow.key.in_(part)))
        if len(keys) < _FORGOTTEN_AT_ONCE:
            return


class KeptVectors:
    """The kept vectors of texts with one prefix, by one embedder, asked in one way.

    place: where the embedder is: another one, under the same name, makes other vectors. It is hashed, not kept.
    """

    def __init__(self, database: Database, connection: str, place: str, call: EmbedderCall, prefix: str) -> None:
        self._database = database
        where = hashlib.sha256(place.encode()).hexdigest()
        told = [connection, where, call.model, call.dimension, call.dimensions, prefix]
        if call.input_type is not None:
            told.append(call.input_type)
        self._of = hashlib.sha256(json.dumps(told).encode())

    def find(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those of the texts that have one."""
        text_of = {self._key(text): text for text in texts}
        found: dict[str, NDArray[np.float32]] = {}
        with self._database.read() as session:
            for keys in _parts(list(text_of)):
                query = select(KeptVectorRow.key, KeptVectorRow.vector).where(KeptVectorRow.key.in_(keys))
                for key, vector in session.execute(query):
                    found[text_of[key]] = np.frombuffer(vector, "<f4")
        return found

    def keep(self, session: Session, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keeps the vectors of texts, in the caller's transaction; those that are there stay."""
        if not vectors:
            return
        by_key = {self._key(text): vector for text, vector in vectors.items()}
        # In order of the keys: of two transactions that keep the same texts, neither waits for what the other has yet
        # to insert.
        rows = [{"key": key, "vector": np.ascontiguousarray(by_key[key], "<f4").tobytes()} for key in sorted(by_key)]
        kind = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
        session.execute(kind.insert(KeptVectorRow).on_conflict_do_nothing(), rows)

    def forget(self, texts: Sequence[str]) -> None:
        """Removes the vectors of texts, which are stored elsewhere by now."""
        with self._database.session() as session:
            for keys in _parts(sorted(self._key(text) for text in texts)):
                session.execute(delete(KeptVectorRow).where(KeptVectorRow.key.in_(keys)))

    def _key(self, text: str) -> bytes:
        of = self._of.copy()
        of.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
        return of.digest()


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
        yield keys[start : start + LOOKED_UP_AT_ONCE]
