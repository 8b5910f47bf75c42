"""A LanceDB database, opened, with errors that show neither where it is nor what opens it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from pydantic import SecretStr, field_validator

from app.connections.options import ConnectionOptions
from app.stores.protocol import StoreAway, WrongPlace

_NOT_FOUND = ("was not found", "does not exist", "Not found")


class LanceOptions(ConnectionOptions):
    """uri: an absolute path, or s3://, gs:// or az://. Object storage's credentials are those of the environment."""

    uri: SecretStr

    @field_validator("uri")
    @classmethod
    def _is_a_place(cls, uri: SecretStr) -> SecretStr:
        written = uri.get_secret_value()
        if not (written.startswith(("s3://", "gs://", "az://")) or os.path.isabs(written)):
            raise ValueError("write an absolute path, or s3://, gs:// or az://; LanceDB Cloud (db://) is not supported")
        return uri


class LanceDatabase:
    """name: the connection's."""

    def __init__(self, name: str, options: LanceOptions) -> None:
        self.called = f"the LanceDB of the connection {name!r}"
        uri = options.uri.get_secret_value()
        if os.path.isabs(uri) and not Path(uri).is_dir():  # the client would make it
            raise StoreAway(f"{self.called} is not there: its folder does not exist")
        with self.asking():
            self._database = lancedb.connect(uri, read_consistency_interval=timedelta(0))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around every call of the client, whose own words name paths and hosts."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreAway(f"{self.called} does not do as it is asked: {type(error).__name__}") from None

    def names(self) -> list[str]:
        found: list[str] = []
        with self.asking():
            answer = self._database.list_tables()
            found += answer.tables
            while answer.page_token:
                answer = self._database.list_tables(page_token=answer.page_token)
                found += answer.tables
        return sorted(found)

    def table(self, name: str) -> Any:
        """Raises WrongPlace where there is none, and names those that there are."""
        try:
            return self._database.open_table(name)
        except (OSError, RuntimeError, ValueError) as error:
            if not any(words in str(error) for words in _NOT_FOUND):
                raise StoreAway(f"{self.called} does not open its table {name!r}: {type(error).__name__}") from None
        raise WrongPlace(f"there is no table {name!r}; there are {', '.join(map(repr, self.names())) or 'none'}")

    def make(self, name: str, schema: pa.Schema) -> None:
        with self.asking():
            self._database.create_table(name, schema=schema)

    def drop(self, name: str) -> None:
        with self.asking():
            self._database.drop_table(name)


def column_in_sql(name: str) -> str:
    """A column's name as Lance's SQL quotes it."""
    return "`" + name.replace("`", "``") + "`"


def literal_in_sql(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
