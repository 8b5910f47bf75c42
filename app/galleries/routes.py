"""HTTP of the galleries resource."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.composition import Parts
from app.galleries.schemas import Activation, Followed, Gallery, GenerationList, NewGallery
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.ids import GalleryId
from app.keys.access import Caller
from app.problems import (
    BadRequest,
    GalleryStoreAway,
    IdTaken,
    InUse,
    ItemsElsewhere,
    NotFound,
    StoreBusy,
    StoreChanged,
    Unprocessable,
    WrongState,
)
from app.spaces.schemas import DoctorReport

router = APIRouter(prefix="/galleries", tags=["galleries"])


@router.post(
    "",
    summary="Register a gallery",
    status_code=201,
    responses={
        200: {"model": Gallery, "description": "Registered before, with this very body"},
        **problems(NotFound, IdTaken, Unprocessable, GalleryStoreAway),
    },
)
def create(new: NewGallery, caller: Caller, parts: Parts, response: Response) -> Gallery:
    """A gallery holds the items searched against, every vector stamped with the model that made it. Doing it twice is
    harmless: the same body answers 200, another body 409.

    With `store`, the items are those of a table or collection of your own, and stay there: Crosswalk reads them, and an
    upgrade writes the new vectors beside the old ones."""
    caller.require_gallery(new.id)
    if new.store is not None:
        caller.require_unbound("A connection to a store of the operator's")
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
    """Removes it with its items, and stops a backfill of it. One that is being upgraded stays."""
    info = parts.galleries.info(gallery)
    used_by = parts.upgrades.working_on(caller, gallery=gallery)
    parts.galleries.delete(gallery, used_by, parts.backfill_runs.leave)
    parts.live.forget(info)
    parts.streams.forget(lambda stream: stream[0] != "rows" and stream[1] == gallery)


@router.get("/{gallery}/generations", summary="List what can be searched", responses=problems(NotFound))
def generations(gallery: GalleryId, parts: Parts) -> GenerationList:
    """Every state that the gallery can be switched to, oldest first."""
    return GenerationList(items=parts.galleries.generations(gallery))


@router.post(
    "/{gallery}/activate",
    summary="Switch to a generation",
    responses=problems(NotFound, WrongState, StoreChanged, StoreBusy, GalleryStoreAway),
)
def activate(gallery: GalleryId, which: Activation, caller: Caller, parts: Parts) -> Gallery:
    """Points the gallery at a generation, forward or back, in one transaction. What was written since is kept."""
    parts.upgrades.switch(gallery, which.generation, caller)
    return parts.galleries.get(gallery)


@router.post(
    "/{gallery}/follow",
    summary="Catch up with a store of your own",
    status_code=202,
    responses=problems(NotFound, WrongState),
)
def follow(gallery: GalleryId, parts: Parts) -> Followed:
    """Has items that were written, changed or deleted in a store of your own since the last time get their transformed
    vectors there, or lose them. An upgrade does it by itself until it is switched to; after that, ask again when you
    have written, or every few minutes. Doing it twice is harmless."""
    return parts.following.ask(gallery)


@router.delete(
    "/{gallery}/generations/{generation}",
    summary="Drop vectors from a store of your own",
    status_code=204,
    responses=problems(NotFound, InUse, WrongState, Unprocessable),
)
def drop(
    gallery: GalleryId,
    generation: Annotated[int, Path(ge=1, description="One that an upgrade made, and that the gallery left.")],
    caller: Caller,
    parts: Parts,
) -> None:
    """Removes the vectors that an upgrade wrote into a store of your own, after it was rolled back: they are forgotten
    at once, and gone from the store soon after. Never done unasked, and never to the vectors that were there before:
    those are yours."""
    parts.upgrades.drop(gallery, generation, caller)


@router.get(
    "/{gallery}/doctor", summary="Look for vectors of other models", responses=problems(NotFound, ItemsElsewhere)
)
def doctor(gallery: GalleryId, parts: Parts) -> DoctorReport:
    """Scans every vector for a mixture: items whose vectors were not made by the model that they are stamped with.
    Names the suspicious items, and the model that they look like, where that is known."""
    return parts.doctor.examine(gallery)
