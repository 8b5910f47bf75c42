"""The service as two gateways on one database and data folder, and what they need: processes to kill and to pause."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import httpx
import psutil

from tests.loopback import NO_TLS
from tests.services import PostgresServer, RedisServer, free_port, runs
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.zygote import Zygote

Arrangement = Literal["sqlite", "distributed"]
ARRANGEMENTS: tuple[Arrangement, ...] = ("sqlite", "distributed")

LEASE_SECONDS = 4.0
_SETTINGS = {
    "CROSSWALK_LEASE_SECONDS": str(LEASE_SECONDS),
    "CROSSWALK_HEARTBEAT_SECONDS": "0.5",
    "CROSSWALK_SWEEP_SECONDS": "0.5",
    "CROSSWALK_JOB_ATTEMPTS": "50",
    "CROSSWALK_STEP_NICENESS": "0",
    "CROSSWALK_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}
GATEWAYS = 2
STEP = "workers.runtime.step"
"""The module that `python -m` runs for one step, its job's id after it."""


class Program:
    """One process of the `crosswalk` command, whose deaths are remembered. url: where it answers, if it does."""

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: dict[str, str],
        zygote: Zygote,
        url: str | None,
    ) -> None:
        self.name = name
        self.url = url
        self.busy = threading.Lock()
        self.deaths: list[float] = []
        self.ended_by_itself = 0
        self._command = command
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self._environment = environment
        self._zygote = zygote
        self._process: psutil.Process | None = None

    def start(self) -> None:
        """Returns when a gateway takes requests; a worker finds its work alone."""
        self._begin()
        if self.url is not None:
            wait_until(self._answers, f"{self.name} to answer", last=self._last_log)

    def keep_up(self) -> None:
        """Starts it again where it has ended by itself, as an operator's supervisor would: one that is started while
        its database is away says so and ends."""
        if self._process is not None and not runs(self._process):
            self.ended_by_itself += 1
            self._begin()

    def _begin(self) -> None:
        self._process = psutil.Process(self._zygote.start(self._command, self._environment, self._log))

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def pause(self, seconds: float) -> None:
        """SIGSTOP and SIGCONT of the process alone, or of one of its steps: what goes on beside it goes on."""
        self._stopped(self._own(), seconds)

    def step(self) -> psutil.Process | None:
        """The process of a running step, if there is one."""
        for child in self._own().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if STEP in child.cmdline():
                    return child
        return None

    def pause_with_step(self, seconds: float) -> bool:
        """Both asleep for longer than a lease: when they wake, another may hold the job. False where no step runs."""
        step = self.step()
        if step is None:
            return False
        with suppress(psutil.NoSuchProcess):
            step.suspend()
            self._stopped(self._own(), seconds)
            step.resume()
        return True

    def _stopped(self, process: psutil.Process, seconds: float) -> None:
        process.suspend()
        try:
            time.sleep(seconds)
        finally:
            process.resume()

    def _own(self) -> psutil.Process:
        assert self._process is not None
        return self._process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(how)
            self._process.wait(PATIENCE_SECONDS)
        self.deaths.append(time.monotonic())
        self._process = None

    def _answers(self) -> bool:
        self.keep_up()
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz", timeout=PATIENCE_SECONDS, verify=NO_TLS).is_success
        return False

    def _last_log(self) -> str:
        return self._log.read_text()[-2000:]


class Backing:
    """PostgreSQL or Redis as a target of faults."""

    def __init__(self, name: str, kill: Callable[[], None], start: Callable[[], None]) -> None:
        self.name = name
        self.busy = threading.Lock()
        self.kill = kill
        self.start = start


class Cluster:
    """Everything that runs. workers: the processes whose children are steps."""

    def __init__(self, folder: Path, gateways: list[Program], workers: list[Program], backing: list[Backing]) -> None:
        self.folder = folder
        self.gateways = gateways
        self.workers = workers
        self.backing = backing

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def programs(self) -> list[Program]:
        """Each process once: where a gateway works as well, it is both."""
        return list(dict.fromkeys([*self.gateways, *self.workers]))

    def deaths(self) -> dict[int, list[float]]:
        return {number: gateway.deaths for number, gateway in enumerate(self.gateways)}


@contextmanager
def cluster(arrangement: Arrangement, folder: Path) -> Iterator[Cluster]:
    """SQLite, with a worker in each gateway; or PostgreSQL and Redis, with a worker apart. Ends with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    zygote = Zygote("tests.chaos.programs")
    try:
        yield from _embedded(folder, zygote) if arrangement == "sqlite" else _distributed(folder, zygote)
    finally:
        zygote.close()


def _embedded(folder: Path, zygote: Zygote) -> Iterator[Cluster]:
    gateways = [_gateway(number, folder, _environment(folder), zygote) for number in range(GATEWAYS)]
    yield from _running(Cluster(folder, gateways, gateways, []))


def _distributed(folder: Path, zygote: Zygote) -> Iterator[Cluster]:
    redis, postgres = RedisServer(), PostgresServer()
    try:
        redis.start()
        postgres.start()
        environment = _environment(folder) | {
            "CROSSWALK_DATABASE_URL": postgres.uri.replace("postgresql://", "postgresql+psycopg://"),
            "CROSSWALK_BROKER_URL": redis.url,
        }
        gateways = [_gateway(number, folder, environment, zygote) for number in range(GATEWAYS)]
        worker = Program("worker", ["worker"], folder, environment, zygote, None)
        backing = [Backing("Redis", redis.kill, redis.start), Backing("PostgreSQL", postgres.kill, postgres.start)]
        yield from _running(Cluster(folder, gateways, [worker], backing))
    finally:
        redis.kill()
        postgres.remove()


def _running(everything: Cluster) -> Iterator[Cluster]:
    try:
        for program in everything.programs:
            program.start()
        yield everything
    finally:
        for program in everything.programs:
            program.kill()


def _environment(folder: Path) -> dict[str, str]:
    return {**_SETTINGS, "CROSSWALK_DATA_DIR": str(folder / "data")}


def _gateway(number: int, folder: Path, environment: dict[str, str], zygote: Zygote) -> Program:
    port = free_port()
    command = ["serve", "--port", str(port)]
    return Program(f"gateway {number}", command, folder, environment, zygote, f"http://127.0.0.1:{port}")


def folder_for(arrangement: Arrangement) -> Path:
    """A new folder for the history, the logs and the data of one run."""
    return Path(tempfile.mkdtemp(prefix=f"crosswalk-chaos-{arrangement}-"))
