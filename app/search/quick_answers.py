"""`GET /search`, and `POST /search` of queries in npy, where there is nothing to say about their parameters, answered
without the routes being asked.

FastAPI and Starlette take longer to find a route, and to open and close what they keep for one, than a search takes.
What is not understood here goes on to the route, which answers the same, or what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.composition import Crosswalk
from app.filters import filter_of_url
from app.http.plain_requests import FAILED, Failed
from app.http.problem_answers import answering_problems
from app.keys.access import IN_SCOPE, Access
from app.keys.admission import refuse_unruled
from app.search.old_vectors import route_with_old_vectors
from app.search.plain_query import PlainQuery, plain_batch, plain_query
from app.search.routes import WARNING, answer_npy, router
from app.search.single_queries import SingleAnswer
from app.uploads import media_types

_PATH = router.prefix
_ERROR = "crosswalk.quick_answer_error"
_CONTENT_TYPE = (b"content-type", media_types.JSON.encode())


@dataclass(frozen=True)
class _Quick:
    """What a method's plain queries are read and answered by. route: by which they are ruled and measured."""

    read: Callable[[Scope], PlainQuery | None]
    answer: Callable[[PlainQuery, Access, Request, Send], Awaitable[None]]
    route: APIRoute


class QuickAnswers:
    """Middleware, innermost: answers plain queries by itself, and leaves everything else to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answer_problem = answering_problems(_raise)
        routes = {
            method: route for route in router.routes if isinstance(route, APIRoute) for method in route.methods or ()
        }
        self._quick = {
            "GET": _Quick(plain_query, _answer_one, routes["GET"]),
            "POST": _Quick(plain_batch, _answer_batch, routes["POST"]),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and get_route_path(scope) == _PATH:
            quick = self._quick.get(scope["method"])
            query = None if quick is None else quick.read(scope)
            if quick is not None and query is not None:
                scope["route"] = quick.route
                try:
                    request = Request(scope, receive)
                    await refuse_unruled(request)
                    failed: Failed | None = scope.get(FAILED)
                    if failed is not None:
                        raise failed.error
                    await quick.answer(query, scope[IN_SCOPE], request, send)
                except Exception as error:
                    scope[_ERROR] = error
                    await self._answer_problem(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    error: Exception = scope.pop(_ERROR)
    raise error


def _crosswalk(request: Request) -> Crosswalk:
    crosswalk: Crosswalk = request.app.state.crosswalk
    return crosswalk


async def _answer_one(query: PlainQuery, caller: Access, request: Request, send: Send) -> None:
    answer = await begin_plain(_crosswalk(request), query, caller)
    await send({"type": "http.response.start", "status": 200, "headers": headers_of(answer)})
    await send({"type": "http.response.body", "body": answer.body})


def begin_plain(crosswalk: Crosswalk, query: PlainQuery, caller: Access) -> asyncio.Future[SingleAnswer]:
    """The answer to a single query, once it is there. To be called in the event loop. Raises Problem."""
    caller.require_gallery(query.gallery)
    wanted = filter_of_url(query.filter)
    route_with_old_vectors(query.route, given=False, parameter="old_vector")
    return crosswalk.single_queries.begin(query, caller, wanted)


def headers_of(answer: SingleAnswer) -> list[tuple[bytes, bytes]]:
    """The headers that an answer's route sends with it."""
    headers = [(b"content-length", b"%d" % len(answer.body)), _CONTENT_TYPE]
    if answer.warning is not None:
        headers.append((WARNING.lower().encode(), answer.warning.encode("latin-1")))
    return headers


async def _answer_batch(query: PlainQuery, caller: Access, request: Request, send: Send) -> None:
    caller.require_gallery(query.gallery)
    answer = await answer_npy(_crosswalk(request), caller, query, request, filter_of_url(query.filter))
    await answer(request.scope, request.receive, send)
