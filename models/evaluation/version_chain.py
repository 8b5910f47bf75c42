"""Chains of model versions: the compatibility matrix, average compatibility (AC) and average multi-model accuracy (AM).

M(i, j) is a retrieval metric with queries of version i against a gallery of version j, the oldest version first; cells
above the diagonal are not read. Cells that could not be measured are NaN: each average is over the measured ones, whose
number is given with it.
Source: AC, Biondi et al., "CoReS: Compatible Representations via Stationarity" (TPAMI 2023); AM, Biondi et al., "CL2R:
Compatible Lifelong Learning Representations" (TOMM 2022), whose lower triangle has its diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.json_values import plain


@dataclass(frozen=True)
class ChainScores:
    """AC and AM of `versions` models, each None where none of its cells was measured.

    ac: the share of pairs i > j with M(i, j) > M(j, j); ac_or_equal: with ≥ (papers' code uses either); over
    `pairs_counted` of `pairs`, those with both cells measured. am: the mean of the lower triangle with its diagonal,
    over `cells_counted` of `cells`. missing: (i, j) of the cells not measured.
    """

    versions: int
    ac: float | None
    ac_or_equal: float | None
    pairs_counted: int
    pairs: int
    am: float | None
    cells_counted: int
    cells: int
    missing: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON values."""
        scores: dict[str, Any] = plain(self)
        return scores


def chain_scores(matrix: NDArray[np.float64]) -> ChainScores:
    """AC = 2/(T(T−1))·Σ_{i>j} 1[M(i, j) > M(j, j)] and AM = 2/(T(T+1))·Σ_{i≥j} M(i, j), over measured cells.

    matrix: (T, T) float64, M(i, j) in row i, NaN where not measured. Raises ValueError for another shape or for T = 0.
    """
    versions = len(matrix)
    if matrix.ndim != 2 or matrix.shape != (versions, versions) or versions == 0:
        raise ValueError(f"a compatibility matrix is (T, T) with T at least 1, not {matrix.shape}")
    lower = np.tril_indices(versions)
    cells, newer, older = matrix[lower], *np.tril_indices(versions, -1)
    measured = np.isfinite(cells)
    cross, own = matrix[newer, older], matrix[older, older]
    both = np.isfinite(cross) & np.isfinite(own)
    return ChainScores(
        versions=versions,
        ac=_mean(cross[both] > own[both]),
        ac_or_equal=_mean(cross[both] >= own[both]),
        pairs_counted=int(both.sum()),
        pairs=len(both),
        am=_mean(cells[measured]),
        cells_counted=int(measured.sum()),
        cells=len(cells),
        missing=tuple((int(i), int(j)) for i, j in np.argwhere(~np.isfinite(matrix)) if i >= j),
    )


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
