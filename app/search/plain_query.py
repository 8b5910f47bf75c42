"""The parameters of a search read from its URL at once, where there is nothing to say about them.

FastAPI takes about as long to solve a route's parameters and dependencies as the search itself. What is not understood
here is no error: the route's own parameters decide then, and answer what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast, get_args
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from app.id_pattern import ID_PATTERN
from app.search.routing import AskedRoute
from app.uploads import media_types

DEFAULT_K = 10

_ID = re.compile(ID_PATTERN)
_K = re.compile("[1-9][0-9]{0,5}")
_VECTOR = re.compile(r"[A-Za-z0-9_=.,\[\]-]+")
_ROUTES = frozenset(get_args(AskedRoute)) - {"reranked"}  # which waits for an embedder
_BODY = {b"content-length", b"transfer-encoding"}
_FILTER = re.compile(r"[ -*,-~]+")  # without a plus, which stands for a blank in URLs
_NPY = [media_types.NPY.encode()]
_ANY_VECTOR = b"&vector=0"
_NEEDED, _TAKEN = {"gallery", "model", "vector"}, {"gallery", "model", "vector", "k", "route", "filter"}


@dataclass(frozen=True)
class PlainQuery:
    """One query, as a URL names it; vector and filter: as they are written there."""

    gallery: str
    model: str
    vector: str
    k: int
    route: AskedRoute | None
    filter: str | None = None


def plain_query(scope: Scope) -> PlainQuery | None:
    """What a request without a body asks for; None where anything needs a second look."""
    if any(name in _BODY for name, _ in scope["headers"]):
        return None
    given = _parameters(scope["query_string"])
    if given is None or not _NEEDED <= given.keys() <= _TAKEN:
        return None
    k, route, filter = given.get("k", str(DEFAULT_K)), given.get("route"), given.get("filter")
    if (
        _ID.fullmatch(given["gallery"])
        and _ID.fullmatch(given["model"])
        and _VECTOR.fullmatch(given["vector"])
        and _K.fullmatch(k)
        and (route is None or route in _ROUTES)
        and (filter is None or _FILTER.fullmatch(filter))
    ):
        named = cast("AskedRoute | None", route)
        return PlainQuery(given["gallery"], given["model"], given["vector"], int(k), named, filter)
    return None


def plain_batch(scope: Scope) -> PlainQuery | None:
    """What the URL says of queries in npy; None where their type is another, or anything needs a second look.

    It may say of them what it may say of a single query, but for the vector.
    """
    headers = scope["headers"]
    types = [value for name, value in headers if name == b"content-type"]
    if types != _NPY or any(name == b"content-encoding" for name, _ in headers):
        return None
    return plain_query({"headers": [], "query_string": scope["query_string"] + _ANY_VECTOR})


def _parameters(query: bytes) -> dict[str, str] | None:
    """The parameters by name; None where one is given twice, or is not in plain ASCII."""
    given: dict[str, str] = {}
    for pair in query.split(b"&"):
        name, sign, value = pair.partition(b"=")
        try:
            text = (unquote_to_bytes(value) if b"%" in value else value).decode("ascii")
            key = name.decode("ascii")
        except UnicodeDecodeError:
            return None
        if not sign or key in given:
            return None
        given[key] = text
    return given
