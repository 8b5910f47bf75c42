"""Scikit-learn's handwritten digits, and two embedding models of them: an old one that learned five digits only, and a
new one that learned all ten. Side-information is a projection that was cheap to store.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.portable import Array

Embed = Callable[[Array], Array]

OLD_DIMENSION = 12
NEW_DIMENSION = 64
SIDE_DIMENSION = 16
_DIGITS_THE_OLD_KNOWS = 5
_TRAINING, _QUERIES = 500, 400


@dataclass(frozen=True)
class Images:
    """pixels: (n, 64) float32 in [0, 1]; label: (n,) int64; id: n strings."""

    id: list[str]
    pixels: Array
    label: NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Images to search and to search with, none of which a model was trained on, and the three encoders."""

    gallery: Images
    queries: Images
    old: Embed
    new: Embed
    side: Embed


def load() -> Digits:
    """Splits the data, each digit alike, and trains both models on their part of it, which takes a second."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    bunch = load_digits()
    pixels, label = (bunch.data / 16).astype(np.float32), bunch.target.astype(np.int64)
    training, others = train_test_split(np.arange(len(label)), train_size=_TRAINING, stratify=label, random_state=0)
    queries, gallery = train_test_split(others, train_size=_QUERIES, stratify=label[others], random_state=0)
    known = training[label[training] < _DIGITS_THE_OLD_KNOWS]
    old = MLPClassifier((OLD_DIMENSION,), max_iter=200, tol=0, n_iter_no_change=200, random_state=0)
    new = MLPClassifier((128, NEW_DIMENSION), max_iter=200, tol=0, n_iter_no_change=200, random_state=1)
    with warnings.catch_warnings():
        # Both stop after 200 rounds by design: that is enough here, and takes a second.
        warnings.simplefilter("ignore", ConvergenceWarning)
        old.fit(pixels[known], label[known])
        new.fit(pixels[training], label[training])
    projection = PCA(SIDE_DIMENSION, random_state=0).fit(pixels[training])

    def images(rows: NDArray[np.int64]) -> Images:
        return Images([f"digit-{row:04d}" for row in rows], pixels[rows], label[rows])

    return Digits(
        gallery=images(gallery),
        queries=images(queries),
        old=_last_hidden_layer(old),
        new=_last_hidden_layer(new),
        side=lambda rows: projection.transform(rows).astype(np.float32),
    )


def _last_hidden_layer(classifier: Any) -> Embed:
    """A classifier as an embedding model: what its last hidden layer says of an image."""
    layers = list(zip(classifier.coefs_, classifier.intercepts_, strict=True))[:-1]

    def embed(rows: Array) -> Array:
        values: Any = rows
        for weight, bias in layers:
            values = np.maximum(values @ weight + bias, 0)
        return np.asarray(values, np.float32)

    return embed
