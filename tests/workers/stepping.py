"""Steps done in the test's own process, one at a time: those that the test asks for, or each that waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from importlib import import_module
from types import TracebackType
from typing import Any

import structlog

from app.composition import Crosswalk, compose
from app.jobs.leases import CancelRequested, LeaseLost, Leases
from app.jobs.values import Lease
from app.settings import Settings
from tests.waiting import PATIENCE_SECONDS, checked_by_waits
from workers.context import StepContext, StepFailed
from workers.heartbeat import Heartbeat
from workers.runtime.program import CROSSWALK

_LOOK_SECONDS = 0.05

log = structlog.get_logger(__name__)


class CutOff(Exception):
    """The step's process is gone, right before what it found was written down."""


class _HeartbeatInside(Heartbeat):
    """A heartbeat that leaves its process alive when the lease is lost, since that is the test's own process.

    The step then goes on, and learns of it when it ends: without its lease it cannot write anything.
    """

    def _beat(self) -> None:
        while not self._ended.wait(self._settings.heartbeat_seconds):
            try:
                self.cancel_requested = self._leases.renew(self._lease, self.progress)
            except LeaseLost:
                if not self._ended.is_set():
                    log.warning("lease lost", job=self._lease.job_id, step=self._lease.step)
                return
            except Exception as error:
                log.warning("lease not renewed", job=self._lease.job_id, error=repr(error))


class _Cut(StepContext):
    def finish(self, apply: Callable[..., None]) -> None:
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
    with _HeartbeatInside(leases, lease, crosswalk.settings, os.getppid()) as heartbeat:
        context = kind(crosswalk.settings, crosswalk.database, leases, lease, heartbeat)
        try:
            import_module(CROSSWALK.steps[lease.step]).run(context)
        except StepFailed as failure:
            heartbeat.stop()
            leases.fail(lease, failure.reason)
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
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="worker inside", daemon=True)
        self._open = ExitStack()

    def __enter__(self) -> WorkerInside:
        self._open.enter_context(checked_by_waits(self._raise_failure))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)
        self._open.close()
        self._crosswalk.close()

    def _raise_failure(self) -> None:
        """Raises what ended the thread: no step will be done any more."""
        if self._failure is not None:
            raise AssertionError("the worker inside the test's process has died") from self._failure

    def _work(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_SECONDS):
                while not self._stopping.is_set() and (lease := self._leases.claim(CROSSWALK.steps.keys())):
                    self.attempt(lease)
        except Exception as error:
            log.exception("worker inside died")
            self._failure = error

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
