"""HTTP of the galleries resource."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.composition import Parts
from app.galleries.item_routes import router as items
from app.galleries.orders import Order
from app.galleries.schemas import Activation, Backfill, Gallery, GenerationList, NewGallery, Sample
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.ids import GalleryId
from app.keys.access import Caller
from app.problems import BadRequest, IdTaken, InUse, NotFound, Unprocessable, WrongState
from app.spaces.schemas import DoctorReport

router = APIRouter(prefix="/galleries", tags=["galleries"])

_SAMPLE_PATIENCE_SECONDS = 20.0
_SAMPLE_LOOK_SECONDS = 0.1


@router.post(
    "",
    summary="Register a gallery",
    status_code=201,
    responses={
        200: {"model": Gallery, "description": "Registered before, with this very body"},
        **problems(NotFound, IdTaken),
    },
)
def create(new: NewGallery, caller: Caller, parts: Parts, response: Response) -> Gallery:
    """A gallery holds the items searched against, every vector stamped with the model that made it. Doing it twice is
    harmless: the same body answers 200, another body 409."""
    caller.require_gallery(new.id)
    gallery, created = parts.galleries.create(new)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/galleries/{gallery.id}"
    return gallery


@router.get("", summary="List the galleries", responses=problems(BadRequest))
def list_(paging: Paging, caller: Caller, parts: Parts) -> Page[Gallery]:
    """In order of their ids, a page at a time; those that the key is bound to."""

    def rows_after(cursor: str | None, limit: int) -> list[Gallery]:
        return parts.galleries.rows_after(cursor, limit, among=caller.galleries)

    return paging.page(rows_after, key=lambda gallery: gallery.id)


@router.get("/{gallery}", summary="Look up a gallery", responses=problems(NotFound))
def get(gallery: GalleryId, parts: Parts) -> Gallery:
    """How many items it holds, and which generation answers."""
    return parts.galleries.get(gallery)


@router.delete("/{gallery}", summary="Remove a gallery", status_code=204, responses=problems(NotFound, InUse))
def delete(gallery: GalleryId, caller: Caller, parts: Parts) -> None:
    """Removes it with its items. One that is being upgraded stays."""
    info = parts.galleries.info(gallery)
    parts.galleries.delete(gallery, used_by=parts.upgrades.working_on(caller, gallery=gallery))
    parts.live.forget(info)
    parts.streams.forget(lambda stream: stream[0] != "rows" and stream[1] == gallery)


router.include_router(items)  # here, since the examples of the document run from top to bottom, and these come next


@router.get("/{gallery}/generations", summary="List what can be searched", responses=problems(NotFound))
def generations(gallery: GalleryId, parts: Parts) -> GenerationList:
    """Every state that the gallery can be switched to, oldest first."""
    return GenerationList(items=parts.galleries.generations(gallery))


@router.post("/{gallery}/activate", summary="Switch to a generation", responses=problems(NotFound, WrongState))
def activate(gallery: GalleryId, which: Activation, caller: Caller, parts: Parts) -> Gallery:
    """Points the gallery at a generation, forward or back, in one transaction. What was written since is kept."""
    parts.upgrades.switch(gallery, which.generation, caller)
    return parts.galleries.get(gallery)


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
    deadline = time.monotonic() + _SAMPLE_PATIENCE_SECONDS
    while (chosen := parts.samples.find(wanted)) is None:
        parts.samples.ask(wanted)
        if time.monotonic() > deadline:
            response.status_code = 202
            response.headers["Retry-After"] = "2"
            return None
        time.sleep(_SAMPLE_LOOK_SECONDS)
    return chosen


@router.get("/{gallery}/backfill", summary="Choose items to re-embed next", responses=problems(NotFound, WrongState))
def backfill(
    gallery: GalleryId,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many items, at most.")] = 100,
    order: Annotated[
        Order,
        Query(
            description="`uncertainty`: those whose transformed vector is predicted to be farthest off. `random`. "
            "`class_mean_distance`: those farthest from the mean of their label. `old_model_poor`: those on which "
            "compatible training found the old model poor."
        ),
    ] = "uncertainty",
) -> Backfill:
    """Which transformed items to re-embed with the new model, the most useful first, and the predicted quality at every
    budget. PUT them with `model=` the new model: each is searched as it really is from then on. Once none is left, the
    transformation is retired, and items of the old model are taken no longer."""
    return parts.backfills.next(gallery, order, limit)


@router.get("/{gallery}/doctor", summary="Look for vectors of other models", responses=problems(NotFound))
def doctor(gallery: GalleryId, parts: Parts) -> DoctorReport:
    """Scans every vector for a mixture: items whose vectors were not made by the model that they are stamped with.
    Names the suspicious items, and the model that they look like, where that is known."""
    return parts.doctor.examine(gallery)
