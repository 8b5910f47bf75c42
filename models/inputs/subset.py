"""Raw inputs, and a selection of them without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = Sequence[bytes] | Sequence[str]
"""Encoded images or texts."""


class InputSubset(Sequence[Any]):
    """The inputs at `places`, (n,) int64, as a sequence."""

    def __init__(self, inputs: Inputs, places: NDArray[np.int64]) -> None:
        self._inputs, self._places = inputs, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        return self._inputs[int(self._places[place])]

    def origin(self, place: int) -> int:
        """The place of an input in the original sequence."""
        return origin(self._inputs, int(self._places[place]))


def origin(inputs: Inputs, place: int) -> int:
    """The place of an input in the original sequence, however often a selection was made of a selection."""
    return inputs.origin(place) if isinstance(inputs, InputSubset) else place
