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

    def exported(self, columns: Array, origin: Array, scale: float, shift: Array) -> Network:
        """The network in evaluation mode, with BatchNorm folded in, that computes scale · output + shift.

        columns, origin: (d_old + d_side,); the network was trained on columns · [p ; s] − origin, and the result reads
        p and s as they are. shift: (d_new,).
        """
        old, side, trunk = ([_folded(block) for block in part] for part in (self.old, self.side, self.trunk))
        trunk.append(
            _dense(self.last.weight * scale, self.last.bias * scale + torch.from_numpy(shift).to(self.last.bias))
        )
        width = old[0].weight.shape[1] if old else self.old_width
        of_old, of_side = slice(0, width), slice(width, None) if len(columns) > width else slice(0, width)
        read = []  # by the trunk: of a branch without layers what comes in, of others what the branch makes
        for branch, part in ((old, of_old), (side, of_side)):
            if branch:
                made = branch[-1].weight.shape[0]
                branch[0] = _reading(branch[0], columns[part], origin[part])
                read.append((np.ones(made, np.float32), np.zeros(made, np.float32)))
            elif branch is old or self.has_side:
                read.append((columns[part], origin[part]))
        trunk[0] = _reading(trunk[0], *(np.concatenate(each) for each in zip(*read, strict=True)))
        return Network(tuple(old), tuple(side), tuple(trunk))


def _reading(layer: Dense, columns: Array, origin: Array) -> Dense:
    """The layer that makes of x what this one makes of columns · x − origin."""
    bias = layer.bias - layer.weight.astype(np.float64) @ origin
    return Dense(layer.weight * columns, np.asarray(bias, np.float32))


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
