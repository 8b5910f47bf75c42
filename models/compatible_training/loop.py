"""The training loop of one process: alone, or one of several that share every batch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from models.backbones import build
from models.compatible_training import checkpoint
from models.compatible_training.data import Rows, epoch_plan, epoch_seed, steps_per_epoch
from models.compatible_training.objective import Influence, Regression, Student, Tie, mean_loss, row_losses
from models.compatible_training.precision import reduced
from models.compatible_training.schedule import learning_rate
from models.compatible_training.settings import TrainingSettings
from models.compatible_training.validation import embed, validate
from models.inputs import Batch, Loader, Preprocessing
from models.instance_weights import InstanceWeights
from models.portable import Architecture, Metric
from models.pseudo_classifier import PseudoClassifier

Progress = Callable[[int, int], None]  # (steps done, steps in all)


@dataclass(frozen=True)
class Task:
    """Everything that a process needs to train: plain data, so that it can be sent to another process.

    codes of both row sets run from 0 to classes − 1; folder: where checkpoints are kept; fingerprint: of all that
    determines the result.
    """

    training: Rows
    held_out: Rows
    classes: int
    metric: Metric
    architecture: Architecture
    dimension: int
    preprocessing: Preprocessing
    pseudo: PseudoClassifier | None
    settings: TrainingSettings
    backbones_dir: Path | None
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class Epoch:
    """What is known of an epoch: mean losses over its rows, and the cross and self test on held-out rows."""

    epoch: int
    seconds: float
    loss: float
    influence_loss: float | None
    cross: float | None
    self: float | None


def diverged(epochs: Sequence[Epoch]) -> bool:
    """Whether the loss has left the numbers, from where no further epoch brings it back."""
    return bool(epochs) and not math.isfinite(epochs[-1].loss)


@dataclass(frozen=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def gathered(self, tensor: Tensor) -> Tensor:
        """The rows of every process's tensor, in order of rank; each holds as many rows, up to one."""
        if self.world == 1:
            return tensor
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, tensor.cpu())
        return torch.cat(found).to(tensor.device)


def run(task: Task, device: torch.device, progress: Progress, group: Group = Group()) -> None:
    """Trains until the schedule ends or patience runs out; what was learned lies in the task's last checkpoint.

    Begins where the last checkpoint of the same task stands. On a processor the same task gives the same weights,
    interrupted or not.
    """
    trainer = _Trainer(task, device, group)
    with trainer:
        trainer.run(progress)


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


