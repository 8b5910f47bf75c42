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
from app.filters import IN_TEXT, Filter, filter_of_body, filter_of_url, with_filter
from app.http.openapi import problems
from app.ids import ResourceId
from app.json_text import check_json, utf8
from app.keys.access import Access, Caller
from app.problems import InvalidUpload, ItemsElsewhere, NoRoute, NotFound, TooLarge, Unprocessable, UnsupportedMediaType
from app.search.old_vectors import BodyRoutes, route_with_old_vectors
from app.search.options import NO_OPTIONS, Asking, GroupBy, LikeItems, SearchOptions, refuse_unless_one
from app.search.plain_query import DEFAULT_K, PlainQuery
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.search.schemas import (
    EXAMPLE,
    GROUP_BY,
    GROUP_SIZE,
    LIKE,
    MAX_DISTANCE,
    MIN_SCORE,
    OLD_VECTOR,
    ROUTE,
    WITH_VECTORS,
    GroupedAnswer,
    GroupedAnswers,
    SearchAnswer,
    SearchAnswers,
    SearchRequest,
)
from app.uploads import QueryVectors, decode_query_vector, media_types, vectors_of_lists
from app.wording import count_of

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
        description="Which items may be found, as JSON: the `filter` of POST /search, like "
        '`{"label":{"eq":"billing"},"payload.price":{"lt":10}}`.',
        json_schema_extra=IN_TEXT,
    ),
]
_MIN_SCORE = Annotated[float | None, Query(allow_inf_nan=False, description=MIN_SCORE)]
_MAX_DISTANCE = Annotated[float | None, Query(allow_inf_nan=False, description=MAX_DISTANCE)]
_GROUP_BY = Annotated[GroupBy | None, Query(description=GROUP_BY)]
_GROUP_SIZE = Annotated[int | None, Query(ge=1, description=GROUP_SIZE)]
_WITH_VECTORS = Annotated[bool | None, Query(description=WITH_VECTORS)]
_STRINGS_AND_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|\[[0-9\s.,eE+-]*\]', re.DOTALL)


@router.get(
    "",
    summary="Search with one query",
    response_model=SearchAnswer | GroupedAnswer,
    responses=problems(NotFound, NoRoute, ItemsElsewhere, Unprocessable),
)
async def search_one(
    gallery: _GALLERY,
    model: _MODEL,
    parts: Parts,
    caller: Caller,
    vector: Annotated[
        str | None,
        Query(
            # Not as an example, which Swagger UI would fill in, and who asks for what is `like` an item had to empty.
            description="base64url (with or without padding) of little-endian float32, or numbers with commas between, "
            "in brackets or not: `0.9,0.1,0.0,0.2`. Needed without `like`.",
        ),
    ] = None,
    like: Annotated[str | None, Query(description=f"An item's id, such as `q-1`. {LIKE}")] = None,
    k: _K = DEFAULT_K,
    route: _ROUTE = None,
    filter: _FILTER = None,
    old_vector: Annotated[str | None, Query(description=f"{OLD_VECTOR} Written as `vector`.")] = None,
    min_score: _MIN_SCORE = None,
    max_distance: _MAX_DISTANCE = None,
    with_vectors: _WITH_VECTORS = None,
    group_by: _GROUP_BY = None,
    group_size: _GROUP_SIZE = None,
) -> Response:
    """The nearest items, nearest first. The answer names the generation and the route that served it; where none leads
    from the query's model to the gallery, 409 says what would make one."""
    asking = Asking()
    refuse_unless_one(asking, "vector", vector, like, old_vector)
    options = SearchOptions.of(
        asking,
        min_score=min_score,
        max_distance=max_distance,
        with_vectors=with_vectors,
        group_by=group_by,
        group_size=group_size,
    )
    query = PlainQuery(gallery, model, vector or "", k, route, filter)
    if like is None and old_vector is None and route != "reranked" and options == SearchOptions.of(asking):
        return await _answer_one(parts, caller, query)
    caller.require_gallery(gallery)
    wanted = filter_of_url(filter)
    if like is not None:
        examples = LikeItems([like], asking)
        return await run_sync(_answer_like, parts, caller, query, examples, wanted, options, True)
    named = route_with_old_vectors(route, given=old_vector is not None, parameter="old_vector")
    return await run_sync(_answer_special, parts, caller, replace(query, route=named), old_vector, wanted, options)


