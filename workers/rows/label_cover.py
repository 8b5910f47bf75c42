"""How much of a gallery is of labels that the pairs show: what decides whether a crossing may learn from labels."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from app.composition import Crosswalk
from models.transformations.pairs import Pairs

FEWEST_ROWS = 2
ENOUGH = 0.99


def labels_cover(crosswalk: Crosswalk, galleries: Sequence[str], pairs: Pairs) -> bool:
    """Whether nearly every item has a label of at least two pairs, in each gallery.

    Items of other labels, or of none, would be drawn towards the classes that were learned from.
    """
    return all(_share(crosswalk, name, pairs) >= ENOUGH for name in galleries)


def _share(crosswalk: Crosswalk, gallery: str, pairs: Pairs) -> float:
    if pairs.label is None:
        return 0.0
    counted = Counter(label for label in pairs.label.tolist() if label is not None)
    shown = pa.array([label for label, rows in counted.items() if rows >= FEWEST_ROWS], pa.string())
    items = crosswalk.galleries.store(crosswalk.galleries.info(gallery)).items
    found = total = 0
    for batch in items.scan(["label"]):
        found += pc.sum(pc.is_in(batch.column("label"), shown)).as_py() or 0
        total += batch.num_rows
    return found / max(1, total)
