"""HTTP of the galleries resource."""

import time
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, BackgroundTasks, Path, Query, Request, Response
from pydantic_core import to_json

from app.composition import Parts
from app.filters import IN_TEXT, filter_of_body, filter_of_url, with_filter
from app.galleries.item_columns import asked_fields
from app.galleries.listing import ListedRow
from app.galleries.orders import Order
from app.galleries.retirement import refuse_retired
from app.galleries.schemas import (
    Activation,
    Backfill,
    Deleted,
    Gallery,
    GenerationList,
    Item,
    ItemChange,
    ItemsChanged,
    ItemsToDelete,
    ListedItem,
    NewGallery,
    Sample,
    SideInformationStored,
    UpsertedItems,
)
from app.http.afterwards import afterwards
from app.http.body_limit import BulkBody
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.http.streamed import StreamedParts
from app.ids import GalleryId, ResourceId
from app.keys.access import Caller
from app.problems import (
    BadRequest,
    IdTaken,
    InUse,
    InvalidRows,
    InvalidUpload,
    NotFound,
    Problem,
    TooLarge,
    Unprocessable,
    UnsupportedMediaType,
    WrongSpace,
    WrongState,
)
from app.spaces.query import AskedSpaceCheck
from app.spaces.schemas import DoctorReport
from app.uploads import Expected, media_types
from app.uploads.openapi_body import bulk_body

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


@router.put(
    "/{gallery}/items",
    summary="Upsert items in bulk",
    response_model_exclude_defaults=True,
    responses=problems(
        NotFound, WrongState, Unprocessable, WrongSpace, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType
    ),
    openapi_extra=bulk_body(
        "Columns: `id` and `embedding`; optionally `side_information`, `label`, `payload` (a JSON object).",
        {
            "items": [
                {
                    "id": "q-1",
                    "embedding": [0.9, 0.1, 0.0, 0.2],
                    "side_information": [0.5, 0.1],
                    "label": "billing",
                    "payload": {"text": "Where is my invoice?"},
                },
                {
                    "id": "q-2",
                    "embedding": [0.1, 0.8, 0.3, 0.0],
                    "side_information": [0.2, 0.9],
                    "label": "shipping",
                    "payload": {"text": "Where is my parcel?"},
                },
                {"id": "q-3", "embedding": [0.2, 0.7, 0.5, 0.1], "side_information": [0.1, 0.8], "label": "shipping"},
            ]
        },
    ),
)
async def put_items(
    gallery: GalleryId,
    model: Annotated[ResourceId, Query(description="The model that made these vectors.", examples=["tfidf-v1"])],
    body: BulkBody,
    request: Request,
    caller: Caller,
    parts: Parts,
    background: BackgroundTasks,
    space: AskedSpaceCheck = "checked",
) -> UpsertedItems:
    """Inserts items, or updates those of the same id: what a row leaves out keeps its value, and `null` clears it. All
    of it, or nothing; durable when it answers, and seen by every search after that.

    Vectors that newer models made of an item stay as long as its vector of `model` stays the same; where that changes,
    they are dropped, and `dropped` counts them. Vectors that are another model's beyond doubt are refused, or warned
    of, as `CROSSWALK_SPACE_GUARD` says."""
    info = await run_sync(parts.galleries.info, gallery)
    expected = await run_sync(parts.items.expected, info, model)
    refuse_retired(info, model)
    async with parts.uploads.rows(body, request.headers, expected) as rows:
        inspected = await run_sync(
            partial(parts.spaces.inspect, rows, {model: "embedding"}, space, trusted=not caller.bound)
        )
        done, written_to = await run_sync(parts.items.put, info, model, rows)
    streamed = parts.streams.saw_each("items", gallery, inspected.few)
    afterwards(background, parts.spaces.learn, inspected)
    await run_sync(parts.retirement.after_put, written_to, model)
    afterwards(background, parts.search.warm, gallery)
    return done.model_copy(update={"warnings": [*inspected.warnings, *streamed]})


