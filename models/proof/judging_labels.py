"""Which labels can say whether a search found what it should, and which queries they can judge.

A label that one item alone has says nothing of a search: no answer could be right. A label that every item has says
nothing either: every answer is. Such labels, as product numbers, are taken for none. Nor does an item that finds its
own copy in the gallery say anything: by any model it does.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Labels
from models.portable import Array


def judging_labels(gallery: Labels, queries: Labels, row: Codes) -> Labels:
    """The gallery's labels (N,) without those that judge no query: None in their place; all None where fewer than two
    are left.

    queries: (m,) the queries' labels; row: (m,) int64 the gallery row that each is of, -1 for none. A query that is no
    item of the gallery may find the only item of its label.
    """
    outside = {label for label, place in zip(queries.tolist(), row.tolist(), strict=True) if place < 0}
    counted = Counter(label for label in gallery.tolist() if label is not None)
    judging = {label for label, rows in counted.items() if rows > 1 or label in outside}
    if len(judging) < 2:
        judging = set()
    kept = np.full(len(gallery), None, object)
    places = [place for place, label in enumerate(gallery.tolist()) if label in judging]
    kept[places] = gallery[places]
    return kept


def answerable(codes: Codes, near: Codes, gallery: Codes) -> NDArray[np.bool_]:
    """Which queries could be answered right: (m,) bool, those whose label a gallery row has that they may find.

    codes: (m,) and gallery: (n,) label codes, -1 for none; near: (m, e) gallery rows that each query must not find, -1
    for none.
    """
    rows = np.bincount(gallery[gallery >= 0], minlength=int(codes.max(initial=-1)) + 1)
    left_out = ((near >= 0) & (np.append(gallery, -2)[near] == codes[:, None])).sum(1)
    could: NDArray[np.bool_] = (codes >= 0) & (np.append(rows, 0)[codes] > left_out)
    return could


def first_copies(vectors: Array, labels: Labels) -> Codes:
    """Of each row the first that has its very vector and its label, the row itself where there is no other: (n,) int64.

    vectors: (n, d) float32; labels: (n,), None for none.
    """
    first: dict[tuple[bytes, object], int] = {}
    found = np.arange(len(vectors))
    for place, (row, label) in enumerate(zip(np.ascontiguousarray(vectors), labels.tolist(), strict=True)):
        found[place] = first.setdefault((blake2b(row.tobytes(), digest_size=16).digest(), label), place)
    return found


def why_labels_cannot_judge(labels: Labels) -> str | None:
    """What is wrong with the gallery's labels (N,), where they are there and yet judge nothing; None where few are."""
    counted = Counter(label for label in labels.tolist() if label is not None)
    if len(counted) == 1 and sum(counted.values()) > 1:
        return f"every label is {next(iter(counted))!r}, so every answer would be right"
    lone = sum(rows == 1 for rows in counted.values())
    if not lone:
        return None
    return f"{lone} of {sum(counted.values())} labelled items have a label that no other item has"
