"""Whatever goes wrong, the client gets an `application/problem+json` answer that says what, and nothing internal."""

import json
import math
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.json_text import pointer_step, why_unreadable
from app.problems import (
    MEDIA_TYPE,
    BadRequest,
    DamagedArtifact,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooLarge,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)
from app.redaction import redacted, redacted_path
from app.storage.away import is_away
from app.storage.disk import disk_problem
from app.storage.object_store import store_problem
from app.storage.table_files import TableGone, failed_table
from app.uploads import media_types
from app.validation import WRONG
from models.portable import ArtifactError

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ERRORS_SHOWN = 20
_LOGGED = "crosswalk.logged"
"""The member of the ASGI scope that holds the error that was logged already, on its way out of a half-sent answer."""
_OF_A_MEMBER = ("missing", WRONG)
"""The types of validation errors whose path ends in the name of a member, which the body may lack."""
_SAID = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
    "dict_type": "Input should be an object",
}
"""What is said of validation errors, by type, where pydantic speaks of its own ways or of Python."""
_BY_STATUS: Mapping[int, type[Problem]] = {
    kind.status: kind for kind in (BadRequest, NotFound, MethodNotAllowed, TooLarge, UnsupportedMediaType)
}

log = structlog.get_logger(__name__)


def answer_problems(app: FastAPI) -> None:
    """Has every error that a route of `app` raises answered as a problem."""
    for kind, handler in _handlers().items():
        app.add_exception_handler(kind, handler)


def answering_problems(app: ASGIApp) -> ASGIApp:
    """What answers the errors that a route outside of FastAPI raises, as those of FastAPI's are."""
    return ExceptionMiddleware(app, handlers=_handlers())


def _handlers() -> dict[Any, Callable[[Request, Exception], Any]]:
    return {
        Problem: _problem,
        TableGone: _gone,
        ArtifactError: _corrupt,
        PoolTimeout: _no_connection,
        DBAPIError: _database,
        RequestValidationError: _invalid,
        HTTPException: _http,
    }


