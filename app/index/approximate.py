"""Finding candidates without looking at every row: an inverted file, or a graph.

Both propose from the vectors of a snapshot, by position; `exact.nearest` scores what they propose. What they trade
recall for is their effort: `nprobe`, or `ef_search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from app.index.exact import Propose
from app.index.graph import Graph
from app.index.inverted_file import InvertedFile, QuantisedFile
from app.index.protocol import Kind, MemoryUse, Vectors
from app.index.rabitq import RaBitQFile
from models.portable import Distance


class Approximate(Protocol):
    """A structure over n vectors that proposes candidates at an effort of choice."""

    def add(self, vectors: Vectors) -> None:
        """Takes in vectors (m, d) float32 at positions n … n + m - 1."""

    def efforts(self) -> Iterator[int]:
        """The efforts worth trying, rising; not from 1, as queries may lie further out than the rows it is tuned on."""

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        """A fast pass for `count` selected rows; None where looking at each of them is the better way.

        Where they are not all, the effort is raised so that as many of them are looked at.
        """

    def write(self, path: Path) -> None: ...

    def memory(self) -> MemoryUse: ...


BUILT: dict[Kind, type[InvertedFile] | type[Graph]] = {
    "ivf_flat": InvertedFile,
    "ivf_sq8": QuantisedFile,
    "ivf_rabitq": RaBitQFile,
    "hnsw": Graph,
}
