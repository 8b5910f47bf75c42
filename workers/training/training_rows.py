"""What training found of each row, as one Parquet file for people to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from models.compatible_training import Trained
from models.compatible_training.instance_weights import suspects
from models.portable import Array, replacing
from workers.rows.labelled_rows import LabelledRows


def write_training_rows(path: Path, rows: LabelledRows, trained_on: np.ndarray, trained: Trained) -> None:
    """id, label, outlier (m·π), suspect_label, old_model_poor of the rows trained on; null where unknown."""
    outlier = None if trained.pseudo is None else trained.pseudo.outlier
    suspicions = None if trained.instance_weights is None else suspects(trained.instance_weights, outlier)
    table = pa.table(
        {
            "id": pa.array(rows.id[trained_on].tolist(), pa.string()),
            "label": pa.array(rows.label[trained_on].tolist(), pa.string()),
            "outlier": _column(outlier, len(trained_on)),
            "suspect_label": _column(None if suspicions is None else suspicions.suspect_label, len(trained_on)),
            "old_model_poor": _column(None if suspicions is None else suspicions.old_model_poor, len(trained_on)),
        }
    )
    with replacing(path, sealed=True) as partial:
        parquet.write_table(table, partial)


def _column(values: Array | None, rows: int) -> pa.Array:
    return pa.nulls(rows, pa.float32()) if values is None else pa.array(values, pa.float32(), from_pandas=True)
