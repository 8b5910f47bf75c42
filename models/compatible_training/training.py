"""Trains a model whose vectors are compared with old ones: from labelled rows to an embedder and its record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models.arrays import Progress
from models.compatible_training.data import LabelledInputs
from models.compatible_training.loop import CompatibleEpoch, CompatibleTask
from models.compatible_training.objective import Student
from models.compatible_training.processes import train_on
from models.compatible_training.pseudo_classifier import PSEUDO_METHODS, PseudoClassifier, build_pseudo_classifier
from models.compatible_training.settings import TrainingSettings
from models.embedding_model.backbones import Embedder, build
from models.inputs import Preprocessing
from models.portable import Architecture, Array, Space, as_indexed
from models.training import NotTrainable, checkpoint, diverged

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Trained:
    """A model that was trained to be compatible, and the record of its training.

    embedder: in evaluation mode, on the CPU. pseudo: None for the baselines. epochs: one record each. best_epoch: from
    1, the one whose weights were kept. instance_weights: (n, 2) float32 log scales of each training row's
    classification and compatibility loss, None if not learned. old_accuracy: the share of training rows that the
    pseudo-classifier puts into their class by their old vectors, None for the baselines.
    """

    embedder: Embedder
    pseudo: PseudoClassifier | None
    epochs: tuple[CompatibleEpoch, ...]
    best_epoch: int
    instance_weights: Array | None
    old_accuracy: float | None


def with_signed_features(architecture: Architecture, old: Array) -> Architecture:
    """The architecture, with a final projection where its features could not equal the old vectors without one.

    old: (n, d_old) float32. The pooled features of image models may be rectified and so never negative, while old
    vectors may have negative components.
    """
    signed = architecture.modality == "image" and bool((old < 0).any())
    return replace(architecture, projection=architecture.projection or signed)


def train_compatible(
    training: LabelledInputs,
    held_out: LabelledInputs,
    *,
    classes: int,
    old: Space,
    architecture: Architecture,
    dimension: int,
    preprocessing: Preprocessing,
    settings: TrainingSettings,
    device: torch.device,
    folder: Path,
    backbones_dir: Path | None = None,
    progress: Progress = lambda done, total: None,
    processes: int | None = None,
) -> Trained:
    """Trains a model of `dimension` whose first d_old coordinates are searched against the old gallery.

    training, held_out: rows with classes 0 … classes − 1; the second is only measured on and may be empty. folder:
    keeps the checkpoint, from which another call with the same arguments resumes. progress: counts training steps.
    processes: how many share the work, one per GPU by default.

    Raises NotTrainable where d_new < d_old, no two classes have a usable column, there is too little to train on, or
    the loss diverges.
    """
    _check(training, classes, old, dimension)
    pseudo = _pseudo_classifier(training, classes, old, settings, device)
    task = CompatibleTask(
        training=training,
        held_out=held_out,
        classes=classes,
        metric=old.metric,
        architecture=architecture,
        dimension=dimension,
        preprocessing=preprocessing,
        pseudo=pseudo,
        settings=settings,
        backbones_dir=backbones_dir,
        folder=folder,
        fingerprint=_fingerprint(training, classes, old, architecture, dimension, preprocessing, settings),
    )
    train_on(task, device, progress, processes)
    return _collected(task)


def _check(training: LabelledInputs, classes: int, old: Space, dimension: int) -> None:
    if dimension < old.dimension:
        raise NotTrainable(
            f"A compatible model needs at least the {old.dimension} dimensions of {old.model}, whose vectors are "
            f"zero-padded; {dimension} are too few."
        )
    if len(training) < 2 or classes < 2:
        raise NotTrainable(f"{len(training)} rows of {classes} classes are too few to train on: at least 2 of each.")


def _pseudo_classifier(
    training: LabelledInputs, classes: int, old: Space, settings: TrainingSettings, device: torch.device
) -> PseudoClassifier | None:
    if settings.method not in PSEUDO_METHODS or not settings.constrained:
        return None
    pseudo = build_pseudo_classifier(
        settings.method,
        training.old,
        training.codes,
        classes,
        old.metric,
        damping=settings.damping,
        temperature=settings.temperature,
        device=device,
        seed=settings.seed,
    )
    if pseudo.usable.sum() < 2:
        raise NotTrainable(
            f"Of {classes} classes, {int(pseudo.usable.sum())} have old vectors with a direction to aim at; at least 2 "
            "are needed. Are the old vectors all zero?"
        )
    return pseudo


def _collected(task: CompatibleTask) -> Trained:
    saved = checkpoint.read(task.folder, task.fingerprint)
    if saved is None:
        raise RuntimeError("training left no checkpoint")
    epochs = tuple(CompatibleEpoch(**epoch) for epoch in saved.record["epochs"])
    if diverged(epochs):
        raise NotTrainable(
            f"Training diverged: in epoch {len(epochs)} the loss became {epochs[-1].loss}. Give a smaller "
            f"`learning_rate` than {task.settings.learning_rate:g}, or some `warm_up_epochs`."
        )
    embedder = build(task.architecture, task.dimension, backbones_dir=task.backbones_dir)
    student = Student(embedder, task.classes, task.metric, task.settings.scale)
    best = saved.part("best")
    student.load_state_dict(best or saved.part("network"))
    pseudo, values = task.pseudo, saved.part("instance_weights")
    return Trained(
        embedder=student.embedder.eval(),
        pseudo=pseudo,
        epochs=epochs,
        best_epoch=(saved.record["best_epoch"] if best else len(epochs) - 1) + 1,
        instance_weights=values["values"].numpy() if values else None,
        old_accuracy=None if pseudo is None else _accuracy(pseudo, task),
    )


def _accuracy(pseudo: PseudoClassifier, task: CompatibleTask) -> float:
    """The share of training rows that the pseudo-classifier puts into their class by their old vectors."""
    right, rows = 0, task.training
    bias = np.where(pseudo.usable, pseudo.bias, -np.inf)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        logits = pseudo.scale * as_indexed(rows.old[part], task.metric) @ pseudo.columns.T + bias
        right += int((np.argmax(logits, axis=1) == rows.codes[part]).sum())
    return right / len(rows)


def _fingerprint(
    training: LabelledInputs,
    classes: int,
    old: Space,
    architecture: Architecture,
    dimension: int,
    preprocessing: Preprocessing,
    settings: TrainingSettings,
) -> str:
    """SHA-256 of all that determines the weights; the number of processes that prepare batches does not."""
    determining = {
        "classes": classes,
        "old": asdict(old),
        "architecture": architecture.to_json(),
        "dimension": dimension,
        "preprocessing": preprocessing.to_json(),
        "settings": asdict(replace(settings, workers=0)),
    }
    digest = hashlib.sha256(json.dumps(determining, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(training.codes).tobytes())
    digest.update(np.ascontiguousarray(training.old).tobytes())
    return digest.hexdigest()
