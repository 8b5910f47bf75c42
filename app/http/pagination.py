"""Lists, a page at a time. A cursor names the last row of the page before, so rows written meanwhile shift nothing."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from starlette._utils import get_route_path

from app.problems import BadRequest

T = TypeVar("T")
_LONGEST_CURSOR = 2048


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: Annotated[
        str | None, Field(description="`cursor` of the next page; null on the last one.", examples=[None])
    ]


@dataclass(frozen=True)
class PageRequest:
    """Which page of which list: up to `limit` rows after the one whose key is `after`."""

    path: str
    limit: int
    after: str | None

    def page(self, rows_after: Callable[[str | None, int], list[T]], key: Callable[[T], str]) -> Page[T]:
        """The page, from a function that lists rows in order of their `key`."""
        rows = rows_after(self.after, self.limit + 1)
        items = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(items=items, next_cursor=_cursor(self.path, key(items[-1])) if more else None)


def rows_seen(
    rows_after: Callable[[str | None, int], list[T]], key: Callable[[T], str], seen: Callable[[T], bool]
) -> Callable[[str | None, int], list[T]]:
    """What lists the rows that are `seen`, out of what lists all of them in order of their `key`."""

    def seen_after(after: str | None, limit: int) -> list[T]:
        found: list[T] = []
        while len(found) < limit:
            rows = rows_after(after, limit)
            found += [row for row in rows if seen(row)]
            if len(rows) < limit:
                break
            after = key(rows[-1])
        return found[:limit]

    return seen_after


def _page_request(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most rows on one page.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=_LONGEST_CURSOR, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    path = get_route_path(request.scope)  # so that a cursor is the same behind a proxy
    return PageRequest(path, limit, None if cursor is None else _key(path, cursor))


Paging = Annotated[PageRequest, Depends(_page_request)]
"""What a route that lists takes: `paging.page(service.rows_after, key=…)`."""


def _cursor(path: str, key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([path, key]).encode()).decode().rstrip("=")


def _key(path: str, cursor: str) -> str:
    """The key in a cursor of the list at `path`. Raises BadRequest for anything that this list did not hand out."""
    try:
        listed, key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        listed, key = None, None
    if listed != path or not isinstance(key, str) or not key.isprintable():
        raise BadRequest(
            f"This cursor was not handed out by {path}. Take `next_cursor` of a page of this list, or leave it out to "
            "begin at the first page.",
            parameter="cursor",
        )
    return key
