"""The fork server as its supervisor sees it, and what it forked (Linux)."""

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from workers.runtime.fork_orders import BORN, ForkOrder, hear

_MODULE = "workers.runtime.fork_server"
_ROOM = " " * 256  # among its arguments, for the longer ones of what is forked
_REST_SECONDS = 60.0
_GRACE_SECONDS = 1.0


class ForkedProcess:
    """A process that a fork server forked, or is about to. To be used by one thread."""

    def __init__(self, news: int) -> None:
        self.pid: int | None = None
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
            self._status = -signal.SIGKILL if news is None else news[1]
            self.close()
        return self._status

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
        self._lock = threading.Lock()
        # Linux takes a parent's death to be that of the thread: this one ends with the last fork server.
        self._starter = ThreadPoolExecutor(1, "fork server")
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._forked: list[ForkedProcess] = []
        self._used = time.monotonic()

    def fork(self, order: ForkOrder, output: int) -> ForkedProcess:
        """The process that was ordered; it is born when all is imported. output: the descriptor that it writes to."""
        ours, theirs = os.pipe()
        try:
            with self._lock:
                self._order(order.encoded(), [output, theirs])
                forked = ForkedProcess(ours)
                self._forked.append(forked)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return forked

    def rest(self) -> None:
        """Ends the fork server where nothing has been forked for a while, and nothing that was still runs."""
        with self._lock:
            self._forked = [forked for forked in self._forked if forked.running]
            if self._forked:
                self._used = time.monotonic()
            elif time.monotonic() - self._used > _REST_SECONDS:
                self._end()

    def close(self) -> None:
        """Ends the fork server and all that it forked. None is started any more."""
        with self._lock:
            self._end()
        self._starter.shutdown()

    def _order(self, data: bytes, descriptors: list[int]) -> None:
        self._used = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._started(), [data], descriptors)
            return
        self._end()  # it was killed
        socket.send_fds(self._started(), [data], descriptors)

    def _started(self) -> socket.socket:
        if self._server is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = self._starter.submit(
                    subprocess.Popen[bytes],
                    # -P: the folder that the service was started from may hold modules of the same names as ours.
                    [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), _ROOM],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                ).result()
            self._server = process, ours
        return self._server[1]

    def _end(self) -> None:
        if self._server is None:
            return
        (process, orders), self._server = self._server, None
        orders.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        process.kill()
        process.wait()


def _readable(pipe: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(1000 * max(0.0, seconds)))
