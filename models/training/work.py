"""What a training loop reads and where it keeps what it learned; and who else trains beside it."""

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
    """inputs: of the training rows. folder: where checkpoints lie. fingerprint: of all that determines the result."""

    inputs: Inputs
    preprocessing: Preprocessing
    settings: LoopSettings
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class ProcessGroup:
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


ALONE = ProcessGroup()
