"""A gateway without a worker, and what the steps of a compatible upgrade do, done by the test in their place.

Everything that the steps leave is real: an alignment, a model that can be loaded, a file of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.upgrades.states import Event
from models.embedding_model import EmbeddingModel, ModelCard, TrainedOn, save, zipped
from models.embedding_model.backbones import build
from models.inputs import Preprocessing
from models.portable import Architecture, Distance, publish, save_transformation, zero_padding
from tests.worlds import Floats

OLD_DIMENSION, NEW_DIMENSION, ITEMS = 6, 16, 40
ARCHITECTURE: dict[str, Any] = {
    "type": "resnet",
    "stem": "small",
    "config": {"embedding_size": 4, "hidden_sizes": [4, NEW_DIMENSION], "depths": [1, 1], "layer_type": "basic"},
}
CREATED = "2026-01-01T00:00:00Z"
LEARNED: dict[str, Any] = {
    "strategy": "compatible",
    "method": "random_walk",
    "rows": 120,
    "rows_held_out": 30,
    "classes": 4,
    "classes_held_out": 1,
    "classes_without_column": 1,
    "outliers": 3,
    "dimension": NEW_DIMENSION,
    "architecture": ARCHITECTURE,
    "settings": {"epochs": 3, "learning_rate": 0.1},
    "epochs": [
        {"epoch": n, "seconds": 1.5, "loss": 4.0 / n, "influence_loss": 2.0 / n, "cross": 0.1 * n, "self": 0.2 * n}
        for n in (1, 2, 3)
    ],
    "best_epoch": 3,
    "parameters": 12345,
    "device": "cpu",
    "instance_weights": {"suspect_labels": 2, "old_model_poor": 5},
    "old_features_accuracy": 0.815,
}


@dataclass
class Training:
    """One old model with its gallery, a dataset of labelled images, and the upgrades of a test."""

    client: httpx.Client
    crosswalk: Crosswalk
    metric: Distance = "cosine"
    vectors: Floats = field(init=False)
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = np.random.default_rng(0).normal(size=(ITEMS, OLD_DIMENSION)).astype(np.float32)
        self.ids = [f"item-{number:02d}" for number in range(ITEMS)]
        self.post("/models", {"id": "old", "dimension": OLD_DIMENSION, "metric": self.metric}, 201)
        self.gallery("shop")
        self.post("/datasets", {"id": "photos"}, 201)
        self.put_rows([{"id": "a", "label": "cat", "image": "aGk="}, {"id": "b", "label": "dog", "image": "aGk="}])

    def gallery(self, name: str) -> None:
        self.post("/galleries", {"id": name, "model": "old"}, 201)
        items = [{"id": one, "embedding": row.tolist()} for one, row in zip(self.ids, self.vectors, strict=True)]
        answer = self.client.put(f"/galleries/{name}/items?model=old", json={"items": items})
        assert answer.status_code == 200, answer.text

    def put_rows(self, rows: list[dict[str, Any]], dataset: str = "photos") -> None:
        answer = self.client.put(f"/datasets/{dataset}/rows", json={"rows": rows})
        assert answer.status_code == 200, answer.text

    def post(self, url: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(url, json=body)
        assert answer.status_code == status, answer.text
        answered: dict[str, Any] = answer.json()
        return answered

    def body(self, **changes: Any) -> dict[str, Any]:
        to = {"id": "new", "architecture": ARCHITECTURE}
        return {"strategy": "compatible", "to": to, "dataset": "photos", "galleries": ["shop"], **changes}

    def ask(self, **changes: Any) -> httpx.Response:
        return self.client.post("/models/old/upgrade", json=self.body(**changes))

    def start(self, **changes: Any) -> str:
        answer = self.ask(**changes)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def state(self, upgrade: str) -> str:
        return str(self.client.get(f"/upgrades/{upgrade}").json()["state"])

    def begin(self, upgrade: str) -> None:
        self.crosswalk.upgrade_steps.begin(upgrade)

    def train(self, upgrade: str, *, instance_weights: bool = True) -> EmbeddingModel:
        """What `train_compatible` leaves: evaluating from now on."""
        info = self.crosswalk.upgrade_steps.begin(upgrade)
        source, target = self.crosswalk.models.space(info.source), self.crosswalk.models.space(info.target)
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, upgrade)
        alignment = zero_padding(source, target, created_at=CREATED)
        for path in (artifacts.chosen, artifacts.plain):
            save_transformation(alignment, path)
        preprocessing = Preprocessing.images(32)
        embedder = build(Architecture.from_json(ARCHITECTURE), target.dimension, backbones_dir=None)
        card = ModelCard(
            id=target.model,
            dimension=target.dimension,
            metric=target.metric,
            compatible_with=source,
            architecture=ARCHITECTURE,
            preprocessing=preprocessing.to_json(),
            method="random_walk",
            settings={},
            trained_on=TrainedOn("photos", 1, 2, 2, "0" * 64),
            metrics={},
            created_at=CREATED,
        )
        model = EmbeddingModel(card, embedder.eval(), preprocessing)
        save(model, artifacts.model)
        zipped(artifacts.model, artifacts.model_zip)
        scores = [0.25, 3.0, None, 1.5] if instance_weights else [None] * 4
        columns = {
            "id": pa.array(["r0", "r1", "r2", "r3"]),
            "label": pa.array(["cat", "dog", "cat", "dog"]),
            "outlier": pa.array([0.5, 1.0, 0.02, 1.2], pa.float32()),
            "suspect_label": pa.array(scores, pa.float32()),
            "old_model_poor": pa.array(scores[::-1], pa.float32()),
        }
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        publish(artifacts.rows, sink.getvalue().to_pybytes())
        with self.crosswalk.database.session() as session:
            self.crosswalk.upgrade_steps.advance(session, upgrade, Event.TRAINED, learned=LEARNED)
        return model

    def accept(self, upgrade: str) -> None:
        """What `evaluate_compatible` does where the gate accepts."""
        with self.crosswalk.database.session() as session:
            self.crosswalk.upgrade_steps.finish_compatible(session, upgrade, {})

    def reject(self, upgrade: str) -> None:
        with self.crosswalk.database.session() as session:
            self.crosswalk.upgrade_steps.advance(
                session, upgrade, Event.REJECTED, proofs={}, reason="worse than the old"
            )

    def fail(self, upgrade: str) -> None:
        with self.crosswalk.database.session() as session:
            self.crosswalk.upgrade_steps.step_failed(session, upgrade, "the step died")

    def accepted(self, **changes: Any) -> str:
        upgrade = self.start(**changes)
        self.train(upgrade)
        self.accept(upgrade)
        return upgrade

    def search(self, queries: Floats, model: str = "new", gallery: str = "shop") -> httpx.Response:
        body = {"gallery": gallery, "model": model, "k": 5, "vectors": queries.tolist()}
        return self.client.post("/search", json=body)
