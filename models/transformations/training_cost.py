"""The cost of training a network, estimated from its size alone, so that all machines without a GPU decide alike."""

from __future__ import annotations

import torch

from models.transformations.methods import MethodName

RATE_OF_CPU = 1e11  # floating-point operations per second in training, of two cores and rounded down, as the next
RATE_OF_GPU = 8e12  # of an H100 at the default network of 128 dimensions
WANTED_EPOCHS: dict[MethodName, int] = {"residual_mlp": 40, "fct": 80}


def epochs_within(
    budget_seconds: float,
    method: MethodName,
    rows: int,
    dimensions: tuple[int, int, int],
    fits: int,
    device: torch.device,
) -> int:
    """How many epochs of `method` on `rows` pairs, learned `fits` times, fit in the budget; at most `WANTED_EPOCHS`.

    dimensions: (d_old, d_side or 0, d_new). The estimate is six operations per weight, row and epoch.
    """
    rate = RATE_OF_GPU if device.type == "cuda" else RATE_OF_CPU
    seconds = 6.0 * weights(method, *dimensions) * rows * fits / rate
    return min(WANTED_EPOCHS[method], int(budget_seconds / seconds))


def weights(method: MethodName, d_old: int, d_side: int, d_new: int, width: int = 0) -> int:
    """The number of weights in a network's matrices; width: of its hidden layers, 0 for the default."""
    if method == "residual_mlp":
        return (width or 1024) * (d_old + d_side + d_new)
    width = width or 2048
    branches = sum(2 * d * d + 4 * d * d_new for d in (d_old, d_side or d_old))
    return branches + width * (4 * d_new + width + d_new)
