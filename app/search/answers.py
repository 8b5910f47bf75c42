"""What a search found, and its JSON: put together from what each item says, which is written once and kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic_core import to_json

from app.index import PADDING, Hits, VectorIndex, Vectors
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
        pieces = [self._head, b',"%s":' % self._member]
        scores = _written(self.hits.scores.ravel())
        if self.group_size is None and self.shown is None and self.hits.rows.size and PADDING not in self.hits.rows:
            pieces += self._whole(scores)
            return b"".join(pieces)
        k, start = self.hits.rows.shape[1], b"["
        for query, rows in enumerate(self.hits.rows.tolist()):
            pieces.append(start)
            self._add_found(pieces, rows, scores[query * k : (query + 1) * k])
            start = b","
        pieces.append(b"[]}" if start == b"[" else b"]}")
        return b"".join(pieces)

    def one_to_json(self, query: int) -> bytes:
        """The answer to one of the queries, as if it had come alone, in UTF-8."""
        pieces = [self._head, b',"%s":' % self._member]
        self._add_found(pieces, self.hits.rows[query].tolist(), _written(self.hits.scores[query]))
        pieces.append(b"}")
        return b"".join(pieces)

    def _whole(self, scores: list[bytes]) -> list[bytes]:
        """The answers from their first bracket on, as pieces, where k hits were found for every query and neither are
        grouped nor show vectors: as most are, and thousands of hits are not gone through one by one."""
        queries, k = self.hits.rows.shape
        items = list(map(self.items.__getitem__, self.hits.rows.ravel().tolist()))
        between = [b","] * len(items)
        between[::k] = [b"],["] * queries
        between[0] = b"[["
        pieces = between * 4  # to be written over
        pieces[::4], pieces[2::4] = between, scores
        pieces[1::4] = [item.before_score for item in items]
        pieces[3::4] = [item.after_score for item in items]
        pieces.append(b"]]}")
        return pieces

    @cached_property
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

    def _add_found(self, pieces: list[bytes], rows: list[int], scores: list[bytes]) -> None:
        """Adds what was found for one query as pieces of a JSON array: of hits, or of groups of them."""
        if self.group_size is None:
            self._add_hits(pieces, rows, scores)
            return
        start = b"["
        for at in range(0, len(rows), self.group_size):
            if rows[at] != PADDING:
                end = at + self.group_size
                pieces += (start, b'{"label":', to_json(self.items[rows[at]].label), b',"results":')
                self._add_hits(pieces, rows[at:end], scores[at:end])
                pieces.append(b"}")
                start = b","
        pieces.append(b"[]" if start == b"[" else b"]")

    def _add_hits(self, pieces: list[bytes], rows: list[int], scores: list[bytes]) -> None:
        """Adds hits as pieces of a JSON array."""
        items, shown, start = self.items, self.shown, b"["
        for row, score in zip(rows, scores, strict=True):
            if row != PADDING:
                item = items[row]
                pieces += (start, item.before_score, score, item.after_score)
                if shown is not None:
                    pieces[-1:] = item.after_score[:-1], b',"vector":', shown.by_row[row], b"}"
                start = b","
        pieces.append(b"[]" if start == b"[" else b"]")


def _written(scores: Vectors) -> list[bytes]:
    """Each of the scores (n,) as JSON; those of padding are null."""
    return to_json(scores.tolist(), inf_nan_mode="null")[1:-1].split(b",")
