"""Somebody else's server as a process on loopback, which ends with whoever started it."""

import ctypes
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.services import free_port
from tests.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_PORTS = 5  # to try: another process may take one before the server does


@contextmanager
def loopback_server(command: Callable[[int], Sequence[str]], answers: Callable[[str], bool]) -> Iterator[str]:
    """The address of a server that runs while the context is open. command: what starts it on a port; answers: whether
    it does at an address."""
    for _ in range(_PORTS):
        port = free_port()
        process = _started(command(port))
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url, answers)
            if process.poll() is None:
                yield url
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError("the server ends as soon as it is started")


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    silent = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=silent, stderr=silent, preexec_fn=_end_with_the_parent)


def _wait(process: subprocess.Popen[bytes], url: str, answers: Callable[[str], bool]) -> None:
    wait_until(lambda: process.poll() is not None or answers(url), "a server to answer or to end")


def _end_with_the_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