def answer(problem: Problem, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that a problem makes."""
    body = problem.to_json(instance=redacted_path(request.url.path)) | {
        "type": prefix(request) + problem.type_uri(),
        "request_id": getattr(request.state, "request_id", None),
    }
    text = redacted(json.dumps(_writable(body), ensure_ascii=False, allow_nan=False, default=str))
    # What UTF-8 cannot write (a lone surrogate that the client sent) becomes \udXXX, which is JSON's own escape.
    return Response(text.encode("utf-8", "backslashreplace"), problem.status, headers or problem.headers, MEDIA_TYPE)


def ended_before() -> Unavailable:
    """What is answered where the service ends, after it has waited for a request for as long as it waits."""
    return Unavailable(
        "The service ended before this request was done; it may have been done all the same. Try again in a moment: "
        "what writes can be done twice (a POST that starts work needs its Idempotency-Key)."
    )


def prefix(request: Request) -> str:
    """The path under which a proxy shows the service to this client; empty where none does."""
    root_path: str = request.scope.get("root_path", "")
    return root_path


class LastResort:
    """Middleware: answers what the middleware and routes within it raise. A Problem is answered as what it is, as are a
    full or failing disk, and a table that was deleted meanwhile; any other error is logged with its traceback, and
    answered without it.

    It stands twice: within CrossOrigin, so that a web page may read its answers, and around all that can fail.
    data_dir: the folder that a failing disk most likely is about.
    """

    def __init__(self, app: ASGIApp, data_dir: Path) -> None:
        self.app = app
        self.data_dir = data_dir

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.info("the client went away in the middle of its request")
        except CancelledError:
            if not started:
                await answer(ended_before(), Request(scope))(scope, receive, send)
            raise
        except Exception as error:
            if isinstance(error, Problem) and not started:
                await answer(error, Request(scope))(scope, receive, send)
                return
            if scope.get(_LOGGED) is error:
                raise
            if not started and (deleted := await _deleted_since(Request(scope), error)) is not None:
                await answer(deleted, Request(scope))(scope, receive, send)
                return
            disk = store_problem(error) or disk_problem(error, self.data_dir)
            if disk is None:
                log.exception("unhandled error")
            else:
                log.error(disk.detail, error=repr(error))
            if started:
                scope[_LOGGED] = error
                raise  # the answer is half sent: only breaking the connection tells the client
            if disk is not None:
                await answer(disk, Request(scope))(scope, receive, send)
                return
            failure = InternalError(
                "The service failed while answering. Its log has the details, under the request_id."
            )
            await answer(failure, Request(scope))(scope, receive, send)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error, request)


def _gone(request: Request, error: Exception) -> Response:
    """Which of several things that means, the database knows; asked in a thread, as this is no coroutine."""
    assert isinstance(error, TableGone)
    return answer(request.app.state.why_gone(error), request)


async def _deleted_since(request: Request, error: Exception) -> Problem | None:
    """The problem where an error came of a table that was deleted meanwhile; None where it did not, or where the
    database cannot be asked."""
    if (table := failed_table(error)) is None:
        return None
    try:
        deleted: Problem | None = await run_in_threadpool(request.app.state.deleted_since, table)
    except Exception as not_known:  # what went wrong first tells more
        log.warning("it is not known whether what failed was deleted", table=table, error=repr(not_known))
        return None
    return deleted


async def _corrupt(request: Request, error: Exception) -> Response:
    log.error("an artifact cannot be used", error=str(error), path=request.url.path)
    return answer(DamagedArtifact(f"What an upgrade learned cannot be used: {error}."), request)


async def _no_connection(request: Request, error: Exception) -> Response:
    log.error("every connection to the database is taken", error=str(error), path=request.url.path)
    problem = Unavailable("Every connection to the database is taken. Try again in a moment.")
    return answer(problem, request)


async def _database(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)
    if not is_away(error):
        raise error
    log.error("the database is away", error=repr(error.orig), path=request.url.path)
    problem = Unavailable(
        "The database cannot be reached, or was lost in the middle of this request. Try again in a moment: what writes "
        "may have been done, and doing it again is harmless (a POST that starts work needs its Idempotency-Key)."
    )
    return answer(problem, request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(_from_validation(error, request), request)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):  # raised while FastAPI was reading the body
        return answer(error.__cause__, request)
    if error.status_code == NotFound.status:
        return answer(NotFound(f"There is nothing at {request.url.path}. GET /docs shows what there is."), request)
    if error.status_code == MethodNotAllowed.status:
        return _another_method(request)
    if error.status_code == BadRequest.status and error.__cause__ is not None:
        return answer(_unreadable(request, f"The body {why_unreadable(error.__cause__)}."), request)
    kind = _BY_STATUS.get(error.status_code, BadRequest if error.status_code < 500 else InternalError)
    return answer(kind(str(error.detail)), request, error.headers)


def _another_method(request: Request) -> Response:
    """OPTIONS asks which methods there are; any other method, which none of them is, is told."""
    methods = _allowed(request)
    # HEAD is answered wherever GET is.
    allowed = [name for method in methods for name in (("GET", "HEAD") if method == "GET" else (method,))]
    headers = {"Allow": ", ".join([*allowed, "OPTIONS"])}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return answer(
        MethodNotAllowed(f"{request.url.path} takes {', '.join(methods)}, not {request.method}."), request, headers
    )


def _from_validation(error: RequestValidationError, request: Request) -> Problem:
    faults = error.errors()
    first = faults[0]
    if first["type"] == "json_invalid":
        place = first["loc"][-1]  # "body" where the error itself says the line and column
        position = f", at character {place}" if isinstance(place, int) else ""
        return _unreadable(request, f"The body is not valid JSON: {first['ctx']['error']}{position}.")
    if isinstance(error.body, bytes) and error.body and any(fault["loc"] == ("body",) for fault in faults):
        sent = request.headers.get("content-type")
        return UnsupportedMediaType(
            f"The body has Content-Type {sent[:80]!r}; send application/json."
            if sent
            else "The body has no Content-Type; send application/json."
        )
    errors = _innermost([_place_and_message(fault, error.body) for fault in faults])
    count = "One thing is" if len(errors) == 1 else f"{len(errors)} things are"
    where = errors[0].get("pointer") or errors[0].get("parameter")
    return Unprocessable(
        f"{count} wrong with the request{', first' if len(errors) > 1 else ''}: {where or 'the body'}: "
        f"{errors[0]['message']}.",
        errors=errors[:_ERRORS_SHOWN],
    )


def _innermost(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    """Leaves out what is said of an object in which another error lies: of a member that may be a word or an object,
    and is an object, pydantic says what is wrong inside, and that it is none of the words."""
    around: set[str] = set()
    for error in errors:
        pointer = error.get("pointer", "")
        around.update(pointer[:end] for end, sign in enumerate(pointer) if sign == "/" and end > 0)
    return [error for error in errors if error.get("pointer") not in around]


def _place_and_message(fault: Mapping[str, Any], body: Any) -> dict[str, str]:
    """An entry of `errors`: where (a JSON pointer into the body, or a parameter's name) and what, never the input."""
    place, *path = fault["loc"]
    message = _SAID.get(fault["type"], str(fault["msg"]))
    if place == "body":
        if isinstance(body, (dict, list)):
            path = _members(path, body, missing=fault["type"] in _OF_A_MEMBER)
        return {"pointer": "".join(f"/{pointer_step(str(step))}" for step in path), "message": message}
    return {"parameter": ".".join(map(str, path)), "message": message}


def _members(path: Sequence[str | int], body: Any, *, missing: bool) -> list[str | int]:
    """The steps of a path that lead into the body: pydantic puts the names of a union's choices between them.

    missing: the last step is the name of a member that the body lacks.
    """
    steps: list[str | int] = []
    for place, step in enumerate(path):
        inside = step in body if isinstance(body, dict) else isinstance(body, list) and step in range(len(body))
        if inside:
            body = body[step]
        elif not (place == len(path) - 1 and isinstance(body, dict) and missing):
            continue
        steps.append(step)
    return steps


def _unreadable(request: Request, detail: str) -> Problem:
    """The body is no JSON; where it is compressed, that is what is wrong with it."""
    try:
        media_types.refuse_encoded(request.headers.get("content-encoding"))
    except UnsupportedMediaType as problem:
        return problem
    return BadRequest(detail)


def _allowed(request: Request) -> list[str]:
    """Every method that some route takes at this path: the router stops at the first route with the path."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _writable(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _writable(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(member) for member in value]
    return value
