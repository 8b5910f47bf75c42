"""Decides whether a transformation may learn from labels: by the share of items whose label occurs in the pairs."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from app.composition import Crosswalk
from models.transformations.pairs import Pairs

FEWEST_ROWS = 2
ENOUGH = 0.99


def labels_cover(crosswalk: Crosswalk, galleries: Sequence[str], pairs: Pairs) -> bool:
    """Whether in each gallery nearly every item has a label that at least two pairs have.

    Items without such a label would be moved towards the classes that were learned from.
    """
    return all(_share(crosswalk, name, pairs) >= ENOUGH for name in galleries)


def _share(crosswalk: Crosswalk, gallery: str, pairs: Pairs) -> float:
    if pairs.label is None:
        return 0.0
    counted = Counter(label for label in pairs.label.tolist() if label is not None)
    shown = pa.array([label for label, rows in counted.items() if rows >= FEWEST_ROWS], pa.string())
    items = crosswalk.galleries.store(crosswalk.galleries.info(gallery)).items
    covered = total = 0
    for batch in items.scan(["label"]):
        covered += pc.sum(pc.is_in(batch.column("label"), shown)).as_py() or 0
        total += batch.num_rows
    return covered / max(1, total)
