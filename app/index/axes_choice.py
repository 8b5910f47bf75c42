"""Whether rows are better searched by fewer coordinates first, and by how many: measured on a sample of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from app.index.block import VectorBlock, looked_at_closely
from app.index.exact import similarity_of
from app.index.leading import Axes
from app.index.protocol import Vectors
from models.portable import Distance

_EXPECTED_ROWS = 20_000  # as many as are searched so before an index holds them
_SAMPLE, _QUERIES, _ROWS = 256, 32, 4_096
_WIDTHS = (32, 64, 128)  # of reduced vectors: multiples of what a processor takes at once
_WORTH = 0.75  # of a comparison with whole vectors: what reduced ones may cost at most, to be of use
_K = 10
_SEED = 17


def choose_axes(
    alike: Vectors, block: VectorBlock, metric: Distance, kth: Callable[[Vectors, int, Distance], Vectors]
) -> Axes | None:
    """The axes by which a block is searched soonest; None where whole vectors are about as good.

    alike: (n, d) vectors such as queries are, as indexed. kth: the scores (m,) of what is found at place k for queries
    (m, d), in all that is searched: what is further away in this block need not be looked at. The same for the same
    vectors: what a width costs is counted, not timed.
    """
    if min(_WIDTHS) > _WORTH * alike.shape[1]:
        return None
    sample = alike[np.random.default_rng(_SEED).integers(len(alike), size=_SAMPLE)]
    score: Distance = "l2" if metric == "l2" else "ip"
    queries, rows = sample[:_QUERIES], block.vectors[:_ROWS]
    floors = similarity_of(kth(queries, _K, score), score)
    expected = max(_EXPECTED_ROWS, block.ranked.count)
    best: Axes | None = None
    least = _WORTH
    for width in _WIDTHS:
        share = width / alike.shape[1]
        if share >= least:
            break
        axes = Axes.of(sample, width - 1)
        near = _similarities(axes.reduce(queries), axes.reduce(rows), score) >= floors[:, None]
        unsure = (near.mean(axis=1) * expected > looked_at_closely(_K)).mean()  # compared by whole vectors as well
        if share + unsure < least:
            best, least = axes, share + float(unsure)
    return best


def _similarities(queries: Vectors, rows: Vectors, score: Distance) -> npt.NDArray[np.float64]:
    """(m, n): inner products, or squared distances negated."""
    products = (queries @ rows.T).astype(np.float64)
    if score != "l2":
        return products
    of_queries, of_rows = (np.square(part, dtype=np.float64).sum(axis=1) for part in (queries, rows))
    return np.asarray(2 * products - of_queries[:, None] - of_rows, np.float64)
