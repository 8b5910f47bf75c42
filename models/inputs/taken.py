"""Some of the inputs, without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = Sequence[bytes] | Sequence[str]


class Taken(Sequence[Any]):
    """The inputs at `places`, (n,) int64, as a sequence of its own."""

    def __init__(self, inputs: Inputs, places: NDArray[np.int64]) -> None:
        self._inputs, self._places = inputs, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        return self._inputs[int(self._places[place])]

    def origin(self, place: int) -> int:
        """Where an input stood before."""
        return origin(self._inputs, int(self._places[place]))


def origin(inputs: Inputs, place: int) -> int:
    """Where an input stands in the sequence that it was first taken from."""
    return inputs.origin(place) if isinstance(inputs, Taken) else place
