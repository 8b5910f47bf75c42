"""Transforms each pair by a transformation that was not learned from it, and keeps the vectors for later steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.storage.lance_table import vector_type, vectors_of
from models.arrays import Progress
from models.device import Device
from models.portable import Array, Transformation, check_seal, replacing
from models.transformations.pairs import Refit
from models.uncertainty import (
    LearnedUncertainty,
    NothingToLearn,
    cross_val_fits,
    cross_val_transform,
    learn_uncertainty,
)
from workers.rows.pairs import DatasetPairs

SEED = 0
FOLDS = 5
NETWORK_FOLDS = 3


@dataclass(frozen=True)
class HeldOutPairs:
    """Pairs transformed while held out.

    id: (n,) object; transformed: (n, d_new) float32, transformed old vectors; expected_error: (n,) float32, of these.
    """

    id: NDArray[Any]
    transformed: Array
    expected_error: Array

    def save(self, path: Path) -> None:
        """Writes a row for each pair, so that a crash leaves the file complete or absent."""
        flat = pa.array(np.ascontiguousarray(self.transformed, np.float32).ravel())
        columns = {
            "id": pa.array(self.id.tolist(), pa.string()),
            "moved": pa.FixedSizeListArray.from_arrays(flat, type=vector_type(self.transformed.shape[1])),
            "expected_error": pa.array(self.expected_error, pa.float32()),
        }
        with replacing(path, sealed=True) as partial:
            pq.write_table(pa.table(columns), partial)

    @classmethod
    def load(cls, path: Path) -> HeldOutPairs | None:
        """Reads the file that `save` wrote; None where it was not written, since there were too few pairs."""
        if not path.exists():
            return None
        check_seal(path)
        table = pq.read_table(path)
        _, transformed = vectors_of(table.column("moved"))
        return cls(
            np.array(table.column("id").to_pylist(), object), transformed, table.column("expected_error").to_numpy()
        )


def held_out_fits(
    pairs: DatasetPairs, chosen: Transformation, refit: Refit, progress: Progress
) -> tuple[Transformation, ...]:
    """Transformations like `chosen`, each learned from the pairs outside one fold, in the order of the folds; none for
    too few pairs. refit: learns such a transformation from some of the pairs."""
    folds = FOLDS if chosen.linear else NETWORK_FOLDS
    try:
        return cross_val_fits(pairs.pairs, refit, folds=folds, seed=SEED, progress=progress)
    except NothingToLearn:
        return ()


def learn_from_held_out(
    pairs: DatasetPairs,
    chosen: Transformation,
    fits: Sequence[Transformation],
    *,
    device: Device,
    progress: Progress,
) -> tuple[LearnedUncertainty, HeldOutPairs] | None:
    """Learns the expected error of `chosen` from held-out pairs; None for too few pairs, and where it misses none.

    fits: as of `held_out_fits`.
    """
    if not fits:
        return None
    transformed = cross_val_transform(pairs.pairs, fits, seed=SEED)
    try:
        learned = learn_uncertainty(pairs.pairs, transformed, chosen, device=device, seed=SEED, progress=progress)
    except NothingToLearn:
        return None
    return learned, HeldOutPairs(pairs.ids, transformed, learned.held_out)
