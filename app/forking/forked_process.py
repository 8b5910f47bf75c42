"""The fork server as its client sees it, and what it forked (Linux)."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from app.forking.fork_orders import BORN, ForkOrder, hear

_MODULE = "app.forking.fork_server"
_ROOM = " " * 256  # among its arguments, for the longer ones of what is forked
_REST_SECONDS = 60.0
_LOOK_SECONDS = 15.0
_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class _Running:
    """A fork server's process, the socket that it takes orders from, whether it is to get no more of them, and what it
    was asked to import ahead."""

    process: subprocess.Popen[bytes]
    orders: socket.socket
    dismissed: threading.Event = field(default_factory=threading.Event)
    prepared: set[str] = field(default_factory=set)

    def dismiss(self) -> None:
        """Gives it no more orders; it ends when what it forked has ended."""
        self.orders.close()
        self.dismissed.set()

    def end(self) -> None:
        """Ends it, and after a moment's grace all that it forked."""
        self.dismiss()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        self.process.kill()
        self.process.wait()


class ForkedProcess:
    """A process that a fork server forked, or is about to. To be used by one thread."""

    def __init__(self, news: int, server: _Running) -> None:
        self.pid: int | None = None
        self.server = server
        self.lost = False
        """Whether its fork server ended before it told how this process did."""
        self._news = news
        self._status: int | None = None
        self._listening = True

    @property
    def running(self) -> bool:
        """Whether it has not ended, for all that was heard."""
        return self._listening

    def wait(self, timeout: float) -> int | None:
        """The exit status (negative: the signal that killed it); None where it still runs after so many seconds. One
        whose fork server is gone was killed with it."""
        until = time.monotonic() + timeout
        while self._listening and _readable(self._news, until - time.monotonic()):
            news = hear(self._news)
            if news is not None and news[0] == BORN:
                self.pid = news[1]
                continue
            self.lost = news is None
            self._status = -signal.SIGKILL if news is None else news[1]
            self.close()
        return self._status

    def kill(self) -> None:
        """Kills it and all that it started, where it has been born and has not ended."""
        if self._listening and self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Listens no more; one that has not been born yet will not be."""
        if self._listening:
            self._listening = False
            os.close(self._news)


class ForkServer:
    """Starts the fork server when something is to be forked, and ends it when nothing has been for a while, since it
    takes some hundred MiB. Any thread may use it; it ends at the latest with this process.

    environment: of the fork server and of all that it forks.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.closed = False
        self._lock = threading.Lock()
        self._server: _Running | None = None
        self._forked: list[ForkedProcess] = []
        self._used = time.monotonic()

    @property
    def pid(self) -> int | None:
        """The fork server's; None where there is none now."""
        server = self._server
        return None if server is None else server.process.pid

    def fork(
        self, order: ForkOrder, output: int, *, given: int | None = None, errors: int | None = None
    ) -> ForkedProcess:
        """The process that was ordered; it is born when all is imported. Descriptors: `output`, and `errors` if that
        is another, are what it writes to, `given` what it reads (None: nothing). Raises OSError."""
        with open(os.devnull, "rb") as nothing:
            ours, theirs = os.pipe()
            try:
                with self._lock:
                    given = nothing.fileno() if given is None else given
                    server = self._order(order.encoded(), [given, output, output if errors is None else errors, theirs])
                    forked = ForkedProcess(ours, server)
                    self._forked = [other for other in self._forked if other.running] + [forked]
            except OSError:
                os.close(ours)
                raise
            finally:
                os.close(theirs)
        return forked

    def prepare(self, imports: tuple[str, ...]) -> None:
        """Has modules imported that what is forked later will need, which then need not wait for them; what is ordered
        meanwhile does. Returns at once. Raises OSError."""
        with self._lock:
            if self._server is None or not self._server.prepared.issuperset(imports):
                self._order(ForkOrder("", (), imports).encoded(), []).prepared.update(imports)

    def renew(self, forked: ForkedProcess) -> None:
        """Has what comes next forked from another process than `forked` was. The former ends when all that it forked
        has ended."""
        with self._lock:
            if self._server is forked.server:
                self._server.dismiss()
                self._server = None

    def give_up(self, forked: ForkedProcess) -> None:
        """Kills the process that `forked` comes from, and so all that it forked: it does not answer."""
        self.renew(forked)
        forked.server.process.kill()

    def close(self) -> None:
        """Ends the fork server and all that it forked."""
        self.closed = True
        with self._lock:
            self._end()

    def _rest(self) -> None:
        """Ends the fork server where nothing has been forked for a while, and nothing that was still runs."""
        with self._lock:
            self._forked = [forked for forked in self._forked if forked.running]
            if self._forked:
                self._used = time.monotonic()
            elif time.monotonic() - self._used > _REST_SECONDS:
                self._end()

    def _order(self, data: bytes, descriptors: list[int]) -> _Running:
        self._used = time.monotonic()
        server = self._started()
        try:
            socket.send_fds(server.orders, [data], descriptors)
        except (BrokenPipeError, ConnectionResetError):  # it was killed
            self._end()
            server = self._started()
            socket.send_fds(server.orders, [data], descriptors)
        return server

    def _started(self) -> _Running:
        if self._server is None:
            begun: Future[_Running] = Future()
            # Linux takes a parent's death to be that of the thread that began a process: this one outlives it.
            threading.Thread(target=self._keep, args=(begun,), name="fork server", daemon=True).start()
            self._server = begun.result()
        return self._server

    def _keep(self, begun: Future[_Running]) -> None:
        """Begins a fork server, and stays until it has ended."""
        try:
            running = self._begin()
        except BaseException as error:
            begun.set_exception(error)
            return
        begun.set_result(running)
        while not running.dismissed.wait(_LOOK_SECONDS):
            self._rest()
        running.process.wait()

    def _begin(self) -> _Running:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = subprocess.Popen(
                    # -P: the folder that the service was started from may hold modules of the same names as ours.
                    [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), _ROOM],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return _Running(process, ours)

    def _end(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.end()


def _readable(pipe: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(1000 * max(0.0, seconds)))
