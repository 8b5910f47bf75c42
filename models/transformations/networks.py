"""The trainable form of `portable.Network`: blocks of Linear, BatchNorm and ReLU in two branches and a trunk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from models.portable import Array, Dense, Network


class FctBlock(nn.Module):
    """Linear without bias, BatchNorm, ReLU: the block of FCT, arXiv 2112.02805, §4.1."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, d_out, bias=False)
        self.norm = nn.BatchNorm1d(d_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, d_in) → (n, d_out)."""
        return torch.relu_(self.norm(self.linear(inputs)))


class BranchedNetwork(nn.Module):
    """Two branches and a trunk of blocks; the trunk ends in a Linear layer with bias.

    old, side: the widths of a branch, its input's first; one width is a branch that returns its input, () is no branch.
    trunk: the widths of its layers' outputs, the last being d_new.
    """

    def __init__(self, old: Sequence[int], side: Sequence[int], trunk: Sequence[int]) -> None:
        super().__init__()
        self.old, self.side = _blocks(old), _blocks(side)
        self.has_side, self.old_width = bool(side), old[-1]
        widths = [old[-1] + (side[-1] if side else 0), *trunk]
        self.trunk = _blocks(widths[:-1])
        self.last = nn.Linear(widths[-2], widths[-1])

    def forward(self, old: Tensor, side: Tensor | None) -> Tensor:
        """(n, d_old), (n, d_side) or None → (n, d_new); the side branch reads the old vectors where side is None."""
        hidden = self.old(old)
        if self.has_side:
            hidden = torch.cat([hidden, self.side(old if side is None else side)], dim=1)
        outputs: Tensor = self.last(self.trunk(hidden))
        return outputs

    def exported(self, side_factor: float, scale: float, shift: Array) -> Network:
        """The network in evaluation mode, with BatchNorm folded in, that computes scale · output + shift.

        side_factor: what side-information was multiplied by in training, which the result does by itself; shift:
        (d_new,).
        """
        old, side, trunk = ([_folded(block) for block in part] for part in (self.old, self.side, self.trunk))
        trunk.append(
            _dense(self.last.weight * scale, self.last.bias * scale + torch.from_numpy(shift).to(self.last.bias))
        )
        reader = (side or trunk)[0]
        if side_factor != 1.0:
            columns = np.ones(reader.weight.shape[1], np.float32)
            columns[0 if side else self.old_width :] = side_factor
            (side or trunk)[0] = Dense(reader.weight * columns, reader.bias)
        return Network(tuple(old), tuple(side), tuple(trunk))


def _blocks(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(FctBlock(d_in, d_out) for d_in, d_out in pairwise(widths)))


def _dense(weight: Tensor, bias: Tensor) -> Dense:
    arrays = (t.detach().float().cpu().contiguous().numpy() for t in (weight, bias))
    return Dense(*arrays)


def _folded(block: nn.Module) -> Dense:
    """A block in evaluation mode as one dense layer: γ(Wx − μ)/√(σ² + ε) + β."""
    assert isinstance(block, FctBlock)
    mean, variance = block.norm.running_mean, block.norm.running_var
    assert mean is not None
    assert variance is not None
    scale = block.norm.weight / torch.sqrt(variance + block.norm.eps)
    return _dense(scale[:, None] * block.linear.weight, block.norm.bias - scale * mean)
