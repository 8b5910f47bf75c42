"""Which route answers a query: pure, from a gallery's generations and the crossings proved so far.

direct        the query's model made the generation's vectors, all of them
transformed   the generation holds h(old), partly or wholly backfilled, in the query's space
compatible    the query's model was trained to be searched against the old model's vectors, which the generation holds
instant       the generation is in the old space; a linear h is pushed into the query
cascade       as instant, for candidates alone, which the h that cannot be pushed exactly then re-ranks
fused         the query comes with a vector of the old model too, and items are scored by both: `fused_routing`
reranked      as transformed, instant or cascade, for candidates alone, which the new model's embedder makes vectors of
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.galleries.info import GalleryInfo, GenerationInfo

RouteName = Literal["direct", "compatible", "instant", "cascade", "transformed", "fused", "reranked"]
AskedRoute = Literal["instant", "cascade", "fused", "reranked"]


@dataclass(frozen=True)
class Route:
    """How a query reaches a gallery: the generation that answers, and the upgrade pushed into the query, if any.

    beside: of a fused route, the generation in the old model's space, where it is another; `pushed` then names the
    upgrade that derived the one that answers from it.
    """

    name: RouteName
    generation: int
    pushed: str | None = None
    beside: int | None = None


def find_route(
    gallery: GalleryInfo,
    model: str,
    compatible: Mapping[str, str] | None = None,
    crossing: str | None = None,
) -> Route | None:
    """The route of a query of `model`, or None where there is none; `instant` where it may be `cascade`, which the
    crossing's artifacts tell.

    compatible: the upgrades that trained `model`, by the old model that it is compatible with.
    crossing: the upgrade that was proved to lead from the active generation's model to `model`.

    The active generation answers first. Behind it, those that it was derived from still answer clients that have not
    moved on to the new model. A generation that was never activated, or was rolled back from, does not answer.
    """
    reached = gallery.ancestry(gallery.active)[::-1]
    for generation in reached:
        if generation.space.model == model:
            return Route("transformed" if generation.transforms else "direct", generation.number)
    if active := _compatible(reached[:1], compatible or {}):
        return active
    if crossing is not None:
        return Route("instant", gallery.active, pushed=crossing)
    return _compatible(reached[1:], compatible or {})


def choices(route: Route) -> tuple[RouteName, ...]:
    """The routes that a query can ask for where this one is taken unasked."""
    return ("cascade", "instant") if route.name == "cascade" else (route.name,)


def _compatible(generations: Sequence[GenerationInfo], compatible: Mapping[str, str]) -> Route | None:
    """The route to the first of the generations in whose space the query's model was trained to land."""
    for generation in generations:
        if (upgrade := compatible.get(generation.space.model)) is not None:
            return Route("compatible", generation.number, pushed=upgrade)
    return None
