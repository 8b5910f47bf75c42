"""Decides whether a transformation may learn from labels: by the share of items whose label occurs in the pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

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
    return all(show_labels(pairs, _labels(crosswalk, name)) for name in galleries)


def show_labels(pairs: Pairs, labels: Iterable[pa.Array]) -> bool:
    """Whether nearly every item has a label of at least two pairs; labels: strings of all items, null for none."""
    if pairs.label is None:
        return False
    counted = Counter(label for label in pairs.label.tolist() if label is not None)
    shown = pa.array([label for label, rows in counted.items() if rows >= FEWEST_ROWS], pa.string())
    covered = total = 0
    for batch in labels:
        covered += pc.sum(pc.is_in(batch, shown)).as_py() or 0
        total += len(batch)
    return covered / max(1, total) >= ENOUGH


def _labels(crosswalk: Crosswalk, gallery: str) -> Iterator[pa.Array]:
    items = crosswalk.galleries.items(crosswalk.galleries.info(gallery))
    return (batch.column("label") for batch in items.scan(["label"]))
