"""Colour distortion of views, for a whole batch at once and where the batch lies.

Brightness, contrast, saturation, hue and taking colour away are linear in a pixel's colour, and contrast adds a grey:
together, one 3×3 matrix and one number an image. Source: SimCLR (Chen et al., ICML 2020, appendix A), with hue turned
in YIQ and the steps in this order always, cut off to what can be shown at their end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.draws import uniform

_JITTER, _HUE = 0.8, 0.2  # times the strength
_GREY = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_WHITE = 255.0


@dataclass(frozen=True)
class Colours:
    """strength: s of the paper; coloured, greyed: the share of images whose colours change, and that lose them."""

    strength: float
    coloured: float
    greyed: float


def distorted(pixels: Tensor, rows: NDArray[np.int64], how: Colours, seed: int) -> Tensor:
    """pixels: (b, 3, S, S) from 0 to 255, of any type → float32 of the same shape, each row in its own way."""
    share, brightness, contrast, saturation, turn, grey = uniform(rows, seed, 6)
    changed = share < how.coloured

    def factor(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        least, most = max(0.0, 1 - _JITTER * how.strength), 1 + _JITTER * how.strength
        return np.where(changed, least + (most - least) * drawn, 1.0)

    angle = np.where(changed, 2 * np.pi * _HUE * how.strength * (2 * turn - 1), 0.0)
    matrix = _turned(angle) @ _saturated(factor(saturation))
    matrix = np.where((grey < how.greyed)[:, None, None], _saturated(np.zeros(len(rows))) @ matrix, matrix)
    bright, steep = (_on(factor(drawn), pixels.device)[:, None, None] for drawn in (brightness, contrast))
    colours = pixels.permute(0, 2, 3, 1).flatten(1, 2).float()  # (b, S², 3)
    mean = (colours @ _on(_GREY, pixels.device)).mean(1)[:, None, None]
    found = bright * (steep * colours @ _on(matrix, pixels.device).mT + (1 - steep) * mean)
    return found.clamp_(0, _WHITE).view(len(rows), *pixels.shape[2:], 3).permute(0, 3, 1, 2)


def _saturated(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """From every colour's grey, at 0, to itself, at 1, and beyond: (b,) → (b, 3, 3)."""
    kept = factor[:, None, None]
    found: NDArray[np.float64] = kept * np.eye(3) + (1 - kept) * np.broadcast_to(_GREY, (3, 3))
    return found


def _turned(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours turned about the greys: (b,) radians → (b, 3, 3)."""
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 2, 1] = np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    found: NDArray[np.float64] = np.linalg.inv(_YIQ) @ turn @ _YIQ
    return found


def _on(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)
