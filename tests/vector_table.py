"""A user's own table in PostgreSQL with pgvector, and what its application does with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from tests.worlds import Floats

TABLE, VECTOR = "documents", "embedding"


class VectorTable:
    """`documents`, with `id`, `body`, `topic` and `embedding`. uri: libpq's."""

    def __init__(self, uri: str, dimension: int) -> None:
        self.uri = uri
        self.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self.execute(f"CREATE TABLE {TABLE} (id text PRIMARY KEY, body text, topic text, {VECTOR} vector({dimension}))")

    @classmethod
    def of_sqlalchemy(cls, url: str, dimension: int) -> VectorTable:
        return cls(url.replace("postgresql+psycopg://", "postgresql://"), dimension)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert(self, ids: Sequence[str], vectors: Floats, topics: Sequence[str | None] | None = None) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET {VECTOR} = "
                f"excluded.{VECTOR}",
                [
                    (one, f"body of {one}", topic, str(vector.tolist()))
                    for one, vector, topic in zip(ids, vectors, topics or [None] * len(ids), strict=True)
                ],
            )

    def columns(self) -> list[str]:
        found = self.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            (TABLE,),
        )
        return [name for (name,) in found]

    def added(self) -> list[str]:
        """Columns that its user did not make."""
        return [name for name in self.columns() if name not in ("id", "body", "topic", VECTOR)]

    def vectors(self, column: str, of: str = TABLE) -> dict[str, Floats]:
        """By id; items without one are left out."""
        rows = self.execute(f'SELECT id, "{column}"::text FROM {of} WHERE "{column}" IS NOT NULL')
        return {one: np.array(text[1:-1].split(","), np.float32) for one, text in rows}

    def originals(self) -> dict[str, tuple[Any, ...]]:
        """By id, what its user wrote, the vector as the bytes that it is stored as."""
        rows = self.execute(f"SELECT id, body, topic, vector_send({VECTOR}) FROM {TABLE}")
        return {row[0]: row[1:] for row in rows}


def connections_file(folder: Path, **urls: str) -> Path:
    """The operator's file of connections to PostgreSQL, each by its name."""
    path = folder / "connections.toml"
    path.write_text("".join(f'[{name}]\nkind = "pgvector"\nurl = "{url}"\n' for name, url in urls.items()))
    return path
