"""Colour distortion of views, for a whole batch at once on the batch's device.

Brightness, contrast, saturation, hue and greying are linear in a pixel's colour, and contrast adds a grey: together
they are one 3×3 matrix and one number per image. Source: SimCLR (Chen et al., ICML 2020, appendix A), but hue is
rotated in YIQ, the steps always come in this order, and values are clamped once, at the end.
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
    """How images are distorted. strength: s of SimCLR; coloured, greyed: the shares of images distorted and made
    grey."""

    strength: float
    coloured: float
    greyed: float


def distort_colours(pixels: Tensor, rows: NDArray[np.int64], how: Colours, seed: int) -> Tensor:
    """Distorts every image at random, by its row number and the seed.

    pixels: (b, 3, S, S) from 0 to 255, of any dtype; rows: (b,). Returns float32 of the shape of `pixels`.
    """
    share, brightness, contrast, saturation, turn, grey = uniform(rows, seed, 6)
    changed = share < how.coloured

    def factor(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        least, most = max(0.0, 1 - _JITTER * how.strength), 1 + _JITTER * how.strength
        return np.where(changed, least + (most - least) * drawn, 1.0)

    angle = np.where(changed, 2 * np.pi * _HUE * how.strength * (2 * turn - 1), 0.0)
    matrix = _hue_rotations(angle) @ _saturations(factor(saturation))
    matrix = np.where((grey < how.greyed)[:, None, None], _saturations(np.zeros(len(rows))) @ matrix, matrix)
    bright, steep = (_on(factor(drawn), pixels.device)[:, None, None] for drawn in (brightness, contrast))
    colours = pixels.permute(0, 2, 3, 1).flatten(1, 2).float()  # (b, S², 3)
    mean = (colours @ _on(_GREY, pixels.device)).mean(1)[:, None, None]
    distorted = bright * (steep * colours @ _on(matrix, pixels.device).mT + (1 - steep) * mean)
    return distorted.clamp_(0, _WHITE).view(len(rows), *pixels.shape[2:], 3).permute(0, 3, 1, 2)


def _saturations(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices that scale saturation by a factor, 0 giving grey and 1 the colour itself: (b,) → (b, 3, 3)."""
    kept = factor[:, None, None]
    matrices: NDArray[np.float64] = kept * np.eye(3) + (1 - kept) * np.broadcast_to(_GREY, (3, 3))
    return matrices


def _hue_rotations(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices that rotate the hue by an angle in radians: (b,) → (b, 3, 3)."""
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 2, 1] = np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    matrices: NDArray[np.float64] = np.linalg.inv(_YIQ) @ turn @ _YIQ
    return matrices


def _on(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)