@router.post(
    "",
    summary="Search with many queries",
    response_model=SearchAnswers | GroupedAnswers,
    responses=problems(NotFound, NoRoute, ItemsElsewhere, Unprocessable, InvalidUpload, TooLarge, UnsupportedMediaType),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "JSON; or the vectors alone, as npy or as an Arrow stream or file or npz archive with a "
            "column `vector`, and perhaps one `old_vector`, with `gallery`, `model`, `k`, `route`, `filter` and "
            "all else but `like` in the URL.",
            "content": {
                media_types.JSON: {
                    "schema": with_filter(SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}")),
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
    min_score: _MIN_SCORE = None,
    max_distance: _MAX_DISTANCE = None,
    with_vectors: _WITH_VECTORS = None,
    group_by: _GROUP_BY = None,
    group_size: _GROUP_SIZE = None,
) -> Response:
    """The nearest items of each query, in the order of the queries."""
    content_type = request.headers.get("content-type", "")
    if media_types.is_json(content_type):
        media_types.refuse_encoded(request.headers.get("content-encoding"))
        for name in request.query_params:
            raise Unprocessable.at(f"With JSON, `{name}` is a member of the body, not of the URL.", parameter=name)
        body = _request(await request.body())
        return await _answer_json(parts, caller, body)
    media_type = _media_type_of_queries(content_type)
    if gallery is None or model is None:
        raise Unprocessable("Vectors as npy, npz or Arrow need `gallery` and `model` in the URL.")
    caller.require_gallery(gallery)
    wanted = filter_of_url(filter)
    options = SearchOptions.of(
        Asking(),
        min_score=min_score,
        max_distance=max_distance,
        with_vectors=with_vectors,
        group_by=group_by,
        group_size=group_size,
    )
    if media_type == media_types.NPY:
        query = PlainQuery(gallery, model, "", DEFAULT_K if k is None else k, route)
        return await answer_npy(parts, caller, query, request, wanted, options)
    async with parts.uploads.queries(request.stream(), request.headers) as decoded:
        ways_to = partial(BodyRoutes.of, columns=True)
        ways = await run_sync(ways_to, parts.search_resolver, gallery, model, route, caller)
        queries = await ways.decoded(decoded)
        resolved = ways.taken(queries)
    return await run_sync(_answer_many, parts, resolved, DEFAULT_K if k is None else k, queries, wanted, options)


async def answer_npy(
    parts: Crosswalk,
    caller: Access,
    query: PlainQuery,
    request: Request,
    wanted: Filter | None,
    options: SearchOptions = NO_OPTIONS,
) -> Response:
    """The answers to the queries of a body in npy. query: what the URL says of them."""
    decode = await parts.uploads.npy_queries(request.stream(), request.headers)

    def answered() -> Response:  # once the last of a slow body has come, and in one thread
        resolver = parts.search_resolver
        ways = BodyRoutes.of(resolver, query.gallery, query.model, query.route, caller, columns=False)
        queries = decode(ways.dimension)
        return _answer_many(parts, ways.taken(queries), query.k, queries, wanted, options)

    return await run_sync(answered)


async def _answer_json(parts: Crosswalk, caller: Access, body: SearchRequest) -> Response:
    """The answers to the queries of a body in JSON."""
    asking = Asking(in_body=True)
    wanted = None if body.filter is None else filter_of_body(body.filter)
    refuse_unless_one(asking, "vectors", body.vectors, body.like, body.old_vectors)
    options = SearchOptions.of(
        asking,
        min_score=body.min_score,
        max_distance=body.max_distance,
        with_vectors=body.with_vectors,
        group_by=body.group_by,
        group_size=body.group_size,
    )
    caller.require_gallery(body.gallery)
    if body.like is not None:
        query = PlainQuery(body.gallery, body.model, "", body.k, body.route)
        examples = LikeItems(body.like, asking)
        return await run_sync(_answer_like, parts, caller, query, examples, wanted, options, False)
    named = route_with_old_vectors(body.route, given=body.old_vectors is not None, pointer="/old_vectors")
    resolved = await run_sync(parts.search_resolver.resolve, body.gallery, body.model, named, caller)
    queries = _queries_of_lists(body.vectors or [], body.old_vectors, resolved)
    return await run_sync(_answer_many, parts, resolved, body.k, queries, wanted, options)


async def _answer_one(parts: Crosswalk, caller: Access, query: PlainQuery) -> Response:
    """The answer to one query that comes alone."""
    caller.require_gallery(query.gallery)
    wanted = filter_of_url(query.filter)
    route_with_old_vectors(query.route, given=False, parameter="old_vector")
    answer = await parts.single_queries.answer(query, caller, wanted)
    return _json(answer.body, answer.warning)


def _answer_special(
    parts: Crosswalk,
    caller: Access,
    query: PlainQuery,
    old_vector: str | None,
    wanted: Filter | None,
    options: SearchOptions,
) -> Response:
    """The answer to one query that comes with options, or with the old model's vector, as its URL writes it; for a
    thread of its own."""
    resolved = parts.search_resolver.resolve(query.gallery, query.model, query.route, caller)
    queries = QueryVectors(
        decode_query_vector(query.vector, resolved.dimension)[None, :],
        None if old_vector is None else decode_query_vector(old_vector, resolved.old_dimension, "old_vector")[None, :],
    )
    answers = parts.search.search(resolved, query.k, queries.vectors, wanted, queries.old_vectors, options)
    return _json(answers.one_to_json(0), _watch(parts, resolved, queries))


def _answer_like(
    parts: Crosswalk,
    caller: Access,
    query: PlainQuery,
    like: LikeItems,
    wanted: Filter | None,
    options: SearchOptions,
    alone: bool,
) -> Response:
    """What is like items of the gallery: one answer, or a list of them; for a thread of its own. query: all but its
    vector."""
    resolved = parts.search_resolver.resolve(query.gallery, query.model, query.route, caller, like=True)
    answers = parts.search.search_like(resolved, query.k, like, wanted, options)
    return _json(answers.one_to_json(0) if alone else answers.to_json(), None)


def _answer_many(
    parts: Crosswalk,
    resolved: ResolvedSearch,
    k: int,
    queries: QueryVectors,
    wanted: Filter | None,
    options: SearchOptions,
) -> Response:
    """The answers to all queries; for a thread of its own."""
    answers = parts.search.search(resolved, k, queries.vectors, wanted, queries.old_vectors, options)
    return _json(answers.to_json(), _watch(parts, resolved, queries))


def _queries_of_lists(
    vectors: list[list[float]], old_vectors: list[list[float]] | None, resolved: ResolvedSearch
) -> QueryVectors:
    decoded = vectors_of_lists(vectors, resolved.dimension)
    if old_vectors is None:
        return QueryVectors(decoded)
    if len(old_vectors) != len(vectors):
        raise Unprocessable.at(
            f"`old_vectors` has {count_of(len(old_vectors), 'vector')}, and `vectors` {len(vectors)}: each query needs "
            "one of either.",
            pointer="/old_vectors",
        )
    return QueryVectors(decoded, vectors_of_lists(old_vectors, resolved.old_dimension, "old_vector"))


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
        if error.errors()[0]["type"] in ("string_unicode", "json_invalid"):  # the latter of half a character, too
            check_json(body)  # which names the place
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
    # Millions of numbers need no second look, and would take the most of its time.
    check_json(_STRINGS_AND_NUMBERS.sub(lambda found: found[0] if found[0][:1] == b'"' else b"[]", body))
    return request
