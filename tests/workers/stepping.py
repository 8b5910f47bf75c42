"""Steps done in the test's own process, one at a time: those that the test asks for, or each that waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from app.composition import Crosswalk, compose
from app.jobs.leases import CancelRequested, LeaseLost, Leases
from app.jobs.values import Lease
from app.settings import Settings
from tests.waiting import PATIENCE_SECONDS
from workers.context import StepContext
from workers.heartbeat import Heartbeat
from workers.runtime.program import CROSSWALK
from workers.runtime.step import do

_LOOK_SECONDS = 0.05

log = structlog.get_logger(__name__)


class CutOff(Exception):
    """The step's process is gone, right before what it found was written down."""


class _Cut(StepContext):
    def finish(self, apply: Callable[..., None], served: Path | None = None) -> None:
        raise CutOff


def do_step(
    crosswalk: Crosswalk,
    steps: Collection[str] = CROSSWALK.steps.keys(),
    *,
    cut_off: bool = False,
    before: Callable[[], Any] = lambda: None,
) -> str:
    """Does the one of these steps that waits, as its process would; its name.

    cut_off: all of it but its last transaction. before: what happens once it is claimed, and before it begins.
    """
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim(steps)
    assert lease is not None, "no step waits"
    before()
    _do(crosswalk, leases, lease, _Cut if cut_off else StepContext)
    return lease.step


def _do(crosswalk: Crosswalk, leases: Leases, lease: Lease, kind: type[StepContext] = StepContext) -> None:
    """A step that loses its lease goes on here, in the test's own process; without it, it cannot write anything."""
    with Heartbeat(leases, lease, crosswalk.settings, os.getppid(), lost=lambda: None) as heartbeat:
        try:
            do(CROSSWALK, kind(crosswalk.settings, crosswalk.database, leases, lease, heartbeat))
        except CutOff:
            heartbeat.stop()
            leases.hand_back(lease)


class WorkerInside:
    """Does each step that waits, in a thread: what a worker does, without a process for every step.

    For tests of what steps leave behind. To start an interpreter and import torch takes longer than most steps take.
    """

    def __init__(self, settings: Settings) -> None:
        self._crosswalk = compose(settings)
        self._leases = Leases(self._crosswalk.database, self._crosswalk.settings, self._crosswalk.step_failed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker inside", daemon=True)

    def __enter__(self) -> WorkerInside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "a step goes on for longer than anyone waits"
        self._crosswalk.close()

    def _work(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self._leases.bury()
                while not self._stopping.is_set() and (lease := self._leases.claim(CROSSWALK.steps.keys())):
                    self.attempt(lease)
            except Exception:  # As a real worker, it looks again.
                log.exception("could not look for work")

    def attempt(self, lease: Lease) -> None:
        """Does a step, and lets its job go where that fails; not where another holds the job or it has ended."""
        with suppress(LeaseLost):
            try:
                _do(self._crosswalk, self._leases, lease)
            except CancelRequested:
                self._leases.release(lease, "cancelled")
            except LeaseLost:
                raise
            except Exception as error:
                log.exception("step did not finish", step=lease.step)
                self._leases.release(lease, repr(error))
