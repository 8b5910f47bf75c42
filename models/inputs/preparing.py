"""One batch of raw rows to arrays: what a worker process does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from models.arrays import Codes
from models.inputs.draws import draw
from models.inputs.preprocessing import SMALL, Preprocessing, Views
from models.inputs.taken import Inputs, origin

Pixels = NDArray[np.uint8]

MOST_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded: pictures, and no format that is a program, such as PostScript, or rarely met and seldom tested."""
PADDED = 1 / 8  # of a small image's side, on every edge, before it is cropped
SCALES, RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)  # Szegedy et al., CVPR 2015, §6


class BadInput(ValueError):
    """Row `row` cannot be turned into a tensor; `reason` says why. Of taken inputs, that of the first ones."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


def prepare(inputs: Inputs, rows: Codes, how: Preprocessing, *, augment: bool | Views, seed: int) -> dict[str, Tensor]:
    """The tensors of a batch, as the embedder takes them. Depends on row and seed alone, not on the batch.

    Of several views, the first of every row comes first, then the second of every row, and so on. Raises BadInput.
    """
    if how.modality == "text":
        texts = [_text(inputs, row) for row in rows.tolist()]
        return _texts(texts * augment.count if isinstance(augment, Views) else texts, how)
    if isinstance(augment, Views):
        images = _views(inputs, rows, how.image_size, augment, seed)
    else:
        images = np.stack([_image(inputs, row, how.image_size, augment, seed) for row in rows.tolist()])
        if augment:
            images = _flipped(_shifted(images, rows, seed) if how.image_size <= SMALL else images, rows, seed)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)  # channels last in memory
    return {"pixels": pixels}


def bad_rows(inputs: Inputs, how: Preprocessing, start: int = 0) -> Iterator[BadInput]:
    """What `prepare` says of every row from `start` on that it cannot prepare."""
    for row in range(start, len(inputs)):
        try:
            prepare(inputs, np.array([row]), how, augment=False, seed=0)
        except BadInput as error:
            yield error


def _image(inputs: Inputs, row: int, size: int, augment: bool, seed: int) -> Pixels:
    with _opened(inputs, row) as image:
        if image.size == (size, size) and (not augment or size <= SMALL):
            return np.asarray(_colours(image))
        box = _anywhere(image, row, seed) if augment and size > SMALL else _middle(image)
        return _cut(_colours(image), box, size)


def _views(inputs: Inputs, rows: Codes, size: int, how: Views, seed: int) -> Pixels:
    """(count · b, size, size, 3): every image is decoded once, and each view is drawn from a seed of its own."""
    found = np.empty((how.count, len(rows), size, size, 3), np.uint8)
    for place, row in enumerate(rows.tolist()):
        with _opened(inputs, row) as image:
            coloured = _colours(image)
            for view in range(how.count):
                found[view, place] = _cut(coloured, _anywhere(image, row, seed + view, how.least_area), size)
    if how.mirrored:
        found = np.stack([_flipped(images, rows, seed + view) for view, images in enumerate(found)])
    return found.reshape(-1, size, size, 3)


@contextmanager
def _opened(inputs: Inputs, row: int) -> Iterator[Image.Image]:
    """A row's image, decoded when it is first used. What goes wrong inside is this image's fault: raises BadInput."""
    raw = inputs[row]
    if not isinstance(raw, bytes):
        raise BadInput(origin(inputs, row), _instead(raw, "an encoded image"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise BadInput(
                        origin(inputs, row),
                        f"an image of {image.width} × {image.height} pixels; at most {MOST_PIXELS:,}",
                    )
                yield image
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(
            origin(inputs, row), f"not an image that can be decoded (known are {', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # a decoder of many formats raises whatever it likes at hostile bytes
        raise BadInput(origin(inputs, row), f"not an image that can be decoded ({error})") from None


def _cut(image: Image.Image, box: tuple[float, float, float, float], size: int) -> Pixels:
    """What lies in a box, brought to size × size."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def _colours(image: Image.Image) -> Image.Image:
    """Red, green and blue of 8 bits each; of 16, the upper eight (Pillow would cut off above 255)."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _middle(image: Image.Image) -> tuple[float, float, float, float]:
    """The largest square in the middle."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return left, top, left + side, top + side


def _anywhere(image: Image.Image, row: int, seed: int, least: float = SCALES[0]) -> tuple[float, float, float, float]:
    """A part of random scale and shape; the middle where none was found in ten draws."""
    rng = np.random.default_rng([seed, row])
    for _ in range(10):
        area = image.width * image.height * rng.uniform(least, SCALES[1])
        ratio = np.exp(rng.uniform(*np.log(RATIOS)))
        width, height = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if width <= image.width and height <= image.height:
            left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            return float(left), float(top), float(left + width), float(top + height)
    return _middle(image)


def _shifted(images: Pixels, rows: Codes, seed: int) -> Pixels:
    """A random crop of the zero-padded image, for the whole batch at once."""
    size = images.shape[1]
    pad = max(1, round(PADDED * size))
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    drawn = (draw(rows, seed, np.array([[1], [2]])) % np.uint64(2 * pad + 1)).astype(np.int64)
    shifted: Pixels = windows[np.arange(len(images)), drawn[0], drawn[1]].transpose(0, 2, 3, 1)
    return shifted


def _flipped(images: Pixels, rows: Codes, seed: int) -> Pixels:
    """Every image mirrored or not, with equal chance."""
    mirrored = (draw(rows, seed, np.array([[0]])) & np.uint64(1)).astype(bool)[0]
    flipped: Pixels = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return flipped


def _text(inputs: Inputs, row: int) -> str:
    raw = inputs[row]
    if not isinstance(raw, str):
        raise BadInput(origin(inputs, row), _instead(raw, "a text"))
    return raw


def _instead(raw: object, expected: str) -> str:
    found = "nothing" if raw is None else "a text" if isinstance(raw, str) else "bytes"
    return f"{expected} is expected; there is {found}"


def _texts(texts: list[str], how: Preprocessing) -> dict[str, Tensor]:
    encoded = _tokenizer(how.tokenizer or "", how.tokens).encode_batch(texts)
    ids = torch.tensor([each.ids for each in encoded], dtype=torch.int64)
    mask = torch.tensor([each.attention_mask for each in encoded], dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": mask}


@lru_cache(maxsize=4)
def _tokenizer(saved: str, tokens: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_str(saved)
    tokenizer.enable_truncation(tokens)
    pad = tokenizer.padding or {}
    found = next((i for name in ("[PAD]", "<pad>") if (i := tokenizer.token_to_id(name)) is not None), 0)
    tokenizer.enable_padding(pad_id=pad.get("pad_id", found), pad_token=pad.get("pad_token", "[PAD]"))
    return tokenizer
