"""Which route answers a query: pure, from a gallery's generations and the crossings proved so far.

direct        the query's model made the generation's vectors
transformed   the generation holds h(old), partly or wholly backfilled, in the query's space
instant       the generation is in the old space; a linear h is pushed into the query
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.galleries.info import GalleryInfo

RouteName = Literal["direct", "instant", "transformed"]


@dataclass(frozen=True)
class Route:
    """How a query reaches a gallery: the generation that answers, and the crossing pushed into the query, if any."""

    name: RouteName
    generation: int
    pushed: str | None = None


def find_route(gallery: GalleryInfo, model: str, crossable: Mapping[str, str]) -> Route | None:
    """The route of a query of `model`, or None where there is none.

    crossable: the upgrades proved from the active generation's model, by the model that they lead to.

    The active generation answers first. Behind it, those that it was derived from still answer clients that have not
    moved on to the new model. A generation that was never activated, or was rolled back from, does not answer.
    """
    for step in reversed(gallery.ancestry(gallery.active)):
        if step.space.model == model:
            return Route("direct" if step.parent is None else "transformed", step.number)
    if model in crossable:
        return Route("instant", gallery.active, pushed=crossable[model])
    return None
