"""Queries that come with the old model's vectors, which decides how they are answered.

In a URL and in JSON it is seen at once whether they come along; a column of a body is seen when the body is decoded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from app.keys.access import Access
from app.problems import NoRoute, Problem, Unprocessable
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.uploads import QueryVectors


class Resolver(Protocol):
    """What resolves searches: `SearchResolver`, and `KeptResolutions` before it."""

    def resolve(self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access) -> ResolvedSearch:
        """Raises NotFound and NoRoute."""


def route_with_old_vectors(
    route: AskedRoute | None, *, given: bool, parameter: str | None = None, pointer: str | None = None
) -> AskedRoute | None:
    """The route that a request asks for. given: whether old vectors come along, in a parameter of the URL or a member
    of a body at a JSON pointer.

    Raises Unprocessable where they come along and another route is named, or `fused` is named and they do not.
    """
    if given and route not in (None, "fused"):
        raise Unprocessable.at(_other_route(route), pointer=pointer, parameter=parameter)
    if not given and route == "fused":
        raise Unprocessable.at(
            "Route `fused` scores items by both models: send the old model's vector of each query too.",
            pointer=pointer,
            parameter=parameter,
        )
    return "fused" if given else route


@dataclass(frozen=True)
class BodyRoutes:
    """How queries of a body are answered, without and with a column of old vectors; each a problem where they cannot
    be."""

    plain: ResolvedSearch | Problem
    fused: ResolvedSearch | Problem

    @classmethod
    def of(
        cls,
        resolver: Resolver,
        gallery: str,
        model: str,
        route: AskedRoute | None,
        caller: Access,
        *,
        columns: bool,
    ) -> BodyRoutes:
        """Both ways to a gallery, as far as the route that the request names and the body's format allow them.

        columns: whether the format can have a second column. Raises NotFound, and NoRoute where neither can be.
        """
        plain: ResolvedSearch | Problem = Unprocessable(
            "Route `fused` scores items by both models: a column `old_vector` is missing. npy holds one array alone: "
            "send Arrow, npz or JSON.",
            errors=[{"column": "old_vector", "message": "is missing"}],
        )
        if route != "fused":
            plain = _resolved_or_problem(resolver, gallery, model, route, caller)
        if route == "fused" or (route is None and columns):
            fused = _resolved_or_problem(resolver, gallery, model, "fused", caller)
        else:
            message = "npy has no columns" if route is None else _other_route(route)
            fused = Unprocessable(message, errors=[{"column": "old_vector", "message": "is not taken"}])
        if isinstance(plain, Problem) and not isinstance(fused, ResolvedSearch):
            raise fused if route == "fused" else plain
        return cls(plain, fused)

    @property
    def dimension(self) -> int:
        """Of the queries' vectors."""
        way = self.fused if isinstance(self.fused, ResolvedSearch) else self.plain
        if isinstance(way, Problem):  # `of` has raised it
            raise way
        return way.dimension

    async def decoded(self, decode: Callable[[int, int | None], Awaitable[QueryVectors]]) -> QueryVectors:
        """The queries, by what decodes them, given the dimensions of their vectors and of the old ones.

        Raises what decoding raises, and, for old vectors that nothing leads to the gallery, the problem of that.
        """
        if isinstance(self.fused, ResolvedSearch):
            return await decode(self.dimension, self.fused.old_dimension)
        try:
            return await decode(self.dimension, None)
        except Unprocessable as wrong:
            if any(error.get("column") == "old_vector" for error in wrong.members.get("errors", [])):
                raise self.fused from None
            raise

    def taken(self, queries: QueryVectors) -> ResolvedSearch:
        """The way that these queries take. Raises the problem of why there is none."""
        way = self.plain if queries.old_vectors is None else self.fused
        if isinstance(way, Problem):
            raise way
        return way


def _resolved_or_problem(
    resolver: Resolver, gallery: str, model: str, route: AskedRoute | None, caller: Access
) -> ResolvedSearch | Problem:
    try:
        return resolver.resolve(gallery, model, route, caller)
    except NoRoute as problem:
        return problem


def _other_route(route: AskedRoute | None) -> str:
    return f"The old model's vectors are for route `fused`, and this request names `{route}`. Leave one of them out."
