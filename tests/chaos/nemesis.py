"""Faults at random moments: kill -9, SIGTERM, and sleep for longer than a lease, each followed by a start."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import psutil

from tests.chaos.cluster import LEASE_SECONDS, STEP, Backing, Cluster, Program

_DOWN_SECONDS = (0.0, 0.6)
_ASLEEP_SECONDS = LEASE_SECONDS + 1.0
_STORM_SECONDS, _CALM_SECONDS = 45.0, 12.0
"""Faults come for a while, and then none: an upgrade that never had a quiet moment would never be switched to."""

_STEP_LOOKS = 60
_STEP_LOOK_SECONDS = 0.05

Fault = tuple[str, Callable[[], bool]]
"""The fault's name, and what does it; False where there was nothing to do it to."""


class Nemesis:
    """Does a fault every so often in the background, several at once where they hit different processes."""

    def __init__(self, cluster: Cluster, seed: int, every: tuple[float, float]) -> None:
        self._cluster = cluster
        self._random = random.Random(f"nemesis {seed}")
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nemesis")
        self._under_way: list[threading.Thread] = []
        self._counting = threading.Lock()
        self.faults: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []
        self.failed: list[BaseException] = []
        self._killed: set[str] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when everything runs again."""
        self._stopping.set()
        self._thread.join()
        for thread in self._under_way:
            thread.join()

    def _work(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(self._random.uniform(*self._every)):
            if (time.monotonic() - began) % (_STORM_SECONDS + _CALM_SECONDS) > _STORM_SECONDS:
                continue
            for program in self._cluster.programs:
                _holding(program, program.keep_up)()
            name, do = self._random.choice(self._faults())
            thread = threading.Thread(target=self._do, args=(name, do), name=name)
            self._under_way = [one for one in self._under_way if one.is_alive()] + [thread]
            thread.start()

    def _do(self, name: str, do: Callable[[], bool]) -> None:
        began = time.monotonic()
        try:
            if do():
                with self._counting:
                    self.faults[name] += 1
                    self.log.append((began, name))
        except BaseException as error:  # told at the end of the run: a fault that could not be undone is no result
            self.failed.append(error)

    def _faults(self) -> list[Fault]:
        """What may be done now, each as often as it is to be chosen."""
        down = self._random.uniform(*_DOWN_SECONDS)
        faults: list[Fault] = []
        for gateway in self._cluster.gateways:
            faults += 4 * [("gateway killed", _restarting(gateway, gateway.kill, down))]
            faults += [("gateway asked to end", _restarting(gateway, gateway.stop, down))]
            faults += [("gateway asleep beyond its leases", _holding(gateway, partial(gateway.pause, _ASLEEP_SECONDS)))]
        faults += [("step killed", _killing_step(self._random.choice(self._cluster.workers), self._killed))]
        for worker in self._cluster.workers:
            faults += [("worker and step asleep beyond their lease", _sleeping_with_step(worker))]
            if worker not in self._cluster.gateways:
                faults += [("worker killed", _restarting(worker, worker.kill, down))]
                faults += [("worker asked to end", _restarting(worker, worker.stop, down))]
        for backing in self._cluster.backing:
            faults += 2 * [(f"{backing.name} killed", _restarting(backing, backing.kill, down))]
        return faults


def _holding(target: Program | Backing, do: Callable[[], object]) -> Callable[[], bool]:
    """Does it unless another fault is being done to the same process."""

    def held() -> bool:
        if not target.busy.acquire(blocking=False):
            return False
        try:
            do()
        finally:
            target.busy.release()
        return True

    return held


def _restarting(target: Program | Backing, end: Callable[[], None], down: float) -> Callable[[], bool]:
    def restart() -> None:
        end()
        time.sleep(down)
        target.start()

    return _holding(target, restart)


def _killing_step(worker: Program, killed: set[str]) -> Callable[[], bool]:
    """Waits a moment for a step to run; the worker goes on. The step of one job is killed once: a step that is killed
    again and again is given up on, and with it its upgrade. killed: the jobs that it was done to."""

    def kill() -> bool:
        for _ in range(_STEP_LOOKS):
            with suppress(psutil.NoSuchProcess, AssertionError):
                step = worker.step()
                job = _job(step) if step is not None else None
                if step is not None and job is not None and job not in killed:
                    killed.add(job)
                    step.kill()
                    return True
            time.sleep(_STEP_LOOK_SECONDS)
        return False

    return kill


def _job(step: psutil.Process) -> str | None:
    """The id of the job that a step's process was started for."""
    words = step.cmdline()
    return words[words.index(STEP) + 1] if STEP in words else None


def _sleeping_with_step(worker: Program) -> Callable[[], bool]:
    def sleep() -> bool:
        if not worker.busy.acquire(blocking=False):
            return False
        try:
            return worker.pause_with_step(_ASLEEP_SECONDS)
        finally:
            worker.busy.release()

    return sleep
