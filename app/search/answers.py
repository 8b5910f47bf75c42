"""What a search found, and its JSON: put together from what each item says, which is written once and kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic_core import to_json

from app.index import PADDING, Hits, VectorIndex
from app.search.found_items import FoundItem
from app.search.routing import RouteName
from models.portable import Space


@dataclass(frozen=True)
class ShownVectors:
    """The vectors of items found, as the index holds them. model: whose space they are in; by_row: each as JSON."""

    model: str
    by_row: Mapping[int, bytes]

    @classmethod
    def of(cls, hits: Hits, index: VectorIndex, space: Space) -> ShownVectors:
        """Those of the rows of hits in an index of the space."""
        rows = np.unique(hits.rows[hits.rows != PADDING])
        vectors = index.held(rows).vectors
        return cls(
            space.model, {row: to_json(vector.tolist()) for row, vector in zip(rows.tolist(), vectors, strict=True)}
        )


@dataclass(frozen=True)
class Answers:
    """The answers to a search's queries. hits: rows and scores, padded; items: what each row that was found is.

    The other members are those of `schemas.Answered`; `to_json` and `one_to_json` write what `schemas.SearchAnswers`
    and `schemas.SearchAnswer` describe, without the time that pydantic takes to look at each hit again. group_size: of
    answers that are grouped by label, which `schemas.GroupedAnswers` describes: of so many hits each is a group's.
    shown: the items' vectors, where they are shown.
    """

    gallery: str
    model: str
    generation: int
    route: RouteName
    exact: bool
    note: str | None
    hits: Hits
    items: Mapping[int, FoundItem]
    group_size: int | None = None
    shown: ShownVectors | None = None

    def to_json(self) -> bytes:
        """The answers to all queries, in UTF-8."""
        return b'%s,"%s":[%s]}' % (
            self._head(),
            self._member,
            b",".join(self._found(query) for query in self._queries()),
        )

    def one_to_json(self, query: int) -> bytes:
        """The answer to one of the queries, as if it had come alone, in UTF-8."""
        return b'%s,"%s":%s}' % (self._head(), self._member, self._found(query))

    def _queries(self) -> range:
        return range(len(self.hits.rows))

    def _head(self) -> bytes:
        """The object without its last member and its closing brace."""
        said = {
            "gallery": self.gallery,
            "model": self.model,
            "generation": self.generation,
            "route": self.route,
            "exact": self.exact,
            "note": self.note,
        }
        if self.shown is not None:
            said["vectors_model"] = self.shown.model
        return to_json(said)[:-1]

    @property
    def _member(self) -> bytes:
        return b"results" if self.group_size is None else b"groups"

    def _found(self, query: int) -> bytes:
        """What was found for one query as a JSON array: hits, or groups of them."""
        rows = self.hits.rows[query].tolist()
        scores = to_json(self.hits.scores[query].tolist(), inf_nan_mode="null")[1:-1].split(b",")
        if self.group_size is None:
            return self._listed(rows, scores)
        groups = [
            b'{"label":%s,"results":%s}'
            % (to_json(self.items[rows[at]].label), self._listed(rows[at:end], scores[at:end]))
            for at in range(0, len(rows), self.group_size)
            if rows[at] != PADDING
            for end in (at + self.group_size,)
        ]
        return b"[%s]" % b",".join(groups)

    def _listed(self, rows: list[int], scores: list[bytes]) -> bytes:
        """Hits as a JSON array."""
        found = [
            b"%s%s%s" % (self.items[row].before_score, score, self.items[row].after_score)
            for row, score in zip(rows, scores, strict=True)
            if row != PADDING
        ]
        if self.shown is not None:
            vectors = (self.shown.by_row[row] for row in rows if row != PADDING)
            found = [b'%s,"vector":%s}' % (hit[:-1], vector) for hit, vector in zip(found, vectors, strict=True)]
        return b"[%s]" % b",".join(found)
