"""HTTP of a gallery's items: put, changed, listed, exported, read, deleted."""

from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, BackgroundTasks, Path, Query, Request, Response
from pydantic_core import to_json

from app.composition import Parts
from app.filters import IN_TEXT, filter_of_body, filter_of_url, with_filter
from app.galleries.item_columns import asked_fields
from app.galleries.listing import ListedRow
from app.galleries.retirement import refuse_retired
from app.galleries.schemas import (
    Deleted,
    Item,
    ItemChange,
    ItemsChanged,
    ItemsToDelete,
    ListedItem,
    SideInformationStored,
    UpsertedItems,
)
from app.galleries.service import require_here
from app.http.afterwards import afterwards
from app.http.body_limit import BulkBody
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.http.streamed import StreamedParts
from app.ids import GalleryId, ResourceId
from app.keys.access import Caller
from app.problems import (
    BadRequest,
    InvalidRows,
    InvalidUpload,
    ItemsElsewhere,
    NotFound,
    Problem,
    TooLarge,
    Unprocessable,
    UnsupportedMediaType,
    WrongSpace,
    WrongState,
)
from app.spaces.query import AskedSpaceCheck
from app.uploads import Expected, media_types
from app.uploads.openapi_body import bulk_body

router = APIRouter(prefix="/galleries", tags=["galleries"])


@router.put(
    "/{gallery}/items",
    summary="Upsert items in bulk",
    response_model_exclude_defaults=True,
    responses=problems(
        NotFound,
        WrongState,
        ItemsElsewhere,
        Unprocessable,
        WrongSpace,
        InvalidUpload,
        InvalidRows,
        TooLarge,
        UnsupportedMediaType,
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
    they are dropped, as is what the service's embedder made of a text that is another now, and `dropped` counts them.
    Vectors that are another model's beyond doubt are refused, or warned of, as `CROSSWALK_SPACE_GUARD` says."""
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
    if done.dropped:
        await run_sync(_settle_after_drop, parts, gallery)
    afterwards(background, parts.search.warm, gallery)
    return done.model_copy(update={"warnings": [*inspected.warnings, *streamed]})


@router.patch(
    "/{gallery}/items",
    summary="Change labels and payloads in bulk",
    response_model_exclude_defaults=True,
    responses=problems(
        NotFound, ItemsElsewhere, Unprocessable, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType
    ),
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
    """Gives items that are there other labels or payloads, and leaves their vectors as they are, but for those that the
    service's embedder made of a text that is another now: these are dropped, and `dropped` counts them. What a row
    leaves out keeps its value, `null` clears it, and a payload takes the place of the whole payload, all as in PUT. All
    of it, or nothing: an id that no item has refuses the request. Every search after the answer sees it."""
    info = await run_sync(parts.galleries.info, gallery)
    require_here(info)
    async with parts.uploads.rows(body, request.headers, Expected.changes()) as rows:
        changed = await run_sync(parts.items.change, info, rows)
    if changed.dropped:
        await run_sync(_settle_after_drop, parts, gallery)
    afterwards(background, parts.search.warm, gallery)
    return changed


@router.patch(
    "/{gallery}/items/{item:path}",
    summary="Change an item's label or payload",
    responses=problems(NotFound, ItemsElsewhere, Unprocessable),
)
async def patch_item(
    gallery: GalleryId,
    item: Annotated[str, Path(description="The item's id.", examples=["q-1"])],
    change: ItemChange,
    parts: Parts,
    background: BackgroundTasks,
) -> Item:
    """Changes what is given, and leaves the rest, vectors above all, but for those that the service's embedder made of
    a text that is another now: they are dropped. A payload takes the place of the whole payload."""
    info = await run_sync(parts.galleries.info, gallery)
    require_here(info)
    if not change.model_fields_set:
        raise Unprocessable.at("Nothing is to change: send `label`, or `payload`, or both.", pointer="")
    try:
        async with parts.uploads.row(Expected.changes(), {"id": item} | change.model_dump(exclude_unset=True)) as rows:
            changed = await run_sync(parts.items.change, info, rows)
    except InvalidRows as wrong:
        raise _of_one_item(wrong, gallery, item) from None
    if changed.dropped:
        await run_sync(_settle_after_drop, parts, gallery)
    afterwards(background, parts.search.warm, gallery)
    return await run_sync(parts.items.get, gallery, item)


@router.put(
    "/{gallery}/side-information",
    summary="Store side-information with items in bulk",
    responses=problems(
        NotFound, ItemsElsewhere, Unprocessable, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType
    ),
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
        **problems(BadRequest, NotFound, ItemsElsewhere, Unprocessable),
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
        return StreamedParts(next(export), export, media_types.ARROW, headers, threads=parts.export_threads)

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
    responses=problems(NotFound, ItemsElsewhere, Unprocessable),
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
def delete_items(gallery: GalleryId, which: ItemsToDelete, parts: Parts, background: BackgroundTasks) -> Deleted:
    """Deletes many items at once, in every generation: those of `ids`, where ids that are not there are passed over; or
    those that a `filter` lets through, all as of one moment: what is written after it is left alone."""
    if (which.ids is None) == (which.filter is None):
        raise Unprocessable.at("Send `ids` or `filter`: which items are to go, said in one way.", pointer="")
    if which.filter is None:
        deleted = parts.items.delete(gallery, which.ids or [])
    else:
        deleted = parts.items.delete_matching(gallery, filter_of_body(which.filter))
    parts.retirement.after_delete(gallery)
    afterwards(background, parts.search.warm, gallery)
    return Deleted(deleted=deleted)


def _settle_after_drop(parts: Parts, gallery: str) -> None:
    """Has transformations be needed again by items whose vectors were dropped."""
    parts.retirement.after_drop(parts.galleries.info(gallery))


def _of_one_item(wrong: InvalidRows, gallery: str, item: str) -> Problem:
    """What is wrong with a body of one row, where the row is the body itself and its id is in the path."""
    errors = wrong.members["errors"]
    if any(error["column"] == "id" for error in errors):
        return NotFound(f"Gallery {gallery!r} has no item {item!r}.")
    places = [{"pointer": f"/{error['column']}", "message": error["message"]} for error in errors]
    return Unprocessable(f"{places[0]['pointer']}: {places[0]['message']}.", errors=places)
