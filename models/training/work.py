"""The input and the checkpoint folder of a training loop, and the processes that share it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from models.inputs import Inputs, Preprocessing
from models.training.settings import LoopSettings


@dataclass(frozen=True)
class TrainingWork:
    """What a training loop needs. inputs: of the training rows. folder: where checkpoints are kept. fingerprint: of all
    that determines the result; a checkpoint with another one is ignored."""

    inputs: Inputs
    preprocessing: Preprocessing
    settings: LoopSettings
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class ProcessGroup:
    """This process (`rank`) among the `world` processes that train together."""

    rank: int = 0
    world: int = 1

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of all processes' tensors, of one shape; `tensor` is overwritten by it."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def gathered(self, tensor: Tensor) -> Tensor:
        """The rows of all processes' tensors, concatenated in the order of ranks; they may differ in number."""
        if self.world == 1:
            return tensor
        tensors: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(tensors, tensor.cpu())
        return torch.cat(tensors).to(tensor.device)


ALONE = ProcessGroup()
