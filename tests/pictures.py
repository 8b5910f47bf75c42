"""Small pictures of digits, and a dim old model of them: what compatible training is tried on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from models.compatible_training import LabelledInputs

CLASSES, OLD = 10, 16
"""Digits, and components of an old vector."""


def digits(many: int, *, noise: float = 0.4, start: int = 0) -> LabelledInputs:
    """Digits as PNG, and old vectors that are the class's direction under noise."""
    data = load_digits()
    codes = data.target.astype(np.int64)
    centres = np.linalg.qr(np.random.default_rng(1).normal(size=(OLD, CLASSES)))[0].T
    rng = np.random.default_rng(2)
    old = (3 * (centres[codes] + noise * rng.normal(size=(len(codes), OLD)))).astype(np.float32)
    chosen = rng.permutation(len(codes))[start : start + many]
    return LabelledInputs([_png(data.images[row]) for row in chosen], codes[chosen], old[chosen])


def _png(picture: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray((picture * 15.9).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()
