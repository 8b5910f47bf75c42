"""What is checked of every request before its route is asked: that nothing in it is passed over, and all of it is text.

A parameter that is not known, or given twice, a body that is not read, half an emoji: each would be answered as if it
were not there, or fail far inside. FastAPI looks at none of them. Here they are refused, with the place named, by one
dependency of the application, so that no route can forget.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import get_args
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.json_text import check_json, fault_of_text
from app.problems import BadRequest, NotFound, Unprocessable
from app.uploads import media_types

_NO_BODY = (b"", b"{}")
_SHOWN = 80
_WRITTEN = {
    int: (re.compile(r"-?[0-9]+"), "is no whole number in digits, such as 10"),
    float: (re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"), "is no number in decimal digits, such as 0.5"),
}
"""How the values of query parameters that are numbers are written, and what is said of others. pydantic reads more:
`1_0`, `2.0` as a whole number, `nan`, a blank before it, digits of other scripts."""


class RequestChecks:
    """The dependency. It remembers the parameters of the routes that it has seen."""

    def __init__(self) -> None:
        self._parameters: dict[str, tuple[tuple[str, ...], dict[str, type[int] | type[float]]]] = {}

    async def __call__(self, request: Request) -> None:
        route = request.scope["route"]
        if not isinstance(route, APIRoute):
            raise TypeError(f"{route!r} is no route of FastAPI: nothing could be checked of its requests")
        _check_path(request)
        if request.scope["query_string"]:
            self._check_query(request, route)
        await _check_body(request, route)

    def _check_query(self, request: Request, route: APIRoute) -> None:
        if route.unique_id not in self._parameters:  # at once: applications in other threads ask the same dependency
            names = tuple(dict.fromkeys(query_parameters(route.dependant)))
            self._parameters[route.unique_id] = names, dict(_numbers(route.dependant))
        known, numbers = self._parameters[route.unique_id]
        given: set[str] = set()
        for name, value in _query(request.scope["query_string"]):
            if name not in known:
                raise Unprocessable.at(_unknown(request, name, known), parameter=name[:_SHOWN], message="is not known")
            if name in given:
                raise Unprocessable.at(
                    f"The query parameter `{name}` is given more than once; give it once.",
                    parameter=name,
                    message="is given more than once",
                )
            if fault := fault_of_text(value) or (name in numbers and _fault_of_number(value, numbers[name])):
                raise Unprocessable.at(f"The query parameter `{name}` {fault}.", parameter=name, message=fault)
            given.add(name)


def query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names of the query parameters that a route takes, itself or by what it depends on."""
    for field in dependant.query_params:
        yield field.alias
    for one in dependant.dependencies:
        yield from query_parameters(one)


def _numbers(dependant: Dependant) -> Iterator[tuple[str, type[int] | type[float]]]:
    """Those of the query parameters that are numbers, each with its type."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        for kind in _WRITTEN:
            if annotation is kind or kind in get_args(annotation):
                yield field.alias, kind
    for one in dependant.dependencies:
        yield from _numbers(one)


def _fault_of_number(value: str, kind: type[int] | type[float]) -> str | None:
    written, fault = _WRITTEN[kind]
    return None if written.fullmatch(value) else fault


def takes_body(route: APIRoute) -> bool:
    """Whether the route reads a body, as FastAPI or by itself, which its documentation says."""
    return route.body_field is not None or "requestBody" in (route.openapi_extra or {})


def _check_path(request: Request) -> None:
    """Starlette reads what is no UTF-8 as U+FFFD, which is a character like others, and may be in an id."""
    try:
        path = unquote_to_bytes(request.scope.get("raw_path") or request.scope["path"]).decode()
    except UnicodeDecodeError:
        raise BadRequest("The path is not UTF-8: percent-encode the bytes of UTF-8.") from None
    if "\0" in path:
        raise NotFound("No id holds the NUL character.")


def _query(query: bytes) -> Iterator[tuple[str, str]]:
    for pair in filter(None, query.split(b"&")):
        name, _, value = (part.replace(b"+", b" ") for part in pair.partition(b"="))
        text = unquote_to_bytes(name).decode(errors="replace")
        try:
            yield unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            message = "is not UTF-8"
            raise Unprocessable.at(
                f"The query parameter `{text[:_SHOWN]}` {message}: percent-encode the bytes of UTF-8.",
                parameter=text[:_SHOWN],
                message=message,
            ) from None


def _unknown(request: Request, name: str, known: tuple[str, ...]) -> str:
    text = f"{request.method} {request.url.path[:_SHOWN]} takes no query parameter `{name[:_SHOWN]}`."
    if near := get_close_matches(name[:_SHOWN], known, n=1):
        text += f" Did you mean `{near[0]}`?"
    return f"{text} It takes {', '.join(f'`{each}`' for each in known)}." if known else f"{text} It takes none."


async def _check_body(request: Request, route: APIRoute) -> None:
    if not takes_body(route):
        announced = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        if announced and (await request.body()).strip() not in _NO_BODY:
            raise Unprocessable.at(
                f"{request.method} {request.url.path[:_SHOWN]} takes no body. What it is to do is said in the URL.",
                pointer="",
                message="is not taken here",
            )
        return
    content_type = request.headers.get("content-type")
    media_types.refuse_charset(content_type)
    media_types.refuse_patch_format(content_type)
    # Any other type is refused by the route, whatever the body is.
    if route.body_field is not None and media_types.is_json(content_type) and (body := await request.body()):
        check_json(body)
