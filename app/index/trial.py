"""Whether an approximate index answers sooner than comparing with every row does: measured, not told by the size.

A graph tuned to a recall looks at few rows where vectors lie in clusters, as embeddings do, and at most of them where
vectors have no structure; comparing with every row takes the same for both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from app.index.approximate import Approximate
from app.index.block import VectorBlock
from app.index.exact import Propose, one_thread
from app.index.manifest import Manifest, Trial, Tuned
from app.index.protocol import IndexOptions, Kind, Vectors
from models.portable import Distance

_NEIGHBOURS = 10
_SECONDS = 5.0  # of the processor, after which enough queries were timed
_LEAST_QUERIES = 16
_GAIN = 1.25  # times as fast as comparing with every row an index must be, to take its place
_TRIED_AGAIN = 2  # times the rows that it was too slow for


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` goes by. before: the index that is to be replaced, if it was made by the same options.

    What was chosen before is kept where the two are about as fast: an approximate index until it is slower than
    comparing with every row, and that until the other is faster by a fourth, which is tried only as the rows double.
    """

    options: IndexOptions
    before: Manifest | None

    @classmethod
    def of(cls, options: IndexOptions, before: Manifest | None) -> Choice:
        return cls(options, before if before is not None and before.options == options else None)

    def kind_to_build(self, rows: int) -> Kind:
        """The kind that an index of so many rows is built as, and perhaps tried."""
        kind = self.options.kind_for(rows)
        kept = self.kept_trial
        if self.options.kind == "auto" and kept is not None and kept.kind == kind and rows < _TRIED_AGAIN * kept.rows:
            return "flat"
        return kind

    @property
    def kept_trial(self) -> Trial | None:
        """The trial after which comparing with every row was chosen, if it was."""
        return self.before.trial if self.before is not None and self.before.kind == "flat" else None

    def takes(self, trial: Trial) -> bool:
        """Whether the approximate index that was tried is taken."""
        has = self.before is not None and self.before.kind == trial.kind
        return trial.ms * (1.0 if has else _GAIN) <= trial.exact_ms


def tried(
    approximate: Approximate, block: VectorBlock, queries: Vectors, kind: Kind, tuned: Tuned, metric: Distance
) -> Trial:
    """How long one query takes, with the approximate index as it was tuned and by comparing with every row of a block.

    queries: (m, d) float32 as indexed, m > 0, one at a time, which take turns; medians of the thread's own processor
    time, which other work on the machine disturbs little.
    """
    ways = approximate.propose(metric, tuned.effort, block.ranked.count), None
    times: tuple[list[float], list[float]] = [], []

    def timed(query: Vectors, propose: Propose | None) -> float:
        began = time.thread_time()
        block.search(query, _NEIGHBOURS, metric, propose)
        return time.thread_time() - began

    with one_thread():
        for way in ways:
            timed(queries[:1], way)  # reads what is not in memory yet
        for place in range(len(queries)):
            for way, taken in zip(ways, times, strict=True):
                taken.append(timed(queries[place : place + 1], way))
            if sum(map(sum, times)) > _SECONDS and place >= _LEAST_QUERIES:
                break
    ms, exact_ms = (round(1e3 * float(np.median(taken)), 4) for taken in times)
    return Trial(kind, block.ranked.count, tuned.effort, tuned.recall, ms, exact_ms)
