"""Copies vectors as a worker does, in a process that the environment's failpoint kills: kind, its options and the place
as JSON, folder."""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app import failpoints
from app.connections.file import ConfiguredConnection
from app.stores.copying import Copying, copy_vectors
from app.stores.protocol import Place
from tests.app.stores.contract import TARGET
from tests.app.stores.world import opened

MATRIX = np.random.default_rng(5).normal(size=(8, TARGET.dimension)).astype(np.float32)


def crossed_files(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    new: npt.NDArray[np.float32] = vectors @ MATRIX
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    return new


def copying_files(connection: ConfiguredConnection, place: Place, folder: Path) -> Copying:
    return Copying(lambda: opened(connection, place), TARGET, crossed_files, folder, batch_rows=7)


if __name__ == "__main__":
    failpoints.arm("step")
    kind, options, (collection, id_, vector) = json.loads(sys.argv[1])
    copied = ConfiguredConnection("shelf", kind, options)
    copy_vectors(copying_files(copied, Place(collection, id_, vector), Path(sys.argv[2])))
