"""Which route answers a query that comes with a vector of the old model too: pure, as `app.search.routing`.

fused    items are scored by both vectors: over the untouched generation in the old space, whose vectors the crossing
         leads to the new one; or over a transformed generation together with the one that it was derived from
"""

from app.galleries.info import GalleryInfo
from app.search.routing import Route


class NothingToFuse(Exception):
    """No item of the gallery can be scored by both models; the message says why."""


def find_fused_route(gallery: GalleryInfo, model: str, crossing: str | None) -> Route | None:
    """The fused route of a query of `model` with a vector of an old model beside it; None where nothing leads to the
    gallery from `model` by a crossing.

    crossing: the upgrade that was proved to lead from the active generation's model to `model`. As without the old
    vector, the active generation answers first. Raises NothingToFuse where the gallery answers queries of `model`, and
    holds nothing that the old model's queries could be compared with.
    """
    for generation in gallery.ancestry(gallery.active)[::-1]:
        if generation.space.model != model:
            continue
        if generation.parent is None:
            raise NothingToFuse(
                f"The vectors of gallery {gallery.id!r} are {model!r}'s own: there is no old model to fuse it with."
            )
        if generation.retired_at is not None:
            raise NothingToFuse(
                f"Every item of gallery {gallery.id!r} was re-embedded with {model!r}, and the transformation from "
                f"{gallery.generations[generation.parent].space.model!r} was retired at "
                f"{generation.retired_at.isoformat(timespec='seconds')}: the old vectors are kept up no longer."
            )
        return Route("fused", generation.number, pushed=generation.upgrade, beside=generation.parent)
    return None if crossing is None else Route("fused", gallery.active, pushed=crossing)
