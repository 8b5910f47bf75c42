"""The galleries of the table of migrations, each with the vectors that several models give its items and its queries.

Texts: CLINC150 whole and by domain, with real models and TF-IDF/SVD learned from its training texts. Images: the
validation set of Tiny ImageNet by networks that did not see it, and scikit-learn's digits by pixels, principal
components and small networks trained on other digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier

from benchmarks.clinc_domains import DOMAINS
from benchmarks.crossing import Task, clinc150, tiny_imagenet
from benchmarks.real_migrations import real_vectors
from models.arrays import Labels
from models.portable import Array, Distance, Space
from models.transformations.pairs import Pairs

TRAINING_DIGITS, GALLERY_DIGITS = 500, 800
IMAGES_IN_GALLERY = 4_000


@dataclass(frozen=True)
class World:
    """Items and queries that nothing learns from, by every model.

    vectors: by model, of the items (n, d) and of the queries (m, d); metric: by model. label, query_label: (n,) and
    (m,), strings; side: the side-information of items and queries, None where there is none.
    """

    vectors: Mapping[str, tuple[Array, Array]]
    metric: Mapping[str, Distance]
    label: Labels
    query_label: Labels
    side: tuple[Array, Array] | None

    def task(self, old: str, new: str, *, side: bool) -> Task:
        """The migration from one of the models to another."""
        items, queries = (
            Pairs(
                self.vectors[old][part],
                self.vectors[new][part],
                self.side[part] if side and self.side is not None else None,
                (self.label, self.query_label)[part],
            )
            for part in (0, 1)
        )
        source, target = (Space(name, self.vectors[name][0].shape[1], self.metric[name]) for name in (old, new))
        return Task(f"{old} → {new}", source, target, items, items, queries, None)

    def only(self, labels: frozenset[str]) -> World:
        """The items and queries of these labels."""
        kept = np.isin(self.label.astype(str), list(labels)), np.isin(self.query_label.astype(str), list(labels))
        return World(
            {name: (items[kept[0]], queries[kept[1]]) for name, (items, queries) in self.vectors.items()},
            self.metric,
            self.label[kept[0]],
            self.query_label[kept[1]],
            None if self.side is None else (self.side[0][kept[0]], self.side[1][kept[1]]),
        )


def world_named(name: str, data: Path) -> World:
    """ "clinc150", one of its domains, "digits" or "images"."""
    if name in DOMAINS:
        return _texts(data).only(DOMAINS[name])
    if name == "digits":
        return _digits()
    return _texts(data) if name == "clinc150" else _images(data)


FITTED_TO_THE_GALLERY = frozenset({"tf-idf", "words", "characters"})
"""The models that were fitted to the gallery's own texts, which they so embed better than fresh queries."""


@cache
def _texts(data: Path) -> World:
    """Gallery train (18,000), queries test (4,500); side-information: character n-gram SVD."""
    known, vectors = clinc150(data), real_vectors(data)
    items, queries = known.gallery, known.queries
    assert items.label is not None
    assert queries.label is not None
    assert items.side is not None
    assert queries.side is not None
    train, test = (
        pq.read_table(data / "clinc150" / f"{part}.parquet", columns=["text"]).column("text").to_pylist()
        for part in ("train", "test")
    )
    words, characters = TfidfVectorizer(min_df=2), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=5)
    vectors |= {
        "tf-idf": (items.old, queries.old),
        "words": _reduced(words, 96, train, test),
        "characters": _reduced(characters, 96, train, test),
    }
    return World(
        vectors,
        dict.fromkeys(vectors, "cosine"),
        items.label.astype(object),
        queries.label.astype(object),
        (items.side, queries.side),
    )


def _reduced(by: TfidfVectorizer, dimension: int, train: list[str], test: list[str]) -> tuple[Array, Array]:
    """TF-IDF and its leading singular vectors, both learned from the training texts."""
    counted, svd = by.fit_transform(train), TruncatedSVD(dimension, random_state=0)
    items, queries = svd.fit_transform(counted), svd.transform(by.transform(test))
    return items.astype(np.float32), queries.astype(np.float32)


@cache
def _images(data: Path) -> World:
    """4,000 of Tiny ImageNet's validation images are the gallery, and 1,000 the queries."""
    rows = tiny_imagenet(data).gallery
    assert rows.label is not None
    assert rows.side is not None
    order = np.random.default_rng(0).permutation(len(rows))
    items, queries = np.sort(order[:IMAGES_IN_GALLERY]), np.sort(order[IMAGES_IN_GALLERY:])
    names = rows.label.astype(str).astype(object)
    vectors = {"half of the classes": rows.old, "all classes": rows.new}
    return World(
        {name: (each[items], each[queries]) for name, each in vectors.items()},
        dict.fromkeys(vectors, "l2"),
        names[items],
        names[queries],
        (rows.side[items], rows.side[queries]),
    )


@cache
def _digits() -> World:
    """800 digits are the gallery and 497 the queries; the other 500 taught the networks and the components."""
    pixels, digit = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(pixels))
    taught, items, queries = np.split(order, [TRAINING_DIGITS, TRAINING_DIGITS + GALLERY_DIGITS])
    low = taught[digit[taught] < 5]
    learned = {
        "pixels": pixels,
        "5 components": _components(pixels, taught, 5),
        "12 components": _components(pixels, taught, 12),
        "network of 0 to 4": _hidden(pixels, digit, low, 24),
        "network": _hidden(pixels, digit, taught, 48),
    }
    metric: dict[str, Distance] = dict.fromkeys(learned, "l2")
    names = digit.astype(str).astype(object)
    return World(
        {name: (each[items], each[queries]) for name, each in learned.items()},
        metric | {"pixels": "cosine", "network": "cosine"},
        names[items],
        names[queries],
        None,
    )


def _components(pixels: Array, taught: NDArray[np.int64], dimension: int) -> Array:
    found = PCA(dimension, random_state=0).fit(pixels[taught])
    return np.asarray(found.transform(pixels), np.float32)


def _hidden(pixels: Array, digit: NDArray[np.int64], taught: NDArray[np.int64], width: int) -> Array:
    """The hidden layer of a classifier of these digits: (n, width)."""
    network = MLPClassifier((width,), max_iter=1000, random_state=0).fit(pixels[taught], digit[taught])
    return np.asarray(np.maximum(pixels @ network.coefs_[0] + network.intercepts_[0], 0), np.float32)
