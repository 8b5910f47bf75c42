"""The training loop of contrastive training: one step on a batch, and validation on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function

from models.arrays import Progress
from models.contrastive_training.colours import Colours, distort_colours
from models.contrastive_training.objective import Contrast, alignment, info_nce, nt_xent, uniformity
from models.contrastive_training.settings import ContrastiveSettings
from models.embedding_model.backbones import Embedder
from models.inputs import Batch, Inputs, Loader, Preprocessing, Views
from models.training import Epoch, Trainer, TrainingWork
from models.training.plan import derived_seed, steps_per_epoch
from models.training.trainer import to_device

_HELD_OUT, _COLOURS = 1, 2  # tell apart the seeds derived from one seed


@dataclass(frozen=True)
class ContrastiveTask:
    """Everything that training needs.

    training, held_out: encoded images or texts. folder: where checkpoints are kept. fingerprint: SHA-256 of all that
    determines the result.
    """

    training: Inputs
    held_out: Inputs
    preprocessing: Preprocessing
    settings: ContrastiveSettings
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class ContrastiveEpoch(Epoch):
    """An epoch's mean loss; and on held-out rows, None without any, the loss and the vectors' alignment and
    uniformity."""

    held_out_loss: float | None
    alignment: float | None
    uniformity: float | None


def run_contrastive(embedder: Embedder, task: ContrastiveTask, device: torch.device, progress: Progress) -> None:
    """Trains until the schedule ends or early stopping; the result is the last checkpoint in the task's folder."""
    with ContrastiveTrainer(embedder, task, device) as trainer:
        trainer.run(progress)


class ContrastiveTrainer(Trainer[ContrastiveEpoch]):
    """Trains an encoder to tell two views of a row from the views of the other rows of the batch."""

    def __init__(self, embedder: Embedder, task: ContrastiveTask, device: torch.device) -> None:
        settings = task.settings
        self.images = task.preprocessing.modality == "image"
        self.contrast = Contrast(embedder, settings.head)
        to_device(self.contrast, device, images=self.images)
        optimizer = torch.optim.AdamW(
            self.contrast.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        work = TrainingWork(task.training, task.preprocessing, settings, task.folder, task.fingerprint)
        super().__init__(self.contrast, optimizer, work, device)
        self.task = task
        self.augment = Views(2, settings.least_area, settings.mirrored)
        self.colours = Colours(settings.colour_strength, settings.coloured, settings.greyed)
        self.held_out = Loader(task.held_out, task.preprocessing, settings.workers)

    def close(self) -> None:
        self.held_out.close()
        super().close()

    def step(self, batch: Batch, epoch: int) -> Tensor:
        views = self._views(batch, derived_seed(self.settings.seed, epoch))
        with self.autocast():
            _, compared = self.parallel(views)
        with record_function("losses"):
            losses = self._losses(compared)
        self.descend(losses.mean())
        return losses.detach().sum().unsqueeze(0)

    def passed(self, number: int, losses: list[float]) -> ContrastiveEpoch:
        return ContrastiveEpoch(number, 0.0, losses[0], None, None, None)

    def validated(self, epoch: ContrastiveEpoch) -> ContrastiveEpoch:
        """The epoch with the measurements on held-out rows, on identical views in every epoch.

        Dropout stays on for texts, since it makes their views.
        """
        rows = len(self.task.held_out)
        if rows < 2:
            return epoch
        seed = derived_seed(self.settings.seed, _HELD_OUT)
        torch.manual_seed(seed)
        self.contrast.train(not self.images)
        plan = np.array_split(np.arange(rows), steps_per_epoch(rows, self.settings.batch))
        losses, features = [], []
        for batch in self.held_out.batches(plan, augment=self.augment, seed=seed):
            with torch.inference_mode(), self.autocast():
                vectors, compared = self.contrast(self._views(batch, seed))
            losses.append(self._losses(compared).cpu())
            features.append(vectors.cpu().unflatten(0, (2, -1)))
        first, second = torch.cat(features, 1)
        return replace(
            epoch,
            held_out_loss=float(torch.cat(losses).mean()),
            alignment=alignment(first, second),
            uniformity=uniformity(first),
        )

    def recorded(self, record: Mapping[str, Any]) -> ContrastiveEpoch:
        return ContrastiveEpoch(**record)

    def worth(self, epoch: ContrastiveEpoch) -> float | None:
        """The negative loss on held-out rows; None without any."""
        return None if epoch.held_out_loss is None else -epoch.held_out_loss

    def _losses(self, compared: Tensor) -> Tensor:
        """The loss of every row, (b,), from both of its views; compared: (2b, h)."""
        first, second = compared.chunk(2)
        return (nt_xent if self.images else info_nce)(first, second, self.task.settings.temperature)

    def _views(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """The two views of the batch on the device: images with distorted colours, texts without some of their
        tokens."""
        tensors = self.transferred(batch)
        if not self.images:
            return tensors | {"attention_mask": _cut(tensors["attention_mask"], self.task.settings.dropped_tokens)}
        with record_function("colours"):
            views = [
                distort_colours(view, batch.rows, self.colours, derived_seed(seed, _COLOURS, number))
                for number, view in enumerate(tensors["pixels"].chunk(2))
            ]
            return {"pixels": torch.cat(views)}


def _cut(mask: Tensor, share: float) -> Tensor:
    """The attention mask (b, t) with a random `share` of the tokens masked out, but never the first of a text."""
    if share == 0:
        return mask
    kept = torch.rand(mask.shape) >= share  # drawn on the CPU: the mask must not depend on the device
    kept[:, 0] = True
    return mask * kept.to(mask.device)
