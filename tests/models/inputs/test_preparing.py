"""Images as they come, hostile ones among them, and what augmentation draws."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.inputs import BadInput, Inputs, InputSubset, Preprocessing, Views, learn_tokenizer
from models.inputs.preparing import prepare_batch
from tests.models.inputs.images import Pixels, drawn, encoded, files

SIDE = 16
SMALL, LARGE = Preprocessing.images(SIDE), Preprocessing.images(80)


def prepared(
    inputs: Inputs,
    how: Preprocessing = SMALL,
    rows: list[int] | None = None,
    augment: bool | Views = False,
    seed: int = 0,
) -> Pixels:
    """(rows, side, side, 3)."""
    places = np.array(range(len(inputs)) if rows is None else rows, np.int64)
    tensor = prepare_batch(inputs, places, how, augment=augment, seed=seed)["pixels"]
    assert tensor.shape[1] == 3
    pixels: Pixels = tensor.permute(0, 2, 3, 1).numpy()
    return pixels


def test_an_image_of_the_right_size_is_taken_as_it_is() -> None:
    images = drawn(3, SIDE)
    np.testing.assert_array_equal(prepared([encoded(each) for each in images]), images)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("P", "GIF")],
)
def test_every_mode_of_an_image_becomes_red_green_and_blue(mode: str, form: str) -> None:
    raw = encoded(drawn(1, SIDE)[0], form, mode)
    with Image.open(io.BytesIO(raw)) as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(prepared([raw])[0], expected)


def test_sixteen_bits_of_grey_become_eight() -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (SIDE, SIDE), np.uint16)
    np.testing.assert_array_equal(prepared([encoded(grey)])[0], np.repeat((grey // 256)[..., None], 3, axis=2))


def test_a_format_that_is_a_program_is_not_even_looked_at() -> None:
    postscript = encoded(drawn(1, SIDE)[0], "EPS")
    with Image.open(io.BytesIO(postscript)) as image:
        assert image.format == "EPS"  # which Pillow would hand to an interpreter
    with pytest.raises(BadInput, match="known are JPEG"):
        prepared([postscript])


@pytest.mark.parametrize(("height", "width"), [(24, 48), (48, 24), (7, 9)])
def test_the_middle_of_an_oblong_image_is_what_counts(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image[top : top + side, left : left + side] = 50
    pixels = prepared([encoded(image)])[0].astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels[1:-1, 1:-1] - 50).max() <= 1


def test_scaling_keeps_left_and_right_and_above_and_below() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :, 0] = 255
    image[:, :32, 1] = 255
    pixels = prepared([encoded(image)])[0]
    assert (pixels[:7, :, 0] > 250).all()
    assert (pixels[9:, :, 0] < 5).all()
    assert (pixels[:, :7, 1] > 250).all()
    assert (pixels[:, 9:, 1] < 5).all()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an image"),
        (b"GIF89a", "not an image"),
        (b"\0" * 4096, "not an image"),
        (encoded(drawn(1, 32)[0])[:-40], "not an image"),
        (encoded(drawn(1, 32)[0], "JPEG")[:200], "not an image"),
        (_png_header(8_001, 8_000), "64,000,000"),
        (_png_header(100_000, 100_000), "image"),
        (_png_header(2**31 - 1, 2**31 - 1), "image"),
    ],
    ids=["empty", "a start", "zeros", "truncated PNG", "truncated JPEG", "64 MP", "10 GP", "4 EP"],
)
@pytest.mark.parametrize("augment", [False, True])
def test_bytes_that_are_no_sound_image_are_refused_with_their_row(raw: bytes, message: str, augment: bool) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        prepared([*files(2, SIDE), raw], augment=augment)
    assert refused.value.row == 2
    assert str(refused.value).startswith("row 2: ")


@pytest.mark.parametrize("raw", ["a text", None])
def test_what_is_no_image_at_all_is_refused(raw: object) -> None:
    with pytest.raises(BadInput, match="image is expected"):
        prepared([raw])  # type: ignore[arg-type]


def test_a_bad_row_is_named_by_where_it_stood_before_others_were_taken_from_it() -> None:
    inputs: Inputs = [*files(4, SIDE), b"broken"]
    twice = InputSubset(InputSubset(inputs, np.array([0, 4, 2])), np.array([2, 1]))
    with pytest.raises(BadInput) as refused:
        prepared(twice)
    assert refused.value.row == 4


@pytest.mark.parametrize("how", [SMALL, LARGE], ids=["small", "large"])
def test_augmentation_depends_on_seed_and_row_and_not_on_the_batch(how: Preprocessing) -> None:
    inputs = files(12, how.image_size)
    together = prepared(inputs, how, augment=True, seed=5)
    apart = [prepared(inputs, how, rows=[row], augment=True, seed=5)[0] for row in reversed(range(12))]
    np.testing.assert_array_equal(together, apart[::-1])
    other = prepared(inputs, how, augment=True, seed=6)
    assert (together != other).any(axis=(1, 2, 3)).sum() >= 10


@pytest.mark.parametrize("how", [SMALL, LARGE], ids=["small", "large"])
def test_rows_are_augmented_each_in_its_own_way(how: Preprocessing) -> None:
    same = files(1, how.image_size) * 20
    pixels = prepared(same, how, augment=True)
    assert len(np.unique(pixels.reshape(20, -1), axis=0)) >= 12


def test_a_small_image_is_shifted_by_every_step_and_mirrored_half_the_time() -> None:
    """Each of the 5 × 5 × 2 outcomes is as likely as any other: χ² with 49 degrees of freedom, 85.4 at 0.1 %."""
    count = 4_000
    image = drawn(1, SIDE)[0]
    pixels = prepared([encoded(image)] * count, augment=True, seed=1)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    windows = [padded[y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)]
    outcomes = np.stack([*windows, *(window[:, ::-1] for window in windows)])
    matched = _which(pixels, outcomes)
    expected = count / len(outcomes)
    assert (np.square(np.bincount(matched, minlength=50) - expected) / expected).sum() < 85.4


def _which(images: Pixels, outcomes: Pixels) -> NDArray[np.int64]:
    """Which outcome each image is; fails where one is none of them."""
    place = {outcome.tobytes(): number for number, outcome in enumerate(outcomes)}
    return np.array([place[np.ascontiguousarray(image).tobytes()] for image in images])


def test_a_large_image_is_seen_in_parts_of_many_sizes_mirrored_half_the_time() -> None:
    """The image's red says where across a pixel was, its green where down: so a crop tells its own box."""
    side, count = 200, 300
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp[None, :], ramp[:, None]
    pixels = prepared([encoded(image)] * count, LARGE, augment=True).astype(float)
    across, down = np.diff(pixels[:, 40, [0, -1], 0])[:, 0], np.diff(pixels[:, [0, -1], 40, 1])[:, 0]
    mirrored = across < 0
    share = np.abs(across) * down / 255**2
    assert (down > 0).all()
    assert 0.4 < mirrored.mean() < 0.6
    assert share.min() > 0.06
    assert share.max() > 0.8
    assert 0.45 < share.mean() < 0.6  # (0.08 + 1) / 2, less the boxes that did not fit


