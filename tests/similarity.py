"""How near vectors are by each metric, as search is held against."""

import numpy as np

from models.arrays import Floats
from models.portable import Array, Distance


def similarity(queries: Array, rows: Array, metric: Distance) -> Floats:
    """(m, d), (n, d) → (m, n), higher is nearer: from the definitions, in float64."""
    asked, stored = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return np.asarray(-((asked[:, None] - stored[None]) ** 2).sum(axis=2))
    if metric == "cosine":
        asked, stored = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (asked, stored))
    return np.asarray(asked @ stored.T)
