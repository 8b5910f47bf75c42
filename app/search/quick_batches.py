"""`POST /search` of queries in npy where there is nothing to say about its parameters, answered without the routes
being asked, which takes longer than all else that is done in the event loop for it."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.filters import filter_of_url
from app.http.problem_answers import answering_problems
from app.keys.access import IN_SCOPE
from app.keys.admission import refuse_unruled
from app.search.plain_query import PlainQuery, plain_query
from app.search.routes import answer_npy, router
from app.uploads import media_types

_PATH = router.prefix
_QUERY = "crosswalk.plain_batch"
_CONTENT_TYPE, _CONTENT_ENCODING = b"content-type", b"content-encoding"
_NPY = [media_types.NPY.encode()]
_ANY_VECTOR = b"&vector=0"


class QuickBatches:
    """Middleware, innermost: answers plain queries in npy by itself, and leaves everything else to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._quick = answering_problems(_answer)
        (self._route,) = (
            route for route in router.routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and get_route_path(scope) == _PATH:
            query = plain_batch(scope)
            if query is not None:
                scope[_QUERY] = query
                scope["route"] = self._route  # by which it is ruled and measured
                await self._quick(scope, receive, send)
                return
        await self._app(scope, receive, send)


def plain_batch(scope: Scope) -> PlainQuery | None:
    """What the URL says of queries in npy; None where their type is another, or anything needs a second look.

    It may say of them what it may say of a single query, but for the vector.
    """
    headers = scope["headers"]
    types = [value for name, value in headers if name == _CONTENT_TYPE]
    if types != _NPY or any(name == _CONTENT_ENCODING for name, _ in headers):
        return None
    return plain_query({"headers": [], "query_string": scope["query_string"] + _ANY_VECTOR})


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    await refuse_unruled(request)
    query, caller = scope[_QUERY], scope[IN_SCOPE]
    caller.require_gallery(query.gallery)
    response = await answer_npy(scope["app"].state.crosswalk, caller, query, request, filter_of_url(query.filter))
    await response(scope, receive, send)