@router.patch(
    "/{gallery}/items",
    summary="Change labels and payloads in bulk",
    responses=problems(NotFound, Unprocessable, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType),
    openapi_extra=bulk_body(
        "Columns: `id` of an item that is there, and `label`, or `payload` (a JSON object), or both.",
        {
            "items": [
                {"id": "q-1", "label": "invoices"},
                {"id": "q-2", "payload": {"text": "Where is my parcel?", "answered": True}},
            ]
        },
    ),
)
async def patch_items(
    gallery: GalleryId, body: BulkBody, request: Request, parts: Parts, background: BackgroundTasks
) -> ItemsChanged:
    """Gives items that are there other labels or payloads, and leaves their vectors as they are. What a row leaves out
    keeps its value, `null` clears it, and a payload takes the place of the whole payload, all as in PUT. All of it, or
    nothing: an id that no item has refuses the request. Every search after the answer sees it."""
    info = await run_sync(parts.galleries.info, gallery)
    async with parts.uploads.rows(body, request.headers, Expected.changes()) as rows:
        updated = await run_sync(parts.items.change, info, rows)
    afterwards(background, parts.search.warm, gallery)
    return ItemsChanged(updated=updated)


@router.patch(
    "/{gallery}/items/{item:path}",
    summary="Change an item's label or payload",
    responses=problems(NotFound, Unprocessable),
)
async def patch_item(
    gallery: GalleryId,
    item: Annotated[str, Path(description="The item's id.", examples=["q-1"])],
    change: ItemChange,
    parts: Parts,
    background: BackgroundTasks,
) -> Item:
    """Changes what is given, and leaves the rest, vectors above all. A payload takes the place of the whole payload."""
    info = await run_sync(parts.galleries.info, gallery)
    if not change.model_fields_set:
        raise Unprocessable.at("Nothing is to change: send `label`, or `payload`, or both.", pointer="")
    try:
        async with parts.uploads.row(Expected.changes(), {"id": item} | change.model_dump(exclude_unset=True)) as rows:
            await run_sync(parts.items.change, info, rows)
    except InvalidRows as wrong:
        raise _of_one_item(wrong, gallery, item) from None
    afterwards(background, parts.search.warm, gallery)
    return await run_sync(parts.items.get, gallery, item)


@router.put(
    "/{gallery}/side-information",
    summary="Store side-information with items in bulk",
    responses=problems(NotFound, Unprocessable, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType),
    openapi_extra=bulk_body(
        "Columns: `id` of an item that is there, and `side_information`.",
        {"items": [{"id": "q-1", "side_information": [0.5, 0.1]}, {"id": "q-2", "side_information": [0.2, 0.9]}]},
    ),
)
async def put_side_information(
    gallery: GalleryId,
    body: BulkBody,
    request: Request,
    parts: Parts,
    background: BackgroundTasks,
    dimension: Annotated[
        int | None,
        Query(ge=1, le=65_536, description="Needed by the first request of a gallery registered without."),
    ] = None,
) -> SideInformationStored:
    """Gives items that are there side-information, or replaces what they have; everything else of them stays. All of
    it, or nothing: an id that no item has refuses the request. Transformed generations follow at once."""
    expected = await run_sync(parts.later_side_information.expected, gallery, dimension)
    async with parts.uploads.rows(body, request.headers, expected) as rows:
        done = await run_sync(parts.later_side_information.put, gallery, rows)
    afterwards(background, parts.search.warm, gallery)
    return done


