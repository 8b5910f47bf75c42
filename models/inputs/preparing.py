"""Turns a batch of raw rows into tensors: images decoded and augmented, texts tokenised."""

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

from models.arrays import RowNumbers
from models.inputs.draws import draw
from models.inputs.preprocessing import SMALL, Preprocessing, Views
from models.inputs.subset import Inputs, origin

Pixels = NDArray[np.uint8]

MOST_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Image formats that are decoded: none that is a program, such as PostScript, or whose decoder is seldom tested."""
PADDED = 1 / 8  # padding on every edge of a small image before it is cropped, as a share of its side
SCALES, RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)  # area and aspect ratio of random crops: Szegedy et al., CVPR 2015, §6


class BadInput(ValueError):
    """Row `row` cannot be turned into a tensor; `reason` says why. In a selection of inputs, `row` is that of the
    original sequence."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


def prepare_batch(
    inputs: Inputs, rows: RowNumbers, how: Preprocessing, *, augment: bool | Views, seed: int
) -> dict[str, Tensor]:
    """The tensors of a batch, as the embedder reads them; a row's depend on row and seed alone, not on the batch.

    rows: (b,). Several views come as all rows' first view, then all rows' second view, and so on. Raises BadInput for a
    row that cannot be prepared.
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
    """An error for every row from `start` on that cannot be prepared."""
    for row in range(start, len(inputs)):
        try:
            prepare_batch(inputs, np.array([row]), how, augment=False, seed=0)
        except BadInput as error:
            yield error


def decoded_image(raw: bytes) -> Image.Image:
    """An encoded image as 8-bit RGB, in its own size. Raises BadInput, of row 0, where it cannot be decoded."""
    with _opened([raw], 0) as image:
        return _colours(image)


def _image(inputs: Inputs, row: int, size: int, augment: bool, seed: int) -> Pixels:
    with _opened(inputs, row) as image:
        if image.size == (size, size) and (not augment or size <= SMALL):
            return np.asarray(_colours(image))
        box = _random_box(image, row, seed) if augment and size > SMALL else _centred_box(image)
        return _cut(_colours(image), box, size)


def _views(inputs: Inputs, rows: RowNumbers, size: int, how: Views, seed: int) -> Pixels:
    """Random views of the images, (count · b, size, size, 3), all rows' first view first; each image is decoded
    once."""
    views = np.empty((how.count, len(rows), size, size, 3), np.uint8)
    for place, row in enumerate(rows.tolist()):
        with _opened(inputs, row) as image:
            coloured = _colours(image)
            for view in range(how.count):
                views[view, place] = _cut(coloured, _random_box(image, row, seed + view, how.least_area), size)
    if how.mirrored:
        views = np.stack([_flipped(images, rows, seed + view) for view, images in enumerate(views)])
    return views.reshape(-1, size, size, 3)


@contextmanager
def _opened(inputs: Inputs, row: int) -> Iterator[Image.Image]:
    """A row's image, decoded on first use. Any error while it is open is blamed on the image: raises BadInput."""
    raw = inputs[row]
    if not isinstance(raw, bytes):
        raise BadInput(origin(inputs, row), _wrong_type(raw, "an encoded image"))
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
    """The part of an image in a box, resized to size × size."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def _colours(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB; of 16-bit values the upper eight bits (Pillow would clip them to 255)."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _centred_box(image: Image.Image) -> tuple[float, float, float, float]:
    """The box of the largest centred square."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return left, top, left + side, top + side


def _random_box(image: Image.Image, row: int, seed: int, least: float = SCALES[0]) -> tuple[float, float, float, float]:
    """A box of random area and aspect ratio; the centred square where ten draws give none that fits."""
    rng = np.random.default_rng([seed, row])
    for _ in range(10):
        area = image.width * image.height * rng.uniform(least, SCALES[1])
        ratio = np.exp(rng.uniform(*np.log(RATIOS)))
        width, height = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if width <= image.width and height <= image.height:
            left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            return float(left), float(top), float(left + width), float(top + height)
    return _centred_box(image)


def _shifted(images: Pixels, rows: RowNumbers, seed: int) -> Pixels:
    """A random crop of each zero-padded image: (b, S, S, 3) → (b, S, S, 3)."""
    size = images.shape[1]
    pad = max(1, round(PADDED * size))
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    drawn = (draw(rows, seed, np.array([[1], [2]])) % np.uint64(2 * pad + 1)).astype(np.int64)
    shifted: Pixels = windows[np.arange(len(images)), drawn[0], drawn[1]].transpose(0, 2, 3, 1)
    return shifted


def _flipped(images: Pixels, rows: RowNumbers, seed: int) -> Pixels:
    """Each image mirrored with a chance of one half: (b, S, S, 3) → (b, S, S, 3)."""
    mirrored = (draw(rows, seed, np.array([[0]])) & np.uint64(1)).astype(bool)[0]
    flipped: Pixels = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return flipped


def _text(inputs: Inputs, row: int) -> str:
    raw = inputs[row]
    if not isinstance(raw, str):
        raise BadInput(origin(inputs, row), _wrong_type(raw, "a text"))
    return raw


def _wrong_type(raw: object, expected: str) -> str:
    """The reason of a BadInput for a value of the wrong type."""
    given = "nothing" if raw is None else "a text" if isinstance(raw, str) else "bytes"
    return f"{expected} is expected; there is {given}"


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
    pad_id = next((i for name in ("[PAD]", "<pad>") if (i := tokenizer.token_to_id(name)) is not None), 0)
    tokenizer.enable_padding(pad_id=pad.get("pad_id", pad_id), pad_token=pad.get("pad_token", "[PAD]"))
    return tokenizer
