"""What is copied in tests of copying: 8 numbers to 6 by a matrix that is the same in every process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.connections.file import ConfiguredConnection
from app.stores.copying import Copying
from app.stores.protocol import Place, Target
from tests.app.stores.world import opened

TARGET = Target("faq-g2", dimension=6, metric="l2")
MATRIX = np.random.default_rng(5).normal(size=(8, 6)).astype(np.float32)


def crossed(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    new: npt.NDArray[np.float32] = vectors @ MATRIX
    return new


def crossing(uri: str, place: Place, folder: Path, batch_rows: int = 10, **others: object) -> Copying:
    connection = ConfiguredConnection("faq-database", "pgvector", {"url": uri})
    copying = Copying(lambda: opened(connection, place), TARGET, crossed, folder, batch_rows=batch_rows)
    return replace(copying, **others)  # type: ignore[arg-type]  # fields of Copying
