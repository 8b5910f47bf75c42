"""Which rows of a dataset a model is trained on, decided once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.upgrades.info import UpgradeInfo
from models.compatible_training import Split, hold_out
from models.portable import replacing
from workers.rows.labelled_rows import LabelledRows


def split_rows(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, codes: NDArray[np.int64], labels: NDArray[Any], path: Path
) -> Split:
    """Splits rows with these codes, (n,) int64 into `labels`.

    Whole classes are kept back where a gallery holds labels that the dataset lacks. Decided once: a gallery that is
    written to meanwhile must not change what a resumed training is trained on.
    """
    if not path.exists():
        known = set(labels.tolist())
        foreign = any(_labels(crosswalk, name) - known for name in upgrade.galleries)
        whole = foreign and upgrade.asked.evaluation is None
        training = upgrade.compatible.training
        split = hold_out(codes, len(labels), training.validation, training.seed, whole_classes=whole)
        with replacing(path) as partial:  # whose name ends like the path's: savez would add .npz
            np.savez(partial, training=split.training, held_out=split.held_out, unseen=split.unseen)
    return read_split(path)


def not_trained_on(others: LabelledRows, rows: LabelledRows, split: Split) -> NDArray[np.int64]:
    """The places of those of the `others` that `split` does not train on under the same id."""
    return np.flatnonzero(~np.isin(others.id.astype(str), rows.id[split.training].astype(str)))


def read_split(path: Path) -> Split:
    """Which rows were trained on, and which were not."""
    with np.load(path) as arrays:
        return Split(arrays["training"], arrays["held_out"], arrays["unseen"])


def _labels(crosswalk: Crosswalk, gallery: str) -> set[str]:
    items = crosswalk.galleries.items(crosswalk.galleries.info(gallery))
    return {label for batch in items.scan(["label"]) for label in batch.column("label").unique().to_pylist() if label}
