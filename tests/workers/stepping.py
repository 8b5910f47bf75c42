"""Steps done in the test's own process, one at a time."""

import os
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

from app.composition import Crosswalk
from app.jobs.leases import Leases
from workers.context import StepContext, StepFailed
from workers.heartbeat import Heartbeat
from workers.runtime.program import CROSSWALK


class CutOff(Exception):
    """The step's process is gone, right before what it found was written down."""


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
    kind = _Cut if cut_off else StepContext
    with Heartbeat(leases, lease, crosswalk.settings, os.getppid()) as heartbeat:
        context = kind(crosswalk.settings, crosswalk.database, leases, lease, heartbeat)
        try:
            import_module(CROSSWALK.steps[lease.step]).run(context)
        except StepFailed as failure:
            heartbeat.stop()
            leases.fail(lease, failure.reason)
        except CutOff:
            heartbeat.stop()
            leases.hand_back(lease)
    return lease.step
