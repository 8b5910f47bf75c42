"""A user who trains compatible models: an old model and its gallery, pictures or texts to train on, queries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from models.compatible_training import LabelledInputs
from tests.e2e.user import PARQUET, Scene, checked, parquet
from tests.pictures import OLD, digits
from tests.worlds import Floats

SMALL = {
    "type": "resnet",
    "stem": "small",
    "config": {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"},
}
TRAINING = {"epochs": 16, "batch": 64, "schedule": "one_cycle", "image_size": 16, "workers": 0}

_numbers = itertools.count()


class Studio(Scene):
    """One test's own corner: a gallery of the first 700 pictures, 1,500 to train on, 297 to ask with."""

    def __init__(self, client: httpx.Client) -> None:
        name = f"s{next(_numbers)}"
        self.client = client
        self.gallery, self.dataset, self.evaluation = f"{name}-gallery", f"{name}-rows", f"{name}-judge"
        self.old, self.new = f"{name}-old", f"{name}-new"
        self.pictures = digits(1797)
        self.ids = [f"picture-{place}" for place in range(len(self.pictures))]
        self.post("/models", {"id": self.old, "dimension": OLD, "metric": "l2", "modality": "image"}, 201)
        self.post("/galleries", {"id": self.gallery, "model": self.old}, 201)
        self.post("/datasets", {"id": self.dataset}, 201)
        self.post("/datasets", {"id": self.evaluation}, 201)

    @property
    def queries(self) -> LabelledInputs:
        return self.pictures.take(np.arange(1500, 1797))

    def put_gallery(self) -> None:
        places = range(700)
        table = pa.table({**self._known(places), "embedding": lists(self.pictures.old[:700])})
        self.put_body(parquet(table), PARQUET)

    def put_rows(self, dataset: str, places: Sequence[int], old: Floats | None, **columns: Any) -> None:
        """Rows of pictures, of other raw input where `columns` say so; `old`: their old vectors, if they bring them."""
        table = {**self._known(places), **columns}
        if not columns:
            table["image"] = pa.array([self.pictures.inputs[place] for place in places], pa.binary())
        if old is not None:
            table[f"embedding.{self.old}"] = lists(old)
        body, headers = parquet(pa.table(table)), {"content-type": PARQUET}
        checked(self.client.put(f"/datasets/{dataset}/rows", content=body, headers=headers))

    def train(self, *, architecture: object = SMALL, training: dict[str, Any] | None = None, **more: Any) -> str:
        """Starts an upgrade that trains a new model; its id."""
        body = {
            "strategy": "compatible",
            "to": {"id": self.new, "architecture": architecture},
            "dataset": self.dataset,
            "galleries": [self.gallery],
            "training": {**TRAINING, **(training or {})},
            **more,
        }
        return str(self.post(f"/models/{self.old}/upgrade", body, 202)["id"])

    def right_of(self, vectors: Floats, model: str) -> float:
        """The share of queries whose nearest item of the gallery is of their class."""
        nearest = self.search(vectors, model, 1).ids
        labels = dict(zip(self.ids, self.pictures.codes.tolist(), strict=True))
        return float(np.mean([labels[ids[0]] == code for ids, code in zip(nearest, self.queries.codes, strict=True)]))

    def with_shuffled_vectors(self) -> Studio:
        order = np.random.default_rng(0).permutation(len(self.pictures))
        self.pictures = replace(self.pictures, old=self.pictures.old[order])
        return self

    def _known(self, places: Sequence[int]) -> dict[str, Any]:
        return {
            "id": [self.ids[place] for place in places],
            "label": [str(self.pictures.codes[place]) for place in places],
        }


def lists(vectors: Floats) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
