"""Names for arrays that modules hand to each other, and the callback that tells of progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Figures that are worked with in full precision."""

Floats32 = NDArray[np.float32]
"""Vectors, as stored and as networks take them."""

Codes = NDArray[np.int64]
"""(n,) numbers of classes or groups in place of their names; -1 for none."""

RowNumbers = NDArray[np.int64]
"""Places of rows in an array."""

Labels = NDArray[Any]
"""(n,) labels, strings or integers; None for a row without one."""

Scores = NDArray[np.float64]
"""(queries, 4), a column for each metric of `models.proof.inputs.METRICS`, NaN where one was not measured."""

Known = NDArray[np.bool_] | None
"""(n,) which rows' side-information is their own and not a guess; None for all."""

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

ONE_STANDARD_ERROR = 0.6827
"""Confidence of the interval that reaches one standard error to either side of a mean."""


def silent(done: int, total: int) -> None:
    """Progress that nobody asked for."""
