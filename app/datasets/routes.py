"""HTTP of the datasets resource."""

from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import AwareDatetime

from app.composition import Parts
from app.datasets.schemas import Dataset, NewDataset
from app.datasets.store import columns_by_model
from app.galleries.schemas import Upserted
from app.http.afterwards import afterwards
from app.http.body_limit import BulkBody
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.ids import DatasetId
from app.keys.access import Caller
from app.problems import (
    BadRequest,
    IdTaken,
    InUse,
    InvalidRows,
    InvalidUpload,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
    WrongSpace,
)
from app.spaces.query import AskedSpaceCheck
from app.uploads.judgements import JudgementFormat
from app.uploads.openapi_body import bulk_body, judgements_body

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post(
    "",
    summary="Register a dataset",
    status_code=201,
    responses={200: {"model": Dataset, "description": "Registered before, with this very body"}, **problems(IdTaken)},
)
def create(new: NewDataset, caller: Caller, parts: Parts, response: Response) -> Dataset:
    """A dataset holds rows to learn and to evaluate from. Doing it twice is harmless: the same body answers 200."""
    caller.require_dataset(new.id)
    dataset, created = parts.datasets.create(new)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/datasets/{dataset.id}"
    return dataset


@router.get("", summary="List the datasets", responses=problems(BadRequest))
def list_(paging: Paging, caller: Caller, parts: Parts) -> Page[Dataset]:
    """In order of their ids, a page at a time; those that the key is bound to."""
    among = (caller.datasets or ()) if caller.bound else None
    return paging.page(
        lambda cursor, limit: parts.datasets.rows_after(cursor, limit, among), key=lambda dataset: dataset.id
    )


@router.get("/{dataset}", summary="Look up a dataset", responses=problems(NotFound))
def get(dataset: DatasetId, parts: Parts) -> Dataset:
    """How many rows it has, and of which models it holds vectors."""
    return parts.datasets.get(dataset)


@router.delete("/{dataset}", summary="Remove a dataset", status_code=204, responses=problems(NotFound, InUse))
def delete(dataset: DatasetId, caller: Caller, parts: Parts) -> None:
    """Removes it with its rows. One that a running upgrade or training learns from stays."""
    used_by = [*parts.upgrades.working_on(caller, dataset=dataset), *parts.encoders.working_on(dataset)]
    parts.datasets.delete(dataset, used_by=used_by)
    parts.streams.forget(lambda stream: stream[0] == "rows" and stream[1] == dataset)


@router.put(
    "/{dataset}/rows",
    summary="Upsert rows in bulk",
    response_model_exclude_defaults=True,
    responses=problems(NotFound, WrongSpace, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType),
    openapi_extra=bulk_body(
        "Columns: `id`; optionally `label`, `side_information`, `text`, `image` (encoded bytes), and for each model "
        "one `embedding.<model id>` (in JSON: `embeddings`, an object by model id). `side_information` has the "
        "dimension that the dataset was registered with, or else that of its first rows. A row that lacks the old "
        "model's vector, side-information or label takes them from the gallery item of the same id.",
        {
            "rows": [
                {
                    "id": "q-1",
                    "label": "billing",
                    "text": "Where is my bill?",
                    "embeddings": {"minilm-v2": [0.1, 0.9, 0.2]},
                },
                {
                    "id": "q-2",
                    "label": "shipping",
                    "text": "Where is my parcel?",
                    "embeddings": {"minilm-v2": [0.7, 0.1, 0.6]},
                },
            ]
        },
    ),
)
async def put_rows(
    dataset: DatasetId,
    body: BulkBody,
    request: Request,
    caller: Caller,
    parts: Parts,
    background: BackgroundTasks,
    space: AskedSpaceCheck = "checked",
) -> Upserted:
    """Inserts rows, or updates those of the same id: what a row leaves out keeps its value, and `null` clears it.
    All of it, or nothing. Vectors that are another model's beyond doubt are refused, or warned of, as
    `CROSSWALK_SPACE_GUARD` says."""
    expected = await run_sync(parts.datasets.expected, dataset)
    async with parts.uploads.rows(body, request.headers, expected) as rows:
        inspected = await run_sync(
            partial(parts.spaces.inspect, rows, columns_by_model(rows.schema.names), space, trusted=not caller.bound)
        )
        done = await run_sync(parts.datasets.put, dataset, rows)
    streamed = parts.streams.saw_each("rows", dataset, inspected.few)
    afterwards(background, parts.spaces.learn, inspected)
    return done.model_copy(update={"warnings": [*inspected.warnings, *streamed]})


