"""What a search found, and its JSON: put together from what each item says, which is written once and kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import to_json

from app.index import PADDING, Hits
from app.search.found_items import FoundItem
from app.search.routing import RouteName


@dataclass(frozen=True)
class Answers:
    """The answers to a search's queries. hits: rows and scores, padded; items: what each row that was found is.

    The other members are those of `schemas.Answered`; `to_json` and `one_to_json` write what `schemas.SearchAnswers`
    and `schemas.SearchAnswer` describe, without the time that pydantic takes to look at each hit again.
    """

    gallery: str
    model: str
    generation: int
    route: RouteName
    exact: bool
    note: str | None
    hits: Hits
    items: Mapping[int, FoundItem]

    def to_json(self) -> bytes:
        """The answers to all queries, in UTF-8."""
        return b'%s,"results":[%s]}' % (self._head(), b",".join(self._listed(query) for query in self._queries()))

    def one_to_json(self, query: int) -> bytes:
        """The answer to one of the queries, as if it had come alone, in UTF-8."""
        return b'%s,"results":%s}' % (self._head(), self._listed(query))

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
        return to_json(said)[:-1]

    def _listed(self, query: int) -> bytes:
        """The hits of one query as a JSON array."""
        rows = self.hits.rows[query].tolist()
        scores = to_json(self.hits.scores[query].tolist(), inf_nan_mode="null")[1:-1].split(b",")
        found = [
            b"%s%s%s" % (self.items[row].before_score, score, self.items[row].after_score)
            for row, score in zip(rows, scores, strict=True)
            if row != PADDING
        ]
        return b"[%s]" % b",".join(found)