@router.get(
    "/{gallery}/items",
    summary="List the items, or export them",
    response_model=Page[ListedItem],
    responses={
        200: {"content": {media_types.ARROW: {"schema": {"type": "string", "format": "binary"}}}},
        **problems(BadRequest, NotFound, Unprocessable),
    },
)
def list_items(
    gallery: GalleryId,
    paging: Paging,
    request: Request,
    parts: Parts,
    fields: Annotated[
        str | None,
        Query(
            description="Which of `label`, `payload` and `side_information` to show, with commas between them; left "
            "out, the first two.",
            examples=["label,payload"],
        ),
    ] = None,
    vectors: Annotated[
        ResourceId | None,
        Query(
            description="A model whose vectors to show, as it made them: those that were put.", examples=["tfidf-v1"]
        ),
    ] = None,
    filter: Annotated[
        str | None,
        Query(
            description="Which items to list, as JSON: the `filter` of POST /search, like "
            '`{"label":{"eq":"billing"},"payload.price":{"lt":10}}`. Left out, all.',
            json_schema_extra=IN_TEXT,
        ),
    ] = None,
) -> Response:
    """A page at a time, in an order that nothing changes: an item that is there throughout is listed exactly once,
    whatever is written meanwhile. With a `filter`, those that it lets through, each page as its items are by then.

    To those that `Accept` application/vnd.apache.arrow.stream, all items as they are at this moment: columns `id`, the
    fields, and `embedding`, which PUT takes back as they are."""
    shown, only = asked_fields(fields), filter_of_url(filter)
    if media_types.preferred(request.headers.get("accept"), (media_types.JSON, media_types.ARROW)) == media_types.ARROW:
        for name in ("cursor", "limit"):
            if name in request.query_params:
                raise Unprocessable.at(
                    f"An export is not cut into pages, and takes no `{name}`. Leave it out, or ask for JSON.",
                    parameter=name,
                )
        export = parts.listing.export(gallery, shown, vectors, only)
        headers = {"Content-Disposition": f'attachment; filename="{gallery}.arrows"'}
        return StreamedParts(next(export), export, media_types.ARROW, headers)

    def rows_after(cursor: str | None, limit: int) -> list[ListedRow]:
        return parts.listing.rows_after(gallery, shown, vectors, only, cursor, limit)

    page = paging.page(rows_after, key=lambda listed: str(listed.row))
    listed = {"items": [one.shown for one in page.items], "next_cursor": page.next_cursor}
    return Response(to_json(listed, inf_nan_mode="null"), media_type=media_types.JSON)


@router.get("/{gallery}/items/{item:path}", summary="Read an item", responses=problems(NotFound))
def item(
    gallery: GalleryId, item: Annotated[str, Path(description="The item's id.", examples=["q-1"])], parts: Parts
) -> Item:
    """What was stored of it, with the vector of every model that embedded it."""
    return parts.items.get(gallery, item)


@router.post(
    "/{gallery}/items/delete",
    summary="Delete items",
    responses=problems(NotFound, Unprocessable),
    openapi_extra={
        "requestBody": {
            "content": {
                media_types.JSON: {
                    "schema": with_filter(ItemsToDelete.model_json_schema(ref_template="#/components/schemas/{model}")),
                    "example": {"ids": ["q-3"]},
                }
            }
        }
    },
)
def delete_items(gallery: GalleryId, which: ItemsToDelete, parts: Parts) -> Deleted:
    """Deletes many items at once, in every generation: those of `ids`, where ids that are not there are passed over; or
    those that a `filter` lets through, all as of one moment: what is written after it is left alone."""
    if (which.ids is None) == (which.filter is None):
        raise Unprocessable.at("Send `ids` or `filter`: which items are to go, said in one way.", pointer="")
    if which.filter is None:
        deleted = parts.items.delete(gallery, which.ids or [])
    else:
        deleted = parts.items.delete_matching(gallery, filter_of_body(which.filter))
    parts.retirement.after_delete(gallery)
    return Deleted(deleted=deleted)


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


def _of_one_item(wrong: InvalidRows, gallery: str, item: str) -> Problem:
    """What is wrong with a body of one row, where the row is the body itself and its id is in the path."""
    errors = wrong.members["errors"]
    if any(error["column"] == "id" for error in errors):
        return NotFound(f"Gallery {gallery!r} has no item {item!r}.")
    places = [{"pointer": f"/{error['column']}", "message": error["message"]} for error in errors]
    return Unprocessable(f"{places[0]['pointer']}: {places[0]['message']}.", errors=places)
