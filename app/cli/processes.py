"""Several gateway processes on one port, and the process that starts them and keeps them there.

They accept from one listening socket, which the parent holds open: where one of them dies, connections that nobody has
accepted yet go to the others, which they would not where each had a socket of its own (SO_REUSEPORT).
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn._subprocess import subprocess_started
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app import failpoints
from app.cli.forking_gateways import forking
from app.http.server import server_config
from app.http.sharing import NOBODY, ConnectionLoads, SharingServer
from app.logs import configure_logging
from app.settings import Settings

_HUNG_SECONDS = 120
"""A process that does not answer its parent for so long is taken for hung, and another takes its place."""
_RETRY_SECONDS = 2.0
"""How long a process that could not start is not tried again, as while the database is away."""

_LOADS = "connections"

log = structlog.get_logger(__name__)


def serve_with_processes(
    settings: Settings,
    listener: socket.socket,
    count: int,
    *,
    shared: Path,
    finish_seconds: int,
    started: Callable[[], None],
) -> bool:
    """Serves with `count` processes until SIGINT or SIGTERM, and lets them finish what they are answering; whether they
    could start. shared: the folder of `begun_to_import`; started: called once all of them take requests.

    SIGHUP replaces them, one after the other.
    """
    config = server_config(
        partial(_gateway, settings),
        factory=True,
        workers=count,
        timeout_graceful_shutdown=finish_seconds,
        timeout_worker_healthcheck=_HUNG_SECONDS,
    )
    processes = _Processes(config, listener, shared, started)
    try:
        processes.run()
    except BaseException:
        processes.terminate_all()  # else those that serve would keep this process from ending
        raise
    return not processes.failed


def _gateway(settings: Settings) -> ASGIApp:
    """The application of one process, made when it has begun."""
    from app.main import create_app

    configure_logging(settings.log_format)
    failpoints.arm("gateway")
    threading.Thread(target=_stop_without_parent, name="parent", daemon=True).start()
    return create_app(settings)


def _stop_without_parent() -> None:
    """Has this process stop in good order once the one that keeps it there is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Gateway(Process):
    """One process, as its parent sees it. folder: what the processes share."""

    def __init__(self, config: Config, listener: socket.socket, folder: Path, place: int) -> None:
        self._folder = folder
        self._place = place
        super().__init__(config, [listener])
        # uvicorn starts an interpreter for each, which imports everything anew, and for itself.
        known = {"config": config, "target": self.target, "sockets": [listener], "stdin_fileno": None}
        self.process = forking.Process(target=subprocess_started, kwargs=known)  # type: ignore[assignment]

    def start(self) -> None:
        super().start()
        # Were it left open here, the parent would wait in vain for the answer of a process that is killed meanwhile.
        self.child_conn.close()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """What the process does."""
        from app.cli.gateway_imports import ENDINGS

        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        # Made before the thread that answers the parent begins, which asks this very server whether it has started.
        self._server = SharingServer(self.config, ConnectionLoads(self._folder / _LOADS), self._place)
        super().target(sockets)


class _Processes(Multiprocess):
    """uvicorn's, which keeps what can serve serving: where a process dies and its successor cannot start at once, the
    others go on. uvicorn's own would stop them all."""

    def __init__(self, config: Config, listener: socket.socket, folder: Path, started: Callable[[], None]) -> None:
        super().__init__(config, [listener])
        self.failed = False
        self._listener = listener
        self._folder = folder
        self._loads = ConnectionLoads.create(folder / _LOADS, config.workers)
        self._tell_started: Callable[[], None] | None = started
        self._not_before = 0.0

    def init_processes(self) -> None:
        self.processes += [self._new(place) for place in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Looks after every process; called twice a second."""
        for place, process in enumerate(self.processes):
            if self.should_exit.is_set() or time.monotonic() < self._not_before:
                return
            if process.is_alive(_HUNG_SECONDS):
                continue
            process.kill()
            self._bury(place)
            if process.exitcode == STARTUP_FAILURE:
                if self._tell_started is not None:  # None has ever served, and none will: the log says why.
                    self.failed = True
                    self.should_exit.set()
                    return
                self._not_before = time.monotonic() + _RETRY_SECONDS
            log.warning("a gateway process ended; another takes its place", pid=process.pid, status=process.exitcode)
            self._replace(place)
        if self._tell_started is not None and all(process.is_ready(_HUNG_SECONDS) for process in self.processes):
            self._tell_started()
            self._tell_started = None

    def terminate_all(self) -> None:
        self._listener.close()  # Nobody would accept what still came.
        super().terminate_all()

    def restart_all(self) -> None:
        """Replaces every process by a new one, while the others serve."""
        for place, process in enumerate(self.processes):
            process.terminate()
            self._bury(place)
            self._replace(place)
            if not self.processes[place].wait_until_ready(_HUNG_SECONDS, self.should_exit):
                log.warning("a new gateway process is not ready; the other processes stay as they are")
                return

    def handle_ttin(self) -> None:
        """The number of processes stays."""

    def handle_ttou(self) -> None:
        """The number of processes stays."""

    def _new(self, place: int) -> Process:
        process = _Gateway(self.config, self._listener, self._folder, place)
        process.start()
        return process

    def _replace(self, place: int) -> None:
        """Begins a new process in a place; where that cannot be, as while there is no memory for one, it is tried again
        later."""
        try:
            self.processes[place] = self._new(place)
        except (OSError, EOFError) as error:  # EOFError: what it was to be forked from died over it
            log.error("a gateway process cannot be started; it is tried again", error=repr(error))
            self._not_before = time.monotonic() + _RETRY_SECONDS

    def _bury(self, place: int) -> None:
        """Waits for the end of a process, and takes back what it said of itself."""
        process = self.processes[place]
        process.process.join(_HUNG_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        self._loads.tell(place, NOBODY)
        if process.pid is not None:
            mark_process_dead(process.pid, str(self._folder))  # type: ignore[no-untyped-call]
