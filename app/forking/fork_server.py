"""The process that others are forked from. It has imported what they need, so that each begins within moments.

`python -m app.forking.fork_server <number of a socket>`, started by `app.forking.forked_process`. It imports modules
and does nothing else: threads, connections and a GPU's context do not outlive a fork in working order. Each forked
process is a session of its own, tells its pid, and goes on as `python -m` of the order's entry would. The fork server
tells how each ended. When nobody is left to give orders it ends once all that it forked has ended. It is killed with
the thread that started it, and what it forked is killed with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from app.forking.fork_orders import BORN, ENDED, LONGEST_ORDER, ForkOrder, tell

_PR_SET_PDEATHSIG = 1
_ARGUMENTS_BEGIN = 45  # place of arg_start in /proc/self/stat, counted from the state (proc(5))


@dataclass(frozen=True)
class _Birth:
    """What a forked process is to be. stdio: the descriptors of its standard input, output and errors; news: where it
    tells its pid; parent: the fork server's pid."""

    order: ForkOrder
    stdio: tuple[int, int, int]
    news: int
    parent: int


def main(arguments: list[str]) -> None:
    """Forks until nobody gives orders any more; what is forked goes on here."""
    _die_with_parent()
    birth = _serve(socket.socket(fileno=int(arguments[0])))
    if birth is None:
        os._exit(0)
    _become(birth)


def _serve(orders: socket.socket) -> _Birth | None:
    """Follows orders. Returns in every forked process what it is to be, and None here when no more orders come and
    nothing that was forked is left."""
    living: dict[int, int] = {}  # where to tell of each process
    deaths, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a shutdown that asks everyone: the supervisor ends this
    signal.set_wakeup_fd(waking.fileno())
    listening = True
    while listening or living:
        ready, _, _ = select.select([orders, deaths] if listening else [deaths], [], [])
        if deaths in ready:
            deaths.recv(LONGEST_ORDER)
            _tell_of_deaths(living)
        if orders not in ready:
            continue
        data, (*descriptors,), _, _ = socket.recv_fds(orders, LONGEST_ORDER, 4)
        if not data:
            listening = False
            continue
        order = ForkOrder.decoded(data)
        _import(order.imports)
        if not descriptors:  # to be ready for what will be ordered: nothing is to be forked yet
            continue
        *stdio, news = descriptors
        birth = _Birth(order, (stdio[0], stdio[1], stdio[2]), news, os.getpid())
        gc.freeze()  # what is here already is not looked through, and so not copied, by what is forked
        if pid := _forked():
            living[pid] = news
            for descriptor in stdio:
                os.close(descriptor)
            continue
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for other in (orders, deaths, waking):
            other.close()
        for pipe in living.values():
            os.close(pipe)
        return birth
    return None


def _forked() -> int:
    with warnings.catch_warnings():
        # Lance says so of every fork. It starts its threads at first use, and none of it is used here.
        warnings.filterwarnings("ignore", message="lance is not fork-safe")
        return os.fork()


def _tell_of_deaths(living: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if (pipe := living.pop(found[0], None)) is None:  # what an import started and left behind
                continue
            with suppress(BrokenPipeError):
                tell(pipe, ENDED, os.waitstatus_to_exitcode(found[1]))
            os.close(pipe)


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        with suppress(Exception):  # what is forked imports it again, and says itself what is wrong with it
            import_module(module)


def _become(birth: _Birth) -> None:
    _die_with_parent()
    if os.getppid() != birth.parent:  # it died before we could ask
        os._exit(0)
    os.setsid()
    for descriptor, standard in zip(birth.stdio, (sys.stdin, sys.stdout, sys.stderr), strict=True):
        os.dup2(descriptor, standard.fileno())
        os.close(descriptor)
    try:
        tell(birth.news, BORN, os.getpid())
    except BrokenPipeError:  # it was given up before it was born
        os._exit(0)
    os.close(birth.news)
    entry = birth.order.entry
    words = [*birth.order.arguments, str(birth.parent)]
    _entitle([sys.executable, "-m", entry, *words])
    sys.argv = [entry, *words]
    sys.modules.pop(entry, None)  # it is run, not imported
    runpy.run_module(entry, run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _entitle(words: list[str]) -> None:
    """Has `ps` and /proc show these words as the command of this process, which they say what it does. They are
    written over those that the fork server was started with."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_ARGUMENTS_BEGIN:][:2])
    title = "\0".join(words).encode()[: end - begin - 1]
    ctypes.memmove(begin, title.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main(sys.argv[1:])
