"""What every index engine does, and the plain data that goes in and comes out.

A score has one meaning per metric, whatever the engine:

| metric | score | nearer is |
|---|---|---|
| cosine | cosine similarity, in [-1, 1] | higher |
| ip | inner product | higher |
| l2 | Euclidean distance, not squared | lower |

An index holds unit rows where its metric is cosine, and the rows as given otherwise. A search may ask for another score
over those same rows (`score_as`), as a query pushed into the old space does (METHODS section 6): a cosine index serves
`cosine`, `ip` and `l2`, where the last two take the query as it is; the others serve `ip` and `l2`.

A zero vector has no direction, so in a cosine index it ranks after every other row, whatever the score, and its score
is the worst a unit row could get: -1 under cosine, -‖q‖ under ip, ‖q‖ + 1 under l2.

Ties in the score go to the smaller row id. Scores are float32: a square or product under 1e-38 counts as 0.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from app.vectors import LONGEST as LONGEST
from models.portable import Distance

Kind = Literal["flat", "hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq"]
AskedKind = Literal["auto", Kind]
RowIds = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

PADDING = -1
_FEW = 1000  # rows
_MILLION = 1_000_000
_RECALL, _RECALL_ABOVE = 0.99, 0.95
WORST: dict[Distance, float] = {"cosine": -np.inf, "ip": -np.inf, "l2": np.inf}


class CorruptIndex(Exception):
    """A published index is not what its manifest says: build it anew from the store."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a gallery is indexed. Raises ValueError where a parameter is out of its range.

    kind: `flat` compares with every row; `hnsw` walks a graph of `m` links per row, built with a beam of
    `ef_construction` and searched with one of `ef_search`; `ivf_flat` compares with the rows of the `nprobe` nearest of
    `nlist` clusters, `ivf_sq8` with a byte for each of their components before the vectors themselves, and `ivf_rabitq`
    with a bit for each; `auto` is flat up to `exact_rows` rows, and above what is faster: flat, or hnsw up to
    `graph_rows` rows and then ivf_sq8 (`app.index.trial`). Under 1,000 rows every kind is flat. Left out, `nlist` is
    4·√rows, and `nprobe` or `ef_search` the smallest whose measured recall@10 reaches `recall`; that, left out, is 0.99
    up to a million rows and 0.95 above.
    """

    kind: AskedKind = "auto"
    exact_rows: int = 5_000
    graph_rows: int = 2_000_000
    nlist: int | None = None
    nprobe: int | None = None
    m: int = 16
    ef_construction: int = 100
    ef_search: int | None = None
    recall: float | None = None

    def __post_init__(self) -> None:
        kinds = ("auto", *get_args(Kind))
        if self.kind not in kinds:
            raise ValueError(f"kind is one of {', '.join(kinds)}, not {self.kind!r}")
        _within("exact_rows", self.exact_rows, 0, 2**40)
        _within("graph_rows", self.graph_rows, 0, 2**40)
        _within("nlist", self.nlist, 1, 2**20)
        _within("nprobe", self.nprobe, 1, self.nlist or 2**20)
        _within("m", self.m, 2, 256)
        _within("ef_construction", self.ef_construction, 1, 4096)
        _within("ef_search", self.ef_search, 1, 4096)
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ValueError(f"recall lies in (0, 1], not {self.recall}")

    def kind_for(self, rows: int) -> Kind:
        """The kind an index of so many rows gets, unless `auto` finds that flat is faster."""
        if rows < _FEW or (self.kind == "auto" and rows <= self.exact_rows):
            return "flat"
        if self.kind == "auto":
            return "hnsw" if rows <= self.graph_rows else "ivf_sq8"
        return self.kind

    def effort_for(self, kind: Kind) -> int | None:
        """The effort that an index of a kind is searched with, where that is fixed."""
        return self.ef_search if kind == "hnsw" else self.nprobe

    def nlist_for(self, rows: int) -> int:
        """How many clusters an inverted file of so many rows has."""
        return min(rows, self.nlist or math.ceil(4 * math.sqrt(rows)))

    def recall_for(self, rows: int) -> float:
        """The recall that an index of so many rows is tuned to reach."""
        return self.recall or (_RECALL if rows <= _MILLION else _RECALL_ABOVE)


def _within(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} lies in [{low}, {high}], not {value}")


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest rows of m queries, nearest first.

    rows: (m, k) int64 row ids; -1 pads where fewer than k rows can be found. scores: (m, k) float32; padding has the
    worst score there is, -inf or, under l2, +inf.
    """

    rows: RowIds
    scores: Vectors


@dataclass(frozen=True, slots=True)
class Held:
    """What an index holds of n rows.

    vectors: (n, d) float32, unit under cosine; zeros for a row that cannot be found. versions: (n,) int64, the store
    version as of which the index holds each; -1 where it cannot be found. A row of the same version is the same row.
    """

    vectors: Vectors
    versions: RowIds


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes an index occupies: `mapped` from files, which the system may drop and read again, and `resident`."""

    mapped: int
    resident: int


class VectorIndex(Protocol):
    """A searchable set of vectors, each under the 64-bit row id that its store gives it.

    Searches may run in many threads while another writes; each sees the state after some write, never half of one, and
    a write is seen by every search that begins after it returned. A query's rows and scores do not depend on the
    queries that it came in with.
    """

    @property
    def metric(self) -> Distance:
        """The index's own distance, by which rows are compared unless a search names another."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    @property
    def version(self) -> int:
        """The store version that the index has caught up with."""

    @property
    def scores(self) -> frozenset[Distance]:
        """The distances that a search can name in `score_as`."""

    def __len__(self) -> int:
        """How many rows can be found."""

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        score_as: Distance | None = None,
        allowed: RowIds | None = None,
        effort: int | None = None,
    ) -> Hits:
        """The k nearest rows of each query, among the rows `allowed` where given.

        queries: (m, d) float32, m >= 0, finite, none longer than LONGEST; under cosine of any length but zero.
        score_as: one of `scores`; left out, the index's metric. allowed: (a,) row ids in any order; unknown ones are
        ignored. effort: the nprobe or ef_search of an approximate index, for queries that it was not tuned for.
        Raises ValueError where an argument is otherwise.
        """

    def versions(self, rows: RowIds) -> RowIds:
        """The store version as of which each of the rows (n,) is held, (n,) int64; -1 where it cannot be found."""

    def versions_found(self, rows: RowIds) -> RowIds:
        """As `versions`, of rows (n,) of which each was found by a search since the last write: in less time, since
        those that nothing was written to since the index was published are not looked up."""

    def held(self, rows: RowIds) -> Held:
        """Vector and version held of each of the rows (n,) int64, in their order; a row may come twice."""

    def apply(self, rows: RowIds, vectors: Vectors, removed: RowIds, *, version: int) -> None:
        """Everything that the store did up to `version`, at once: takes rows out, then `upsert`s others."""

    def upsert(self, rows: RowIds, vectors: Vectors, *, version: int) -> None:
        """Adds rows, or replaces those of the same id, as the store did in `version`.

        rows: (n,) int64, not negative, no id twice. vectors: (n, d) float32, finite, none longer than LONGEST; zero
        rows are legal. version: not below the index's own. Raises ValueError where an argument is otherwise; nothing
        is changed then.
        """

    def remove(self, rows: RowIds, *, version: int) -> None:
        """Takes rows out, as the store did in `version`; unknown ids are ignored. Raises ValueError as `upsert`."""

    def memory(self) -> MemoryUse:
        """Bytes that the index occupies now."""
