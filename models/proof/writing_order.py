"""Gallery items written together resemble each other, and a query from outside has no such siblings in the gallery.

Items come in runs: one author's paraphrases, one shoot, one page. Judged by its own gallery, such an item finds its
siblings, and every measurement flatters. So the range of the dependence is measured, in the order of writing, and
within it rows are not searched when a row of the run is the query, and runs are held out whole (h-block
cross-validation: Burman, Chow and Nolan, Biometrika 81, 1994). Where the order says nothing, the range comes out as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.portable import Array, as_indexed

LONGEST = 50  # rows; dependence beyond is drift, not a run
SMALLEST_RUNS_PER_LABEL = 8
NEGLIGIBLE = 0.05  # of the excess similarity of adjacent rows
PROBES = 50_000


@dataclass(frozen=True)
class WritingOrder:
    """Rows in the order of writing within their label.

    row: (n,) int64, label after label; place: (N,) int64, where in `row` each gallery row stands, -1 for none;
    label: (n,) int64, the label code at each place.
    """

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    label: NDArray[np.int64]

    def within(self, rows: NDArray[np.int64], reach: int) -> NDArray[np.int64]:
        """Each row and the rows of its label written at most `reach` places away: (m, 2·reach + 1) int64, -1 for none.

        rows: (m,) int64 gallery rows, -1 for a row that is not in the gallery.
        """
        near = np.full((len(rows), 2 * reach + 1), -1, np.int64)
        near[:, reach] = rows
        placed = np.flatnonzero((rows >= 0) & (self.place[rows] >= 0))
        for offset in range(-reach, reach + 1):
            own = self.place[rows[placed]]
            other = own + offset
            inside = (other >= 0) & (other < len(self.row))
            inside[inside] = self.label[other[inside]] == self.label[own[inside]]
            near[placed[inside], reach + offset] = self.row[other[inside]]
        return near

    def runs(self, rows: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """A code for the run of `length` places that each row stands in: (m,) int64; a row without a place is a run."""
        codes = len(self.row) + np.arange(len(rows))
        placed = (rows >= 0) & (self.place[rows] >= 0)
        place = self.place[rows[placed]]
        first = np.searchsorted(self.label, self.label[place])
        codes[placed] = first + (place - first) // length * length
        return codes


def writing_order(codes: NDArray[np.int64]) -> WritingOrder:
    """The order within each label; codes: (N,) int64 label codes of the gallery's rows as written, -1 for none."""
    row = np.argsort(codes, kind="stable")
    row = row[codes[row] >= 0]
    place = np.full(len(codes), -1, np.int64)
    place[row] = np.arange(len(row))
    return WritingOrder(row, place, codes[row])


def dependence_range(vectors: Array, order: WritingOrder, *, seed: int = 0) -> int:
    """How many places apart rows of a label are still more alike than any two of its rows; 0 where order is noise.

    vectors: (N, d) float32, the gallery in the old space. Similarity is cosine; a lag counts while its excess over the
    label's mean similarity is significant (two standard errors) and above a twentieth of the excess of adjacent rows.
    """
    if len(order.row) < 2:
        return 0
    _, first, count = np.unique(order.label, return_index=True, return_counts=True)
    longest = min(LONGEST, int(np.median(count)) // SMALLEST_RUNS_PER_LABEL)
    rng = np.random.default_rng(seed)
    place = np.arange(len(order.row))
    if len(place) > PROBES:
        place = np.sort(rng.choice(place, PROBES, replace=False))
    label = np.searchsorted(first, place, side="right") - 1
    random = first[label] + (place - first[label] + rng.integers(1, np.maximum(count[label], 2))) % count[label]
    excess_next = 0.0
    for lag in range(1, longest + 1):
        later = place + lag
        same = later < len(order.row)
        same[same] = order.label[later[same]] == order.label[place[same]]
        gap = _cosine(vectors, order.row[place[same]], order.row[later[same]]) - _cosine(
            vectors, order.row[place[same]], order.row[random[same]]
        )
        excess, error = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
        excess_next = excess_next or excess
        if excess <= max((3 if lag == 1 else 2) * error, NEGLIGIBLE * excess_next):
            return lag - 1
    return longest


def _cosine(vectors: Array, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32]:
    """The cosine similarity of vectors[a[i]] and vectors[b[i]], for every i: (m,)."""
    products = np.empty(len(a), np.float32)
    for start in range(0, len(a), 8192):
        part = slice(start, start + 8192)
        left, right = (as_indexed(np.asarray(vectors[i[part]], np.float32), "cosine") for i in (a, b))
        products[part] = np.einsum("ij,ij->i", left, right)
    return products
