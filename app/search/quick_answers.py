"""`GET /search` where there is nothing to say about its parameters, answered without the routes being asked.

FastAPI and Starlette take longer to find a route, and to open and close what they keep for one, than a search takes.
What is not understood here goes on to the route, which answers the same, or what is wrong.
"""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.composition import Crosswalk
from app.filters import filter_of_url
from app.http.problem_answers import answering_problems
from app.keys.access import IN_SCOPE
from app.keys.admission import refuse_unruled
from app.search.old_vectors import route_with_old_vectors
from app.search.plain_query import PlainQuery, plain_query
from app.search.routes import WARNING, router
from app.uploads import media_types

_PATH = router.prefix
_ERROR = "crosswalk.plain_query_error"
_CONTENT_TYPE = (b"content-type", media_types.JSON.encode())


class QuickAnswers:
    """Middleware, innermost: answers a plain query by itself, and leaves everything else to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answer_problem = answering_problems(_raise)
        (self._route,) = (
            route for route in router.routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and get_route_path(scope) == _PATH:
            query = plain_query(scope)
            if query is not None:
                scope["route"] = self._route  # by which it is ruled and measured
                try:
                    await _answer(query, scope, send)
                except Exception as error:
                    scope[_ERROR] = error
                    await self._answer_problem(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    error: Exception = scope.pop(_ERROR)
    raise error


async def _answer(query: PlainQuery, scope: Scope, send: Send) -> None:
    await refuse_unruled(Request(scope))
    crosswalk: Crosswalk = scope["app"].state.crosswalk
    caller = scope[IN_SCOPE]
    caller.require_gallery(query.gallery)
    wanted = filter_of_url(query.filter)
    route_with_old_vectors(query.route, given=False, parameter="old_vector")
    answer = await crosswalk.single_queries.answer(query, caller, wanted)
    headers = [(b"content-length", b"%d" % len(answer.body)), _CONTENT_TYPE]
    if answer.warning is not None:
        headers.append((WARNING.lower().encode(), answer.warning.encode("latin-1")))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
