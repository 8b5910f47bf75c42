"""HTTP of choosing items: which to embed with a new model first, and which to re-embed next."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.composition import Parts
from app.galleries.orders import Order
from app.galleries.samples import SampleRequest, Samples
from app.galleries.schemas import Backfill, Sample
from app.http.openapi import problems
from app.ids import GalleryId
from app.problems import GalleryStoreAway, ItemsElsewhere, NotFound, StoreChanged, Unprocessable, WrongState

router = APIRouter(prefix="/galleries", tags=["galleries"])

_SAMPLE_PATIENCE_SECONDS = 20.0
_SAMPLE_LOOK_SECONDS = 0.1


@router.get(
    "/{gallery}/sample",
    summary="Choose items to embed with the new model",
    responses={
        202: {"description": "Being chosen: ask again after `Retry-After` seconds", "content": {}},
        **problems(NotFound, Unprocessable),
    },
)
def sample(
    gallery: GalleryId,
    n: Annotated[int, Query(ge=1, le=100_000, description="How many items.", examples=[2])],
    parts: Parts,
    response: Response,
) -> Sample | None:
    """The n items from which a crossing is learned best, before any pair exists: spread by k-means over what is stored,
    one item nearest to each centre. The same question on the same items has the same answer."""
    wanted = parts.samples.wanted(gallery, n)
    chosen = parts.samples.find(wanted)
    if chosen is None and _chosen_soon(parts.samples, wanted):
        chosen = parts.samples.find(wanted)
    if chosen is None:
        response.status_code = 202
        response.headers["Retry-After"] = "2"
    return chosen


def _chosen_soon(samples: Samples, wanted: SampleRequest) -> bool:
    """Has a sample chosen; whether it is before a request should wait no longer."""
    samples.ask(wanted)
    deadline = time.monotonic() + _SAMPLE_PATIENCE_SECONDS
    while not samples.chosen(wanted):
        if time.monotonic() > deadline:
            return False
        time.sleep(_SAMPLE_LOOK_SECONDS)
    return True


@router.get(
    "/{gallery}/backfill",
    summary="Choose items to re-embed next",
    responses=problems(NotFound, ItemsElsewhere, StoreChanged, WrongState, GalleryStoreAway),
)
def backfill(
    gallery: GalleryId,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many items, at most.")] = 100,
    order: Annotated[
        Order,
        Query(
            description="`uncertainty`: those whose transformed vector is predicted to be farthest off. `traffic`: the "
            "same, weighed by how often searches found the item. `random`. "
            "`class_mean_distance`: those farthest from the mean of their label. `old_model_poor`: those on which "
            "compatible training found the old model poor."
        ),
    ] = "uncertainty",
) -> Backfill:
    """Which transformed items to re-embed with the new model, the most useful first, and the predicted quality at every
    budget. PUT them with `model=` the new model: each is searched as it really is from then on. Once none is left, the
    transformation is retired, and items of the old model are taken no longer.

    Of a gallery in a store of your own this is a pass over the store, of the items that are there as they were when the
    upgrade's vectors last caught up with them; POST has the service embed them and write their vectors there."""
    return parts.backfills.next(gallery, order, limit)