class _Trainer:
    def __init__(self, task: Task, device: torch.device, group: Group) -> None:
        settings = task.settings
        self.task, self.device, self.group, self.settings = task, device, group, settings
        torch.manual_seed(settings.seed)
        embedder = build(task.architecture, task.dimension, backbones_dir=task.backbones_dir)
        self.student = Student(embedder, task.classes, task.metric, settings.scale)
        self.student.to(device)
        if task.preprocessing.modality == "image":
            self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # known to be faster
        self.tie: Tie | None = None
        if task.pseudo is not None:
            self.tie = Influence(task.pseudo, task.metric).to(device)
        elif settings.constrained:
            self.tie = Regression(task.metric).to(device)
        self.weights = None
        if settings.instance_weights is not None:
            self.weights = InstanceWeights(len(task.training), settings.instance_weights, device)
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.dtype = reduced(settings.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.parallel = self._parallel()
        self.old = torch.from_numpy(task.training.old)
        self.codes = torch.from_numpy(task.training.codes)
        self.steps = steps_per_epoch(len(task.training), settings.batch)
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] | None = None
        self.best_epoch: int | None = None
        self.loader = Loader(task.training.inputs, task.preprocessing, settings.workers)
        self.held_out = Loader(task.held_out.inputs, task.preprocessing, settings.workers)

    def __enter__(self) -> _Trainer:
        self.loader.__enter__()
        self.held_out.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.held_out.__exit__(*raised)
        self.loader.__exit__(*raised)

    def run(self, progress: Progress) -> None:
        self._resume()
        total = self.settings.epochs * self.steps
        while len(self.epochs) < self.settings.epochs and not (self._stale() or diverged(self.epochs)):
            began, number = time.monotonic(), len(self.epochs)
            progress(number * self.steps, total)
            losses = self._train(number, partial(_report, progress, number * self.steps, total))
            epoch = Epoch(number + 1, 0.0, losses[0], losses[1] if self.tie else None, None, None)
            if self.group.rank == 0:
                epoch = self._validated(epoch)
            self.epochs.append(replace(epoch, seconds=round(time.monotonic() - began, 3)))
            self._agree()
            if self.group.rank == 0:
                self._keep()
        progress(total, total)

    def _train(self, epoch: int, progress: Callable[[int], None]) -> tuple[float, float]:
        """One pass over the rows; the mean of both loss terms."""
        seed = epoch_seed(self.settings.seed, epoch)
        torch.manual_seed(seed + self.group.rank)  # dropout
        plan = epoch_plan(
            len(self.task.training), self.settings.batch, self.settings.seed, epoch, self.group.rank, self.group.world
        )
        self.student.train()
        sums, rows = torch.zeros(2, device=self.device), 0
        batches = self.loader.batches(plan, augment=True, seed=seed)
        for step in range(len(plan)):
            with record_function("waiting for data"):
                batch = next(batches)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = learning_rate(self.settings, epoch * self.steps + step, self.steps)
            sums += self._step(batch, epoch)
            rows += len(batch.rows)
            progress(step + 1)
        own, influence = (sums / rows).tolist()
        return own, influence

    def _step(self, batch: Batch, epoch: int) -> Tensor:
        with record_function("transfer"):
            where = torch.from_numpy(batch.rows)
            codes, old = self.codes[where].to(self.device), self.old[where].to(self.device)
            tensors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.tensors.items()}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            features, logits = self.parallel(tensors)
        with record_function("losses"):
            losses, used = row_losses(features, logits, codes, old, self.tie, self.settings.influence_weight)
            loss = mean_loss(losses, used) if self.weights is None else self._weighed(losses, used, where, self.weights)
        self.optimizer.zero_grad(set_to_none=True)
        with record_function("backward"):
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        with record_function("optimizer"):
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.weights is not None and epoch >= self.weights.settings.warm_up:
            with record_function("instance weights"):
                gradients = self.weights.gradients(losses.detach(), used, where)
                self.weights.step(self.group.gathered(where), self.group.gathered(gradients))
        return torch.where(used, losses.detach(), 0.0).sum(0)

    def _weighed(self, losses: Tensor, used: Tensor, rows: Tensor, weights: InstanceWeights) -> Tensor:
        return weights.weigh(losses, used, rows, self.group.summed(weights.totals(used, rows)))

    def _validated(self, epoch: Epoch) -> Epoch:
        if not len(self.task.held_out):
            return epoch
        embedder = self.student.embedder
        features = embed(embedder, self.held_out, len(self.task.held_out), self.settings.batch, self.device, self.dtype)
        found = validate(features, self.task.held_out, self.task.metric)
        return replace(epoch, cross=found.cross, self=found.self)

    def _worth(self, epoch: Epoch) -> float | None:
        """What early stopping looks at: the cross test, or the self test of a model that is tied to nothing."""
        return epoch.cross if self.tie is not None else epoch.self

    def _best(self) -> int | None:
        """The (first) best epoch's place."""
        known = [
            (worth, -place) for place, epoch in enumerate(self.epochs) if (worth := self._worth(epoch)) is not None
        ]
        return -max(known)[1] if known else None

    def _stale(self) -> bool:
        best = self._best()
        if best is None or self.settings.patience is None:
            return False
        return len(self.epochs) - 1 - best >= self.settings.patience

    def _agree(self) -> None:
        """Only the first process validates: the others take over what it found, so that all stop together."""
        if self.group.world > 1:
            said = [self.epochs[-1]]
            torch.distributed.broadcast_object_list(said)
            self.epochs[-1] = said[0]

    def _keep(self) -> None:
        """Writes the checkpoint that the next attempt begins from."""
        state = self.student.state_dict()
        best = self._best() if self.settings.patience is not None else None
        if best is not None and best == len(self.epochs) - 1:
            self.best, self.best_epoch = copy.deepcopy(state), best
        momentum = {
            name: self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.student.named_parameters()
            if self.optimizer.state[parameter].get("momentum_buffer") is not None
        }
        parts: dict[str, Mapping[str, Tensor]] = {"student": state, "momentum": momentum}
        if self.best is not None:
            parts["best"] = self.best
        if self.weights is not None:
            parts["instance_weights"] = self.weights.state()
        record = {
            "fingerprint": self.task.fingerprint,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.write(self.task.folder, parts, record)

    def _resume(self) -> None:
        found = checkpoint.read(self.task.folder, self.task.fingerprint)
        if found is None:
            return
        self.student.load_state_dict(found.part("student"))
        momentum = found.part("momentum")
        for name, parameter in self.student.named_parameters():
            if name in momentum:
                self.optimizer.state[parameter]["momentum_buffer"] = momentum[name].to(self.device)
        if self.weights is not None:
            self.weights.load_state(found.part("instance_weights"))
        self.scaler.load_state_dict(dict(found.record["scaler"]))
        self.best, self.best_epoch = found.part("best") or None, found.record["best_epoch"]
        self.epochs = [Epoch(**epoch) for epoch in found.record["epochs"]]

    def _parallel(self) -> nn.Module:
        if self.group.world == 1:
            return self.student
        student: nn.Module = self.student
        if self.device.type == "cuda":
            student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(student, device_ids=devices)
