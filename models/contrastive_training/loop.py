"""Contrastive training's steps: what the training loop does with a batch, and what it finds on held-out rows."""

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
from models.contrastive_training.colours import Colours, distorted
from models.contrastive_training.objective import Contrast, alignment, info_nce, nt_xent, uniformity
from models.contrastive_training.settings import ContrastiveSettings
from models.embedding_model.backbones import Embedder
from models.inputs import Batch, Inputs, Loader, Preprocessing, Views
from models.training import Epoch, Trainer, TrainingWork
from models.training.plan import derived_seed, steps_per_epoch
from models.training.trainer import to_device

_HELD_OUT, _COLOURS = 1, 2  # purposes of seeds derived from the settings' and from an epoch's


@dataclass(frozen=True)
class ContrastiveTask:
    """Everything that training needs. fingerprint: of all that determines the result."""

    training: Inputs
    held_out: Inputs
    preprocessing: Preprocessing
    settings: ContrastiveSettings
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class ContrastiveEpoch(Epoch):
    """Its mean loss, and on held-out rows the loss, and the alignment and uniformity of the vectors."""

    held_out_loss: float | None
    alignment: float | None
    uniformity: float | None


def run(embedder: Embedder, task: ContrastiveTask, device: torch.device, progress: Progress) -> None:
    """Trains until the schedule ends or patience runs out; what was learned lies in the task's last checkpoint."""
    with ContrastiveTrainer(embedder, task, device) as trainer:
        trainer.run(progress)


class ContrastiveTrainer(Trainer[ContrastiveEpoch]):
    """Two views of every row, told from those of the other rows of the batch."""

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
        seen = self._seen(batch, derived_seed(self.settings.seed, epoch))
        with self.autocast():
            _, compared = self.parallel(seen)
        with record_function("losses"):
            losses = self._losses(compared)
        self.descend(losses.mean())
        return losses.detach().sum().unsqueeze(0)

    def passed(self, number: int, losses: list[float]) -> ContrastiveEpoch:
        return ContrastiveEpoch(number, 0.0, losses[0], None, None, None)

    def validated(self, epoch: ContrastiveEpoch) -> ContrastiveEpoch:
        """The same views of the same batches in every epoch; texts keep their dropout, which is what views are of."""
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
                found, compared = self.contrast(self._seen(batch, seed))
            losses.append(self._losses(compared).cpu())
            features.append(found.cpu().unflatten(0, (2, -1)))
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
        """How small the loss is on held-out rows."""
        return None if epoch.held_out_loss is None else -epoch.held_out_loss

    def _losses(self, compared: Tensor) -> Tensor:
        """Of every row, (b,), from both of its views, (2b, h)."""
        first, second = compared.chunk(2)
        return (nt_xent if self.images else info_nce)(first, second, self.task.settings.temperature)

    def _seen(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """The batch on the device, as its views: images in other colours, texts without some of their tokens."""
        tensors = self.transferred(batch)
        if not self.images:
            return tensors | {"attention_mask": _cut(tensors["attention_mask"], self.task.settings.dropped_tokens)}
        with record_function("colours"):
            views = [
                distorted(view, batch.rows, self.colours, derived_seed(seed, _COLOURS, number))
                for number, view in enumerate(tensors["pixels"].chunk(2))
            ]
            return {"pixels": torch.cat(views)}


def _cut(mask: Tensor, share: float) -> Tensor:
    """A mask of tokens, (b, t), that a share of them was taken from at random, but never the first of a text."""
    if share == 0:
        return mask
    kept = torch.rand(mask.shape) >= share  # drawn on the processor: the same whatever the device
    kept[:, 0] = True
    return mask * kept.to(mask.device)
