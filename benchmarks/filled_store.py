"""A store that is filled for `benchmarks.stores`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.connections.file import ConfiguredConnection
from app.stores.kinds import ConfiguredStores
from app.stores.protocol import Place, Store

Chunks = Iterator[tuple[int, npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class FilledStore:
    """A store with the rows in it. bare: reads all vectors and writes them beside, by the store's client alone."""

    connection: ConfiguredConnection
    place: Place
    bare: Callable[[], None]

    def open(self) -> Store:
        return ConfiguredStores({self.connection.name: self.connection}).open(self.connection.name, self.place)


def chunks(rows: int, dimension: int, at_once: int = 10_000) -> Chunks:
    """Random vectors, and the number of the first row of each."""
    draw = np.random.default_rng(0)
    for begin in range(0, rows, at_once):
        yield begin, draw.normal(size=(min(at_once, rows - begin), dimension)).astype(np.float32)
