"""The two arrangements, and how all that a service keeps in one is copied: a folder, and in one of them a database."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import psycopg

from tests.services import PostgresServer, RedisServer
from tests.waiting import wait_until

Server = Literal["redis", "postgresql"]


class Arrangement(Protocol):
    """Where a service keeps what it keeps beside its data folder, which is `folder/data`."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        """What the service's processes are started with."""

    def copy(self, source: Path, target: Path) -> None:
        """Copies all that the service in one folder keeps, while it does not run, for another."""

    def forget(self, folder: Path) -> None:
        """Removes it all."""


class Embedded:
    """SQLite, in the data folder."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {}

    def copy(self, source: Path, target: Path) -> None:
        shutil.copytree(source / "data", target / "data")

    def forget(self, folder: Path) -> None:
        shutil.rmtree(folder)


class Distributed:
    """A database on PostgreSQL for each folder, and Redis."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer) -> None:
        self._postgres = postgres
        self._redis = redis
        self._names: dict[Path, str] = {}

    def environment(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._names:
            self._create(folder)
        url = self._postgres.uri.replace("postgresql://", "postgresql+psycopg://")
        return {
            "CROSSWALK_DATABASE_URL": url.replace("/postgres?", f"/{self._names[folder]}?"),
            "CROSSWALK_BROKER_URL": self._redis.url,
        }

    def copy(self, source: Path, target: Path) -> None:
        shutil.copytree(source / "data", target / "data")
        self._create(target, self._names[source])

    def forget(self, folder: Path) -> None:
        shutil.rmtree(folder)
        self._order(f"DROP DATABASE {self._names.pop(folder)} WITH (FORCE)")

    def kill(self, server: Server) -> None:
        """kill -9 of a server, which is then started again."""
        killed = self._redis if server == "redis" else self._postgres
        killed.kill()
        killed.start()

    def _create(self, folder: Path, template: str = "template1") -> None:
        self._names[folder] = name = f"life_{uuid.uuid4().hex}"

        def created() -> bool:
            try:
                self._order(f"CREATE DATABASE {name} TEMPLATE {template}")
            except psycopg.errors.ObjectInUse:  # The connections of a process that was killed end in a moment.
                return False
            return True

        wait_until(created, f"{template} to be copied")

    def _order(self, command: str) -> None:
        with psycopg.connect(self._postgres.uri, autocommit=True) as connection:
            connection.execute(command.encode())


@contextmanager
def distributed() -> Iterator[Distributed]:
    """On servers of its own, which may be killed."""
    postgres, redis = PostgresServer(), RedisServer()
    try:
        postgres.start()
        redis.start()
        yield Distributed(postgres, redis)
    finally:
        redis.kill()
        postgres.remove()


class Saboteur(threading.Thread):
    """Kills a server once a process has stopped at its failpoint, and lets the process go on when it is back."""

    def __init__(self, arrangement: Distributed, server: Server, stopped: Callable[[], int | None]) -> None:
        super().__init__(name="saboteur", daemon=True)
        self._arrangement = arrangement
        self._server = server
        self._stopped = stopped

    def run(self) -> None:
        pid = wait_until(self._stopped, "a process to stop at its failpoint")
        assert pid is not None
        self._arrangement.kill(self._server)
        os.kill(pid, signal.SIGCONT)
