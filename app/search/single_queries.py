"""Queries that come one by one: searched one by one, or together where many come at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.filters import Filter
from app.keys.access import Access
from app.overload.gathering import Gathering
from app.overload.threads import search_threads
from app.problems import Problem
from app.search.kept_resolutions import KeptResolutions
from app.search.plain_query import PlainQuery
from app.search.resolution import ResolvedSearch
from app.search.routing import AskedRoute
from app.search.service import Search
from app.short_calls import leave_event_loop
from app.spaces.watch import StreamWatch
from app.uploads import decode_query_vector

_MOST_TOGETHER = 32


@dataclass(frozen=True)
class SingleAnswer:
    """The JSON of `schemas.SearchAnswer`, and what is wrong with the stream of queries, if anything is."""

    body: bytes
    warning: str | None


@dataclass(frozen=True)
class _Alike:
    """What queries must have in common to be searched together."""

    gallery: str
    model: str
    k: int
    route: AskedRoute | None
    caller: Access
    only: Filter | None


def _short(alike: _Alike) -> bool:
    """Filters are worked out anew after each write, and may read all items."""
    return alike.only is None


class SingleQueries:
    """Answers single queries. A query's answer does not depend on those that it was searched together with."""

    def __init__(
        self, resolver: KeptResolutions, search: Search, streams: StreamWatch, most: int, most_numbers: int
    ) -> None:
        """most: how many queries one search takes. most_numbers: how many items all its answers together hold."""
        self._resolver = resolver
        self._search = search
        self._streams = streams
        self._most_numbers = most_numbers
        self._gathering = Gathering(
            self._together, os.cpu_count() or 1, min(most, _MOST_TOGETHER), search_threads(), _short
        )

    async def answer(self, query: PlainQuery, caller: Access, only: Filter | None) -> SingleAnswer:
        """Among the items that a filter lets through, if one is given: that of the query, read.

        Raises as `resolve`, `decode_query_vector` and `Search.search`.
        """
        return await self.begin(query, caller, only)

    def begin(self, query: PlainQuery, caller: Access, only: Filter | None) -> asyncio.Future[SingleAnswer]:
        """What `answer` is going to say. To be called in the event loop; cancelled, it may not be searched for."""
        alike = _Alike(query.gallery, query.model, query.k, query.route, caller, only)
        return self._gathering.begin(alike, query.vector)

    def _together(self, alike: _Alike, texts: Sequence[str]) -> list[SingleAnswer | Exception]:
        """The answer to each of the vectors, as they are written in URLs, or what is wrong with it."""
        answers: list[SingleAnswer | Exception | None] = [None] * len(texts)
        vectors: dict[int, np.ndarray] = {}
        try:
            resolved = self._resolver.resolve(alike.gallery, alike.model, alike.route, alike.caller)
            for place, text in enumerate(texts):
                try:
                    vectors[place] = decode_query_vector(text, resolved.dimension)
                except Problem as problem:
                    answers[place] = problem
            places = list(vectors)
            stacked = np.array([vectors[place] for place in places], np.float32).reshape(
                len(places), resolved.dimension
            )
            directed = stacked.any(axis=1)
            step = max(1, self._most_numbers // alike.k)
            if len(places) > step or not directed.all():
                leave_event_loop()  # of several searches, one that takes long would have the others noted twice
            # Of a vector without a direction, the search itself may have something to say.
            for at in np.flatnonzero(~directed).tolist():
                try:
                    (answers[places[at]],) = self._searched(resolved, alike.k, stacked[at : at + 1], alike.only)
                except Problem as problem:
                    answers[places[at]] = problem
            rest = np.flatnonzero(directed)
            for start in range(0, len(rest), step):
                part = rest[start : start + step]
                found = self._searched(resolved, alike.k, stacked[part], alike.only)
                for at, answer in zip(part.tolist(), found, strict=True):
                    answers[places[at]] = answer
        except Exception as error:  # which is of none of the vectors, and so of all
            return [answer or error for answer in answers]
        return [answer for answer in answers if answer is not None]

    def _searched(
        self, resolved: ResolvedSearch, k: int, vectors: np.ndarray, only: Filter | None
    ) -> list[SingleAnswer]:
        answers = self._search.search(resolved, k, vectors, only)
        warning = self._streams.saw(("queries", resolved.gallery.id, resolved.queries.model), vectors)
        return [SingleAnswer(answers.one_to_json(query), warning) for query in range(len(vectors))]
