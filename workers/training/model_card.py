"""What is said of a model that was trained: its card, and the upgrade's report on its training."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from app.upgrades.info import UpgradeInfo
from models.compatible_training import Split, Trained, TrainingSettings
from models.compatible_training.instance_weights import suspects
from models.embedding_model import ModelCard, TrainedOn
from models.inputs import Preprocessing
from models.portable import Architecture, Space
from workers.rows.labelled_rows import LabelledRows

OUTLIER = 0.5  # m·π under which a row is counted as an outlier of its class


def card_of(
    upgrade: UpgradeInfo,
    rows: LabelledRows,
    split: Split,
    trained: Trained,
    architecture: Architecture,
    preprocessing: Preprocessing,
    settings: TrainingSettings,
    source: Space,
    target: Space,
    now: str,
) -> ModelCard:
    """The card of a model that was just trained."""
    best = trained.epochs[trained.best_epoch - 1]
    measured = {"validation_cross_cmc@1": best.cross, "validation_self_cmc@1": best.self, "loss": best.loss}
    return ModelCard(
        id=target.model,
        dimension=target.dimension,
        metric=target.metric,
        compatible_with=source,
        architecture=architecture.to_json(),
        preprocessing=preprocessing.to_json(),
        method=settings.method,
        settings=dataclasses.asdict(settings),
        trained_on=TrainedOn(
            dataset=upgrade.asked.dataset,
            version=rows.version,
            rows=len(split.training),
            classes=int((~split.unseen).sum()),
            fingerprint=rows.fingerprint(),
        ),
        metrics={name: value for name, value in measured.items() if value is not None},
        created_at=now,
    )


def summary_of(card: ModelCard, trained: Trained, split: Split, device: torch.device) -> dict[str, Any]:
    """What the report says of training; plain JSON."""
    pseudo = trained.pseudo
    unusable = 0 if pseudo is None else int((~pseudo.usable).sum())
    outliers = None if pseudo is None or pseudo.outlier is None else int(np.sum(pseudo.outlier < OUTLIER))
    return {
        "strategy": "compatible",
        "method": card.method,
        "rows": card.trained_on.rows,
        "rows_held_out": len(split.held_out),
        "classes": card.trained_on.classes,
        "classes_held_out": int(split.unseen.sum()),
        "classes_without_column": unusable,
        "outliers": outliers,
        "old_features_accuracy": trained.old_accuracy,
        "dimension": card.dimension,
        "architecture": card.architecture,
        "parameters": sum(parameter.numel() for parameter in trained.embedder.parameters()),
        "settings": dict(card.settings),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "epochs": [dataclasses.asdict(epoch) for epoch in trained.epochs],
        "best_epoch": trained.best_epoch,
        "instance_weights": _instance_weights(trained),
    }


def _instance_weights(trained: Trained) -> dict[str, int] | None:
    if trained.instance_weights is None:
        return None
    suspicions = suspects(trained.instance_weights, None if trained.pseudo is None else trained.pseudo.outlier)
    return {
        "suspect_labels": int(suspicions.is_suspect.sum()),
        "old_model_poor": int(suspicions.is_poor.sum()),
    }
