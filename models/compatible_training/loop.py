"""The training loop of compatible training: one step on a batch, and validation on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from models.arrays import Progress
from models.compatible_training.data import LabelledInputs
from models.compatible_training.instance_weights import RowWeights
from models.compatible_training.objective import Influence, Regression, Student, Tie, mean_loss, row_losses
from models.compatible_training.pseudo_classifier import PseudoClassifier
from models.compatible_training.settings import TrainingSettings
from models.compatible_training.validation import embed, validate
from models.embedding_model.backbones import build
from models.inputs import Batch, Loader, Preprocessing
from models.portable import Architecture, Distance
from models.training import ALONE, Epoch, ProcessGroup, Trainer, TrainingWork
from models.training.checkpoint import Checkpoint
from models.training.trainer import to_device


@dataclass(frozen=True)
class CompatibleTask:
    """Everything that a process needs to train; it can be pickled and sent to another process.

    training, held_out: rows whose codes run from 0 to classes − 1; metric: of the old space; dimension: of the new
    model; pseudo: None for the baselines; folder: where checkpoints are kept; fingerprint: SHA-256 of all that
    determines the result.
    """

    training: LabelledInputs
    held_out: LabelledInputs
    classes: int
    metric: Distance
    architecture: Architecture
    dimension: int
    preprocessing: Preprocessing
    pseudo: PseudoClassifier | None
    settings: TrainingSettings
    backbones_dir: Path | None
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class CompatibleEpoch(Epoch):
    """An epoch's mean losses, and CMC@1 of the cross and the self test on held-out rows, None without any."""

    influence_loss: float | None
    cross: float | None
    self: float | None


def run_compatible(task: CompatibleTask, device: torch.device, progress: Progress, group: ProcessGroup = ALONE) -> None:
    """Trains until the schedule ends or early stopping; the result is the last checkpoint in the task's folder."""
    with CompatibleTrainer(task, device, group) as trainer:
        trainer.run(progress)


class CompatibleTrainer(Trainer[CompatibleEpoch]):
    """Trains a model to classify its rows and, unless the method is `none`, to agree with the old model's space."""

    def __init__(self, task: CompatibleTask, device: torch.device, group: ProcessGroup) -> None:
        settings = task.settings
        torch.manual_seed(settings.seed)
        embedder = build(task.architecture, task.dimension, backbones_dir=task.backbones_dir)
        self.student = Student(embedder, task.classes, task.metric, settings.scale)
        to_device(self.student, device, images=task.preprocessing.modality == "image")
        optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        work = TrainingWork(task.training.inputs, task.preprocessing, settings, task.folder, task.fingerprint)
        super().__init__(self.student, optimizer, work, device, group)
        self.task = task
        self.tie: Tie | None = None
        if task.pseudo is not None:
            self.tie = Influence(task.pseudo, task.metric).to(device)
        elif settings.constrained:
            self.tie = Regression(task.metric).to(device)
        self.weights = None
        if settings.instance_weights is not None:
            self.weights = RowWeights(len(task.training), settings.instance_weights, device)
        self.old = torch.from_numpy(task.training.old)
        self.codes = torch.from_numpy(task.training.codes)
        self.held_out = Loader(task.held_out.inputs, task.preprocessing, settings.workers)

    def close(self) -> None:
        self.held_out.close()
        super().close()

    def step(self, batch: Batch, epoch: int) -> Tensor:
        rows = torch.from_numpy(batch.rows)
        codes, old = self.codes[rows].to(self.device), self.old[rows].to(self.device)
        tensors = self.transferred(batch)
        with self.autocast():
            features, logits = self.parallel(tensors)
        with record_function("losses"):
            losses, used = row_losses(features, logits, codes, old, self.tie, self.task.settings.influence_weight)
            loss = mean_loss(losses, used) if self.weights is None else self._weighed(losses, used, rows, self.weights)
        self.descend(loss)
        if self.weights is not None and epoch >= self.weights.settings.warm_up:
            with record_function("instance weights"):
                gradients = self.weights.gradients(losses.detach(), used, rows)
                self.weights.step(self.group.gathered(rows), self.group.gathered(gradients))
        return torch.where(used, losses.detach(), 0.0).sum(0)

    def _weighed(self, losses: Tensor, used: Tensor, rows: Tensor, weights: RowWeights) -> Tensor:
        return weights.weigh(losses, used, rows, self.group.summed(weights.totals(used, rows)))

    def passed(self, number: int, losses: list[float]) -> CompatibleEpoch:
        own, influence = losses
        return CompatibleEpoch(number, 0.0, own, influence if self.tie else None, None, None)

    def validated(self, epoch: CompatibleEpoch) -> CompatibleEpoch:
        if not len(self.task.held_out):
            return epoch
        embedder = self.student.embedder
        features = embed(embedder, self.held_out, len(self.task.held_out), self.settings.batch, self.device, self.dtype)
        validation = validate(features, self.task.held_out, self.task.metric)
        return replace(epoch, cross=validation.cross, self=validation.self)

    def recorded(self, record: Mapping[str, Any]) -> CompatibleEpoch:
        return CompatibleEpoch(**record)

    def worth(self, epoch: CompatibleEpoch) -> float | None:
        """CMC@1 of the cross test, or of the self test where the old space plays no part in the loss."""
        return epoch.cross if self.tie is not None else epoch.self

    def own_state(self) -> dict[str, Mapping[str, Tensor]]:
        return {} if self.weights is None else {"instance_weights": self.weights.state()}

    def load_own_state(self, saved: Checkpoint) -> None:
        if self.weights is not None:
            self.weights.load_state(saved.part("instance_weights"))
