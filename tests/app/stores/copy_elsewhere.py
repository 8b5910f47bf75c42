"""Copies vectors as a worker does, in a process that the environment's failpoint kills: a place as JSON, folder."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app import failpoints
from app.connections.file import ConfiguredConnection
from app.stores.copying import Copying, copy_vectors
from app.stores.protocol import Place
from tests.app.stores.contract import TARGET
from tests.app.stores.world import StoreWorld, opened

MATRIX = np.random.default_rng(5).normal(size=(5, TARGET.dimension)).astype(np.float32)


def crossed_over(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    new: npt.NDArray[np.float32] = vectors @ MATRIX
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    return new


def told(world: StoreWorld) -> str:
    """What `copying` needs to know of a world, for another process."""
    connection, place = world.connection, world.place
    return json.dumps([[connection.name, connection.kind, dict(connection.options)], [place.collection, place.vector]])


def copying(world: str, folder: Path) -> Copying:
    connection: list[Any]
    connection, (collection, vector) = json.loads(world)
    place = Place(collection, vector=vector)
    return Copying(lambda: opened(ConfiguredConnection(*connection), place), TARGET, crossed_over, folder, batch_rows=7)


if __name__ == "__main__":
    failpoints.arm("step")
    copy_vectors(copying(sys.argv[1], Path(sys.argv[2])))
