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
from models.proof.inputs import PlacedPairs, ProofGallery


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


def completed_labels(
    gallery: ProofGallery, learned_from: PlacedPairs, evaluation: PlacedPairs | None, notes: list[str]
) -> tuple[Labels, Labels, Labels]:
    """Labels of gallery, pairs and evaluation set as objects; the same item's labels fill each other's gaps, and where
    they contradict each other, the pair has none.

    Returns those of the gallery (N,), of the pairs (n,) and of the evaluation set (e,). notes: for the report; one is
    added where labels contradict each other.
    """
    labels = np.full(len(gallery), None, object) if gallery.label is None else gallery.label.astype(object)
    filled = []
    for e in (learned_from, evaluation):
        if e is None:
            filled.append(np.empty(0, object))
            continue
        own = np.full(len(e.pairs), None, object) if e.pairs.label is None else e.pairs.label.astype(object)
        stored = e.row >= 0
        missing = stored & np.array([label is None for label in own], bool)
        own[missing] = labels[e.row[missing]]
        if (doubtful := contradicted(own, e.row, labels)).any():
            own[doubtful] = None
            notes.append(
                f"{doubtful.sum()} of {len(own)} pairs have another label than the gallery's item of the same id. Which"
                " is right is not known: what these find is not counted."
            )
        untold = np.flatnonzero(stored)
        untold = untold[[labels[row] is None for row in e.row[untold]]]
        labels[e.row[untold]] = own[untold]
        filled.append(own)
    return labels, filled[0], filled[1]


def contradicted(labels: Labels, row: Codes, gallery: Labels) -> NDArray[np.bool_]:
    """Which rows have another label than the gallery item that they are: (m,) bool.

    labels: (m,) and gallery: (N,), None for none; row: (m,) int64 gallery rows, -1 for none. Which of the two labels is
    right nobody knows, so such a row is no query.
    """
    held = [None if place < 0 else gallery[place] for place in row.tolist()]
    pairs = zip(labels.tolist(), held, strict=True)
    return np.array([None not in (own, other) and own != other for own, other in pairs], bool)


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
