"""HTTP of search."""

import re
from dataclasses import replace
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.composition import Crosswalk, Parts
from app.http.openapi import problems
from app.ids import ResourceId
from app.json_text import check_json, utf8
from app.keys.access import Access, Caller
from app.problems import InvalidUpload, NoRoute, NotFound, Problem, TooLarge, Unprocessable, UnsupportedMediaType
from app.search.old_vectors import BodyRoutes, route_with_old_vectors
from app.search.plain_query import DEFAULT_K, PlainQuery
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.search.schemas import EXAMPLE, OLD_VECTOR, ROUTE, Filter, SearchAnswer, SearchAnswers, SearchRequest
from app.uploads import QueryVectors, decode_query_vector, media_types, vectors_of_lists

router = APIRouter(prefix="/search", tags=["search"])

WARNING = "Crosswalk-Warning"
"""The header that says what is wrong with a stream of queries, though each was answered."""

_K = Annotated[int, Query(ge=1, description="How many items to find.")]
_GALLERY = Annotated[ResourceId, Query(description="Where to search.", examples=["faq"])]
_ROUTE = Annotated[AskedRoute | None, Query(description=ROUTE)]
_MODEL = Annotated[ResourceId, Query(description="The model that made the query's vector.", examples=["tfidf-v1"])]
_FILTER = Annotated[
    str | None,
    Query(
        description='Which items may be found, as JSON: the `filter` of POST /search, like `{"labels":["billing"]}`.'
    ),
]
_NUMBERS = re.compile(rb"\[[0-9\s.,eE+-]*\]")


@router.get(
    "",
    summary="Search with one query",
    response_model=SearchAnswer,
    responses=problems(NotFound, NoRoute, Unprocessable),
)
async def search_one(
    gallery: _GALLERY,
    model: _MODEL,
    vector: Annotated[
        str,
        Query(
            description="base64url (with or without padding) of little-endian float32, or numbers with commas between, "
            "in brackets or not.",
            examples=["0.9,0.1,0.0,0.2"],
        ),
    ],
    parts: Parts,
    caller: Caller,
    k: _K = DEFAULT_K,
    route: _ROUTE = None,
    filter: _FILTER = None,
    old_vector: Annotated[str | None, Query(description=f"{OLD_VECTOR} Written as `vector`.")] = None,
) -> Response:
    """The nearest items, nearest first. The answer names the generation and the route that served it; where none leads
    from the query's model to the gallery, 409 says what would make one."""
    query = PlainQuery(gallery, model, vector, k, route)
    if old_vector is None:
        return await _answer_one(parts, caller, query, filter)
    caller.require_gallery(gallery)
    wanted = _filter(filter)
    named = route_with_old_vectors(route, given=True, parameter="old_vector")
    return await run_sync(_answer_fused, parts, caller, replace(query, route=named), old_vector, wanted)


