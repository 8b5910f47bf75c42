"""Fork servers of steps, forked from a process that has imported what steps import: an interpreter takes seconds to.

The process is the service's child, forked before the service has threads, and does nothing but fork. It is killed with
the service, as are the fork servers with it, and with them the steps.
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
from collections.abc import Mapping
from functools import partial

from app.forking import fork_server
from app.forking.forked_process import ServerProcess, start_interpreter
from tests.zygote import forked

_LONGEST_MESSAGE = 2**20  # bytes
_OF_STEPS = "CROSSWALK_DATA_DIR"
"""Is in the environment of fork servers of steps, and not of those of decoders, which import next to nothing, with
allocators that their environment chooses."""


class Nursery:
    """What fork servers are forked from. To be made while the process has one thread; any thread may use it."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            forked(partial(_take_orders, theirs, self._orders))

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

    def wait(self, timeout: float | None = None) -> int:
        ended, _, _ = select.select([self._process], [], [], timeout)
        if not ended:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return 0  # nobody asks how: the nursery was told

    def kill(self) -> None:
        signal.pidfd_send_signal(self._process, signal.SIGKILL)


def _take_orders(orders: socket.socket, of_the_service: socket.socket) -> int:
    """Forks a fork server for each order until none will come."""
    of_the_service.close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    while True:
        environment, descriptors, _, _ = socket.recv_fds(orders, _LONGEST_MESSAGE, 1)
        if not environment:
            return 0
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
