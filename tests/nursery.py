"""Fork servers of steps, forked from a process that has imported what steps import: an interpreter takes seconds to.

The process is a child of the one that has the worker, and does nothing but fork. A service's is forked before the
service has threads, and killed with it, as are the fork servers, and with them the steps.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from app.forking import fork_server
from app.forking.forked_process import ServerProcess, start_interpreter
from tests.waiting import PATIENCE_SECONDS
from tests.zygote import ROOM, forked, reap

_LONGEST_MESSAGE = 2**20  # bytes
_OF_STEPS = "CROSSWALK_DATA_DIR"
"""Is in the environment of fork servers of steps, and not of those of decoders, which import next to nothing, with
allocators that their environment chooses."""


class Nursery:
    """What fork servers are forked from, by whoever takes orders from the other end of this socket. Any thread may use
    it."""

    def __init__(self, orders: socket.socket) -> None:
        self._asking = threading.Lock()
        self._orders = orders

    @classmethod
    def forked(cls) -> Nursery:
        """From a child of this process, which is to have one thread."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            forked(partial(_fork_servers, theirs, ours))
        return cls(ours)

    @classmethod
    @contextmanager
    def of_module(cls, module: str) -> Iterator[Nursery]:
        """From an interpreter that runs a module, which imports what is to be imported and calls `take_orders`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        with ours:
            with theirs:
                process = subprocess.Popen([sys.executable, "-m", module, str(number), ROOM], pass_fds=[number])
            yield cls(ours)
        process.wait(PATIENCE_SECONDS)

    def start(self, orders: socket.socket, environment: Mapping[str, str]) -> ServerProcess:
        """As `start_interpreter`; one of decoders is an interpreter."""
        if _OF_STEPS not in environment:
            return start_interpreter(orders, environment)
        with self._asking:
            socket.send_fds(self._orders, [json.dumps(dict(environment)).encode()], [orders.fileno()])
            return _Forked(int(self._orders.recv(_LONGEST_MESSAGE)))


class _Forked:
    """A grandchild, which is waited for and killed by a descriptor: its pid may be given again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._process)

    def wait(self, timeout: float | None = None) -> int:
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        if not poll.poll(None if timeout is None else 1000 * timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return 0  # nobody asks how: the nursery was told

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self._process, signal.SIGKILL)


def _fork_servers(orders: socket.socket, of_the_service: socket.socket) -> int:
    of_the_service.close()
    take_orders(orders)
    return 0


def take_orders(orders: socket.socket) -> None:
    """Forks a fork server for each order until none will come."""
    signal.signal(signal.SIGCHLD, lambda *_: reap({}))  # the dead leave nothing behind
    while True:
        environment, descriptors, _, _ = socket.recv_fds(orders, _LONGEST_MESSAGE, 1)
        if not environment:
            return
        pid = forked(partial(_fork_server, descriptors[0], json.loads(environment)))
        os.close(descriptors[0])
        orders.send(str(pid).encode())


def _fork_server(orders: int, environment: dict[str, str]) -> int:
    """What `python -m app.forking.fork_server` does, and what is forked from it goes on here as well."""
    os.setsid()
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(environment)
    try:
        fork_server.main([str(orders)])
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    sys.exit(0)
