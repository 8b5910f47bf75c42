"""Encoded images whose pixels are known."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def drawn(count: int, side: int, seed: int = 0) -> Pixels:
    """(count, side, side, 3) of noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def encoded(pixels: NDArray[Any], form: str = "PNG", mode: str | None = None, **how: Any) -> bytes:
    """One image as a file's bytes, after conversion to `mode`."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, form, **how)
    return buffer.getvalue()


def files(count: int, side: int, seed: int = 0) -> list[bytes]:
    """As many PNG files of noise."""
    return [encoded(each) for each in drawn(count, side, seed)]
