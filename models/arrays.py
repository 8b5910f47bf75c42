"""Types of the arrays that modules hand to each other, and of the callback that reports progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Numbers that are computed in double precision, of any shape."""

Floats32 = NDArray[np.float32]
"""Vectors in single precision, as they are stored and as networks read them."""

Codes = NDArray[np.int64]
"""(n,) integer codes of classes or groups, from 0; -1 for a row of no class."""

RowNumbers = NDArray[np.int64]
"""Indices of rows in an array, of any shape; -1 stands for no row."""

Labels = NDArray[Any]
"""(n,) class labels, strings or integers; None for a row without a label."""

Scores = NDArray[np.float64]
"""(queries, 4), a column for each of the METRICS of `models.evaluation.retrieval_metrics`; NaN where not measured."""

Known = NDArray[np.bool_] | None
"""(n,) which rows have side-information of their own rather than a predicted one; None if all have."""

Progress = Callable[[int, int], None]
"""Called with the amount of work done and the total amount."""

ONE_STANDARD_ERROR = 0.6827
"""Confidence level of the interval that extends one standard error to either side of a mean."""


def silent(done: int, total: int) -> None:
    """A progress callback that does nothing."""
