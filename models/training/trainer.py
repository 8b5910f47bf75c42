"""The training loop of one process, alone or one of several that share every batch; subclasses define the task."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Generic, Self, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from models.arrays import Progress
from models.inputs import Batch, Loader, Views
from models.training import checkpoint
from models.training.checkpoint import Checkpoint
from models.training.plan import derived_seed, epoch_plan, steps_per_epoch
from models.training.precision import reduced_dtype
from models.training.schedule import learning_rate
from models.training.work import ALONE, ProcessGroup, TrainingWork


class NotTrainable(ValueError):
    """The given data and settings do not allow training; the message says why."""


@dataclass(frozen=True)
class Epoch:
    """The record of an epoch, numbered from 1. loss: the mean over its rows."""

    epoch: int
    seconds: float
    loss: float


E = TypeVar("E", bound=Epoch)


def diverged(epochs: Sequence[Epoch]) -> bool:
    """Whether the last epoch's loss is infinite or NaN, from which training does not recover."""
    return bool(epochs) and not math.isfinite(epochs[-1].loss)


class Trainer(ABC, Generic[E]):
    """Trains `network` until the schedule ends or early stopping; the result is the last checkpoint.

    Resumes from the last checkpoint of the same work. On a CPU the same work gives the same weights, interrupted or
    not. augment: how the loader augments rows.
    """

    augment: bool | Views = True

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        work: TrainingWork,
        device: torch.device,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.network, self.optimizer, self.work, self.device, self.group = network, optimizer, work, device, group
        self.settings = work.settings
        self.dtype = reduced_dtype(self.settings.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.parallel = self._parallel()
        self.rows = len(work.inputs)
        self.steps = steps_per_epoch(self.rows, self.settings.batch)
        self.epochs: list[E] = []
        self.best: dict[str, Tensor] | None = None
        self.best_epoch: int | None = None
        self.loader = Loader(work.inputs, work.preprocessing, self.settings.workers)

    @abstractmethod
    def step(self, batch: Batch, epoch: int) -> Tensor:
        """Trains on one batch, by `descend`; returns the sum of every loss term over its rows, (terms,) float32."""

    @abstractmethod
    def passed(self, number: int, losses: list[float]) -> E:
        """The record of the epoch numbered `number`, given its mean of every loss term."""

    @abstractmethod
    def validated(self, epoch: E) -> E:
        """The epoch with its measurements on held-out rows; of several processes, only the first calls this."""

    @abstractmethod
    def recorded(self, record: Mapping[str, Any]) -> E:
        """The epoch that a checkpoint's JSON record describes."""

    @abstractmethod
    def worth(self, epoch: E) -> float | None:
        """What early stopping compares, greater is better; None where nothing was held out."""

    def own_state(self) -> dict[str, Mapping[str, Tensor]]:
        """The tensors that a checkpoint stores beside those of network and optimiser, by prefix and name."""
        return {}

    def load_own_state(self, saved: Checkpoint) -> None:
        """Restores `own_state` from a checkpoint."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes that prepare batches."""
        self.loader.close()

    def run(self, progress: Progress) -> None:
        """Trains. progress: counts training steps. Raises BadInput for a row that cannot be prepared."""
        self._resume()
        total = self.settings.epochs * self.steps
        while len(self.epochs) < self.settings.epochs and not (self._stale() or diverged(self.epochs)):
            began, number = time.monotonic(), len(self.epochs)
            progress(number * self.steps, total)
            losses = self._train(number, partial(_report, progress, number * self.steps, total))
            epoch = self.passed(number + 1, losses)
            if self.group.rank == 0:
                epoch = self.validated(epoch)
            self.epochs.append(replace(epoch, seconds=round(time.monotonic() - began, 3)))
            self._agree()
            if self.group.rank == 0:
                self._keep()
        progress(total, total)

    def transferred(self, batch: Batch) -> dict[str, Tensor]:
        """The batch's tensors on the device."""
        with record_function("transfer"):
            return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.tensors.items()}

    def autocast(self) -> torch.autocast:
        """The context in which matrix products are computed in the reduced dtype, if there is one."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def descend(self, loss: Tensor) -> None:
        """Backpropagates the loss and takes one step of the optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        with record_function("backward"):
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        with record_function("optimizer"):
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _train(self, epoch: int, progress: Callable[[int], None]) -> list[float]:
        """Trains one epoch, numbered from 0; returns the mean of every loss term."""
        seed = derived_seed(self.settings.seed, epoch)
        torch.manual_seed(seed + self.group.rank)  # dropout
        settings, group = self.settings, self.group
        plan = epoch_plan(self.rows, settings.batch, settings.seed, epoch, group.rank, group.world)
        self.network.train()
        sums, rows = torch.zeros((), device=self.device), 0
        batches = self.loader.batches(plan, augment=self.augment, seed=seed)
        for step in range(len(plan)):
            with record_function("waiting for data"):
                batch = next(batches)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = learning_rate(settings, epoch * self.steps + step, self.steps)
            sums = sums + self.step(batch, epoch)
            rows += len(batch.rows)
            progress(step + 1)
        means: list[float] = (sums / rows).tolist()
        return means

    def _best(self) -> int | None:
        """The index of the best epoch, the first of equals; None where nothing was held out."""
        worths = [
            (worth, -place) for place, epoch in enumerate(self.epochs) if (worth := self.worth(epoch)) is not None
        ]
        return -max(worths)[1] if worths else None

    def _stale(self) -> bool:
        best = self._best()
        if best is None or self.settings.patience is None:
            return False
        return len(self.epochs) - 1 - best >= self.settings.patience

    def _agree(self) -> None:
        """Sends the first process's record of the epoch to the others, so that all of them stop at the same epoch."""
        if self.group.world > 1:
            records = [self.epochs[-1]]
            torch.distributed.broadcast_object_list(records)
            self.epochs[-1] = records[0]

    def _keep(self) -> None:
        """Writes the checkpoint that an interrupted training resumes from."""
        state = self.network.state_dict()
        best = self._best() if self.settings.patience is not None else None
        if best is not None and best == len(self.epochs) - 1:
            self.best, self.best_epoch = copy.deepcopy(state), best
        parts: dict[str, Mapping[str, Tensor]] = {"network": state, "optimizer": self._optimizer_state()}
        if self.best is not None:
            parts["best"] = self.best
        record = {
            "fingerprint": self.work.fingerprint,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.write(self.work.folder, parts | self.own_state(), record)

    def _resume(self) -> None:
        """Restores the last checkpoint of the same work, if there is one."""
        saved = checkpoint.read(self.work.folder, self.work.fingerprint)
        if saved is None:
            return
        self.network.load_state_dict(saved.part("network"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.part("optimizer").items():
            parameter, _, key = name.partition(".")
            state.setdefault(int(parameter), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.load_own_state(saved)
        self.scaler.load_state_dict(dict(saved.record["scaler"]))
        self.best, self.best_epoch = saved.part("best") or None, saved.record["best_epoch"]
        self.epochs = [self.recorded(epoch) for epoch in saved.record["epochs"]]

    def _optimizer_state(self) -> dict[str, Tensor]:
        """The optimiser's tensors, named by the parameter's number and the optimiser's name for the tensor."""
        return {
            f"{parameter}.{key}": value
            for parameter, remembered in self.optimizer.state_dict()["state"].items()
            for key, value in remembered.items()
            if isinstance(value, Tensor)
        }

    def _parallel(self) -> nn.Module:
        if self.group.world == 1:
            return self.network
        network = self.network
        if self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def to_device(network: nn.Module, device: torch.device, *, images: bool) -> nn.Module:
    """Moves the network to the device; for images with channels last in memory, which is faster."""
    network.to(device)
    if images:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
