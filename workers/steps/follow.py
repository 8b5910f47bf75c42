"""Keeps an upgrade's vectors in a store of the user's own up with the items there."""

from contextlib import suppress

from app.composition import compose
from app.galleries.info import READY
from app.problems import NotFound
from workers.context import StepContext


def run(context: StepContext) -> None:
    """Every generation of the gallery that is switched to, or may be."""
    crosswalk = compose(context.settings, context.database)
    gallery = str(context.lease.arguments["gallery"])
    info = crosswalk.galleries.info(gallery)
    for number, generation in info.generations.items():
        if generation.in_store is not None and generation.state == READY:
            with suppress(NotFound):  # dropped meanwhile
                crosswalk.store_targets.catch_up(info, number, context.progress)
    context.finish(lambda _session: None)
