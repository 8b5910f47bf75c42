"""A sample of vectors that come in pieces: evenly from the first to the last."""

import numpy as np


class EvenSample:
    """Keeps every k-th of about `total` vectors of one dimension, so that between `most` and twice as many are kept."""

    def __init__(self, total: int, most: int) -> None:
        self._step = max(1, total // most)
        self._passed = 0
        self._kept: list[np.ndarray] = []

    def add(self, vectors: np.ndarray) -> None:
        """The next piece: (n, d)."""
        # Copied, so that the piece itself is let go.
        self._kept.append(vectors[-self._passed % self._step :: self._step].copy())
        self._passed += len(vectors)

    def vectors(self, dimension: int) -> np.ndarray:
        """What was kept, in order: (m, dimension) float32."""
        return np.concatenate([np.empty((0, dimension), np.float32), *self._kept])