def test_what_is_evaluated_is_never_augmented() -> None:
    inputs = files(4, SIDE)
    np.testing.assert_array_equal(prepared(inputs, seed=1), prepared(inputs, seed=2))


@pytest.mark.parametrize("how", [SMALL, LARGE])
def test_views_differ_from_each_other_and_from_epoch_to_epoch_and_depend_on_row_and_seed_alone(
    how: Preprocessing,
) -> None:
    inputs, views = files(6, 40), Views(3, 0.2)
    pixels = prepared(inputs, how, augment=views, seed=5)
    assert len(pixels) == 18
    assert len(np.unique(pixels.reshape(18, -1), axis=0)) == 18
    apart = [prepared(inputs, how, rows=[row], augment=views, seed=5) for row in range(6)]
    np.testing.assert_array_equal(pixels, np.stack(apart, 1).reshape(pixels.shape))  # first views first
    assert (prepared(inputs, how, augment=views, seed=6) != pixels).any((1, 2, 3)).all()


def test_a_view_shows_at_least_the_area_asked_for_and_is_mirrored_where_allowed() -> None:
    side, count = 200, 200
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp[None, :], ramp[:, None]

    def share(views: Views) -> tuple[NDArray[np.float64], float]:
        pixels = prepared([encoded(image)] * count, augment=views).astype(float)
        across, down = np.diff(pixels[:, 8, [0, -1], 0])[:, 0], np.diff(pixels[:, [0, -1], 8, 1])[:, 0]
        return np.abs(across) * down / 255**2, float((across < 0).mean())

    areas, mirrored = share(Views(2, 0.5))
    assert areas.min() > 0.4
    assert 0.4 < mirrored < 0.6
    areas, mirrored = share(Views(2, 0.1, mirrored=False))
    assert areas.min() < 0.15
    assert mirrored == 0


def test_views_of_a_text_are_the_text_again() -> None:
    texts = ["a cat", "a dog sat on a mat"]
    how = Preprocessing.texts(learn_tokenizer(texts, 64), 8)
    once = prepare_batch(texts, np.arange(2), how, augment=False, seed=0)
    twice = prepare_batch(texts, np.arange(2), how, augment=Views(2), seed=0)
    for name, tensor in once.items():
        np.testing.assert_array_equal(twice[name].numpy(), np.concatenate([tensor.numpy()] * 2))
