"""HTTP of search."""

from typing import Annotated

import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.composition import Crosswalk, Parts
from app.http.openapi import problems
from app.ids import ResourceId
from app.problems import InvalidUpload, NoRoute, NotFound, TooLarge, Unprocessable, UnsupportedMediaType
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.search.schemas import EXAMPLE, ROUTE, SearchAnswer, SearchAnswers, SearchRequest
from app.uploads import decode_query_vector, media_types, vectors_of_lists

router = APIRouter(prefix="/search", tags=["search"])

WARNING = "Crosswalk-Warning"
"""The header that says what is wrong with a stream of queries, though each was answered."""

_K = Annotated[int, Query(ge=1, description="How many items to find.")]
_GALLERY = Annotated[ResourceId, Query(description="Where to search.", examples=["faq"])]
_ROUTE = Annotated[AskedRoute | None, Query(description=ROUTE)]
_MODEL = Annotated[ResourceId, Query(description="The model that made the query's vector.", examples=["tfidf-v1"])]


@router.get("", summary="Search with one query", responses=problems(NotFound, NoRoute, Unprocessable))
def search_one(
    gallery: _GALLERY,
    model: _MODEL,
    vector: Annotated[
        str,
        Query(
            description="base64url (with or without padding) of little-endian float32, or numbers with commas between.",
            examples=["0.9,0.1,0.0,0.2"],
        ),
    ],
    parts: Parts,
    response: Response,
    k: _K = 10,
    route: _ROUTE = None,
) -> SearchAnswer:
    """The nearest items, nearest first. The answer names the generation and the route that served it; where none leads
    from the query's model to the gallery, 409 says what would make one."""
    resolved = parts.search_resolver.resolve(gallery, model, route)
    query = decode_query_vector(vector, resolved.dimension)
    answers = parts.search.search(resolved, k, query[None, :])
    _watch(parts, resolved, query[None, :], response)
    return SearchAnswer(**answers.model_dump(exclude={"results"}), results=answers.results[0])


@router.post(
    "",
    summary="Search with many queries",
    responses=problems(NotFound, NoRoute, Unprocessable, InvalidUpload, TooLarge, UnsupportedMediaType),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "JSON; or the vectors alone, as npy or as an Arrow stream with one column `vector`, with "
            "`gallery`, `model`, `k` and `route` in the URL.",
            "content": {
                media_types.JSON: {
                    "schema": SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
                    "example": EXAMPLE,
                },
                media_types.NPY: {"schema": {"type": "string", "format": "binary"}},
                media_types.ARROW: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def search_many(
    request: Request,
    parts: Parts,
    response: Response,
    gallery: Annotated[ResourceId | None, Query(description="With npy or Arrow: where to search.")] = None,
    model: Annotated[ResourceId | None, Query(description="With npy or Arrow: the queries' model.")] = None,
    k: Annotated[int, Query(ge=1, description="With npy or Arrow: how many items to find.")] = 10,
    route: _ROUTE = None,
) -> SearchAnswers:
    """The nearest items of each query, in the order of the queries."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == media_types.JSON:
        body = _request(await request.body())
        resolved = await run_sync(parts.search_resolver.resolve, body.gallery, body.model, body.route)
        vectors = vectors_of_lists(body.vectors, resolved.dimension)
        answers = await run_sync(parts.search.search, resolved, body.k, vectors, body.filter)
        _watch(parts, resolved, vectors, response)
        return answers
    if gallery is None or model is None:
        raise Unprocessable("Vectors as npy or Arrow need `gallery` and `model` in the URL.")
    async with parts.uploads.queries(request.stream(), request.headers) as decoded:
        resolved = await run_sync(parts.search_resolver.resolve, gallery, model, route)
        vectors = await decoded(resolved.dimension)
    answers = await run_sync(parts.search.search, resolved, k, vectors)
    _watch(parts, resolved, vectors, response)
    return answers


def _watch(parts: Crosswalk, resolved: ResolvedSearch, vectors: np.ndarray, response: Response) -> None:
    """Takes note of queries, and tells in a header where the last ones did not look like their model's."""
    warning = parts.streams.saw(("queries", resolved.gallery.id, resolved.queries.model), vectors)
    if warning is not None:
        response.headers[WARNING] = warning


def _request(body: bytes) -> SearchRequest:
    try:
        return SearchRequest.model_validate_json(body)
    except ValidationError as error:
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
