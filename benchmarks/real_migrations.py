"""The migrations between real models that the data hold: from each model, old, to another, new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks.crossing import Task, clinc150, tiny_imagenet
from models.portable import Array, Space

REAL = ("wordllama", "e5", "minilm")
"""Real text models: static vectors (256), multilingual E5 small (384), MiniLM-L6 (384)."""


def migrations(data: Path) -> dict[str, Callable[[], Task]]:
    """Each migration by its name, read when it is called.

    CLINC150, cosine, gallery train, queries test: the six between its real models, and from TF-IDF/SVD, with
    side-information, to MiniLM. Tiny ImageNet, Euclidean: features of a network of half of the classes to those of one
    of all.
    """
    known: dict[str, Callable[[], Task]] = {
        f"{old} → {new}": lambda old=old, new=new: _between(data, old, new)  # type: ignore[misc]
        for old, new in permutations(REAL, 2)
    }
    known["tf-idf + side → minilm"] = lambda: clinc150(data)
    known["images: half of the classes → all"] = lambda: tiny_imagenet(data)
    return known


def _between(data: Path, old: str, new: str) -> Task:
    return between(data, real_vectors(data), old, new)


def between(data: Path, vectors: Mapping[str, tuple[Array, Array]], old: str, new: str) -> Task:
    """From one of the real models to another, without side-information; vectors: as `real_vectors` gives them."""
    task = clinc150(data)
    train, test = (
        replace(rows, old=vectors[old][part], new=vectors[new][part], side=None)
        for rows, part in ((task.gallery, 0), (task.queries, 1))
    )
    source, target = (Space(name, vectors[name][0].shape[1], "cosine") for name in (old, new))
    return Task(f"{old} → {new}", source, target, train, train, test, None)


def real_vectors(data: Path) -> dict[str, tuple[Array, Array]]:
    """Every real model's vectors of train and of test, (n, d) float32 each, in the order of the rows of `clinc150`."""
    task, folder = clinc150(data), data / "clinc150"
    real = parquet.read_table(folder / "real_models.parquet").combine_chunks()
    place = {id: row for row, id in enumerate(real.column("id").to_pylist())}
    parts = [parquet.read_table(folder / f"{name}.parquet", columns=["id"]) for name in ("train", "test")]
    rows = [np.array([place[id] for id in part.column("id").to_pylist()]) for part in parts]
    known = {"minilm": (task.gallery.new, task.queries.new)}
    for name in ("wordllama", "e5"):
        vectors = _matrix(real.column(name))
        known[name] = vectors[rows[0]], vectors[rows[1]]
    return known


def _matrix(column: pa.ChunkedArray) -> Array:
    flat = column.combine_chunks().flatten()
    return np.asarray(flat, np.float32).reshape(len(column), -1)
