"""Drops what an upgrade that lost, or came to nothing, has written into a store of the user's own."""

from app.composition import compose
from app.galleries.generations import TargetOrder
from workers.context import StepContext


def run(context: StepContext) -> None:
    """Once nobody writes there any more; readers that were switched already are switched back before."""
    crosswalk = compose(context.settings, context.database)
    crosswalk.store_targets.drop(TargetOrder.from_json(context.lease.arguments))
    context.finish(lambda _session: None)
