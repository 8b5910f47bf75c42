"""Does the steps that wait in this very process, one after the other, for as long as there is one."""

from __future__ import annotations

import os
from collections.abc import Callable

from app.composition import Crosswalk
from app.jobs.leases import Leases
from workers.context import StepContext
from workers.heartbeat import Heartbeat
from workers.runtime.program import Program
from workers.runtime.step import do


def do_waiting_steps(crosswalk: Crosswalk, program: Program, told: Callable[[str], None] = lambda step: None) -> None:
    """Does every step that waits, and those that they lead to; told: called with the name of each that begins.

    For a data directory that no other process knows of. A step that fails for good tells its subject why; any other
    exception leaves.
    """
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    while (lease := leases.claim(program.steps)) is not None:
        told(lease.step)
        # Nobody can take the job away, so there is nothing to do where its lease is gone but to have the step end.
        with Heartbeat(leases, lease, crosswalk.settings, os.getppid(), lost=lambda: None) as heartbeat:
            do(program, StepContext(crosswalk.settings, crosswalk.database, leases, lease, heartbeat))