@router.put(
    "/{dataset}/queries",
    summary="Upsert judged queries in bulk",
    response_model_exclude_defaults=True,
    responses=problems(NotFound, WrongSpace, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType),
    openapi_extra=bulk_body(
        "Columns: `id`; for each model one `embedding.<model id>`, made as that model embeds queries (in JSON: "
        "`embeddings`, an object by model id); and `relevant`, the items that answer the query: a list of ids, or an "
        "object (map, struct) from id to grade, a whole number: above 0 how relevant it is, 0 or less that it was "
        "judged and is not. In npz and wherever strings come, the same as a JSON text.",
        {
            "queries": [
                {"id": "q-1", "relevant": ["a-17"], "embeddings": {"minilm-v2": [0.1, 0.9, 0.2]}},
                {"id": "q-2", "relevant": {"a-3": 2, "a-8": 1}, "embeddings": {"minilm-v2": [0.7, 0.1, 0.6]}},
            ]
        },
    ),
)
async def put_queries(
    dataset: DatasetId,
    body: BulkBody,
    request: Request,
    parts: Parts,
    space: AskedSpaceCheck = "checked",
) -> Upserted:
    """Inserts queries, or updates those of the same id, apart from the rows: what a query leaves out keeps its value,
    and `null` clears it. All of it, or nothing. Vectors that are another model's beyond doubt are refused, or warned
    of, as `CROSSWALK_SPACE_GUARD` says. `POST /evaluations` with `"kind": "judged"` measures by them."""
    expected = await run_sync(parts.datasets.expected_queries, dataset)
    async with parts.uploads.rows(body, request.headers, expected) as queries:
        columns = columns_by_model(queries.schema.names)
        # Not learned from: what a model's space looks like is said by its items, and queries may be embedded otherwise.
        inspected = await run_sync(partial(parts.spaces.inspect, queries, columns, space, trusted=False))
        done = await run_sync(parts.datasets.put_queries, dataset, queries)
    return done.model_copy(update={"warnings": list(inspected.warnings)})


@router.put(
    "/{dataset}/queries/judgements",
    summary="Judge queries by a file",
    response_model_exclude_defaults=True,
    responses=problems(NotFound, InvalidUpload, InvalidRows, TooLarge, UnsupportedMediaType),
    openapi_extra=judgements_body(
        "Lines of UTF-8 text. `qrels`: query, iteration, item and grade, white space between. `beir`: query-id, "
        "corpus-id and score, tabs between, under that heading. `clicks`: query and item, perhaps time and weight, "
        "commas or tabs between, under a heading that names them.",
        "query-id\tcorpus-id\tscore\nq-1\ta-17\t1\nq-2\ta-3\t2\n",
    ),
)
async def put_judgements(
    dataset: DatasetId,
    body: BulkBody,
    request: Request,
    parts: Parts,
    format: Annotated[JudgementFormat, Query(description="How the lines are written.")] = "beir",
    since: Annotated[
        AwareDatetime | None, Query(description="Of `clicks`: earlier ones do not count. ISO 8601 with a zone.")
    ] = None,
) -> Upserted:
    """Says which items are relevant to queries, as TREC qrels, BEIR's TSV or a log of clicks do; in place of what was
    said of these queries before. The grade of a clicked item is the sum of the weights of its clicks (1 where none is
    given), rounded. All of it, or nothing; bad lines are named by their numbers."""
    await run_sync(parts.datasets.info, dataset)
    judgements = await parts.uploads.judgements(body, request.headers, format, since)
    return await run_sync(parts.datasets.put_judgements, dataset, judgements)


@router.delete("/{dataset}/queries", summary="Remove the judged queries", status_code=204, responses=problems(NotFound))
def delete_queries(dataset: DatasetId, parts: Parts) -> None:
    """Removes every query that was put with `PUT /datasets/{id}/queries`; the rows stay."""
    parts.datasets.delete_queries(dataset)
