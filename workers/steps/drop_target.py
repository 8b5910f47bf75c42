"""Drops what an upgrade that came to nothing has written into a store of the user's own."""

import time

from app.composition import compose
from app.galleries.elsewhere import Elsewhere, opened
from app.galleries.generations import TargetOrder
from app.jobs.values import JobState
from workers.context import StepContext

_LOOK_SECONDS = 0.2


def run(context: StepContext) -> None:
    """Once nobody writes there any more; readers that were switched already are switched back before."""
    crosswalk = compose(context.settings, context.database)
    order = TargetOrder.from_json(context.lease.arguments)

    def at_work() -> bool:
        with crosswalk.database.read() as session:
            return any(job.state == JobState.RUNNING for job in crosswalk.jobs.of(session, order.upgrade))

    # A process that was killed outright looks at work until its lease has run out, which may need this very slot.
    until = time.monotonic() + context.settings.lease_seconds
    while at_work() and time.monotonic() < until:
        context.check_cancelled()
        time.sleep(_LOOK_SECONDS)
    with opened(crosswalk.stores, Elsewhere.from_json(order.store)) as store:
        store.switch_back(order.target)
        store.drop(order.target)
    context.finish(lambda _session: None)