@router.post(
    "",
    summary="Search with many queries",
    response_model=SearchAnswers,
    responses=problems(NotFound, NoRoute, Unprocessable, InvalidUpload, TooLarge, UnsupportedMediaType),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "JSON; or the vectors alone, as npy or as an Arrow stream or file or npz archive with a "
            "column `vector`, and perhaps one `old_vector`, with `gallery`, `model`, `k`, `route` and `filter` in the "
            "URL.",
            "content": {
                media_types.JSON: {
                    "schema": SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
                    "example": EXAMPLE,
                },
                media_types.NPY: {"schema": {"type": "string", "format": "binary"}},
                media_types.NPZ: {"schema": {"type": "string", "format": "binary"}},
                media_types.ARROW: {"schema": {"type": "string", "format": "binary"}},
                media_types.ARROW_FILE: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def search_many(
    request: Request,
    parts: Parts,
    caller: Caller,
    gallery: Annotated[ResourceId | None, Query(description="Without JSON: where to search.")] = None,
    model: Annotated[ResourceId | None, Query(description="Without JSON: the queries' model.")] = None,
    # Swagger UI would send a default along, with JSON too.
    k: Annotated[int | None, Query(ge=1, description="Without JSON: how many items to find; 10.")] = None,
    route: _ROUTE = None,
    filter: _FILTER = None,
) -> Response:
    """The nearest items of each query, in the order of the queries."""
    content_type = request.headers.get("content-type", "")
    if media_types.is_json(content_type):
        media_types.refuse_encoded(request.headers.get("content-encoding"))
        for name in request.query_params:
            raise Unprocessable.at(f"With JSON, `{name}` is a member of the body, not of the URL.", parameter=name)
        body = _request(await request.body())
        caller.require_gallery(body.gallery)
        named = route_with_old_vectors(body.route, given=body.old_vectors is not None, pointer="/old_vectors")
        resolved = await run_sync(parts.search_resolver.resolve, body.gallery, body.model, named, caller)
        queries = _queries_of_lists(body, resolved)
        return await run_sync(_answer_many, parts, resolved, body.k, queries, body.filter)
    media_type = _media_type_of_queries(content_type)
    if gallery is None or model is None:
        raise Unprocessable("Vectors as npy, npz or Arrow need `gallery` and `model` in the URL.")
    caller.require_gallery(gallery)
    wanted = _filter(filter)
    async with parts.uploads.queries(request.stream(), request.headers) as decoded:
        ways_to = partial(BodyRoutes.of, columns=media_type != media_types.NPY)
        ways = await run_sync(ways_to, parts.search_resolver, gallery, model, route, caller)
        queries = await ways.decoded(decoded)
        resolved = ways.taken(queries)
    return await run_sync(_answer_many, parts, resolved, DEFAULT_K if k is None else k, queries, wanted)


async def _answer_one(parts: Crosswalk, caller: Access, query: PlainQuery, filter: str | None = None) -> Response:
    """The answer to one query, with the filter of its URL."""
    caller.require_gallery(query.gallery)
    wanted = _filter(filter)
    route_with_old_vectors(query.route, given=False, parameter="old_vector")
    if wanted is None:
        answer = await parts.single_queries.answer(query, caller)
    else:
        answer = await run_sync(parts.single_queries.answer_filtered, query, caller, wanted)
    return _json(answer.body, answer.warning)


def _answer_fused(
    parts: Crosswalk, caller: Access, query: PlainQuery, old_vector: str, wanted: Filter | None
) -> Response:
    """The answer to one query that comes with the old model's vector, as its URL writes it; for a thread of its own."""
    resolved = parts.search_resolver.resolve(query.gallery, query.model, query.route, caller)
    vectors = decode_query_vector(query.vector, resolved.dimension)[None, :]
    queries = QueryVectors(vectors, decode_query_vector(old_vector, resolved.old_dimension, "old_vector")[None, :])
    answers = parts.search.search(resolved, query.k, queries.vectors, wanted, queries.old_vectors)
    return _json(answers.one_to_json(0), _watch(parts, resolved, queries))


def _answer_many(
    parts: Crosswalk, resolved: ResolvedSearch, k: int, queries: QueryVectors, wanted: Filter | None
) -> Response:
    """The answers to all queries; for a thread of its own."""
    answers = parts.search.search(resolved, k, queries.vectors, wanted, queries.old_vectors)
    return _json(answers.to_json(), _watch(parts, resolved, queries))


def _queries_of_lists(body: SearchRequest, resolved: ResolvedSearch) -> QueryVectors:
    vectors = vectors_of_lists(body.vectors, resolved.dimension)
    if body.old_vectors is None:
        return QueryVectors(vectors)
    if len(body.old_vectors) != len(body.vectors):
        raise Unprocessable.at(
            f"`old_vectors` has {len(body.old_vectors)} vectors, and `vectors` {len(body.vectors)}: each query needs "
            "one of either.",
            pointer="/old_vectors",
        )
    return QueryVectors(vectors, vectors_of_lists(body.old_vectors, resolved.old_dimension, "old_vector"))


def _watch(parts: Crosswalk, resolved: ResolvedSearch, queries: QueryVectors) -> str | None:
    """Takes note of queries; what is wrong with the streams of them, if anything is."""
    seen = [(resolved.queries, queries.vectors), (resolved.old_queries, queries.old_vectors)]
    warnings = [
        parts.streams.saw(("queries", resolved.gallery.id, space.model), vectors)
        for space, vectors in seen
        if space is not None and vectors is not None
    ]
    return " ".join(warning for warning in warnings if warning is not None) or None


def _json(body: bytes, warning: str | None) -> Response:
    """An answer, and in a header that the last queries did not look like their model's, where they did not."""
    return Response(body, headers=None if warning is None else {WARNING: warning}, media_type=media_types.JSON)


def _media_type_of_queries(content_type: str) -> str:
    """The media type of a body that is no JSON.

    Raises UnsupportedMediaType, which names JSON too: forgotten by the header, it is what most bodies are.
    """
    try:
        return media_types.accepted(content_type, media_types.QUERIES)
    except UnsupportedMediaType:
        sent = f"has Content-Type {content_type[:80]!r}" if content_type else "has no Content-Type"
        taken = [media_types.JSON, *media_types.QUERIES]
        raise UnsupportedMediaType(f"The body {sent}; send one of {', '.join(taken)}.", accepted=taken) from None


def _request(body: bytes) -> SearchRequest:
    try:
        request = SearchRequest.model_validate_json(utf8(body))
    except ValidationError as error:
        if error.errors()[0]["type"] == "string_unicode":
            check_json(body)  # which names the place
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
    # Millions of numbers need no second look, and would take the most of its time.
    check_json(_NUMBERS.sub(b"[]", body))
    return request


def _filter(text: str | None) -> Filter | None:
    """The filter of a URL, by the rules of one in a body."""
    if text is None:
        return None
    try:
        wanted = Filter.model_validate_json(text)
        check_json(text.encode())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"/{step}" for step in first["loc"])
        raise _wrong_filter(f"{place}: {first['msg']}" if place else first["msg"]) from None
    except Problem as problem:
        raise _wrong_filter(problem.detail) from None
    return wanted


def _wrong_filter(message: str) -> Unprocessable:
    return Unprocessable.at(
        f"`filter` is no filter in JSON: {message.rstrip('.')}.", parameter="filter", message=message
    )
