"""Colour distortion is what the formulas say, and its own for every row."""

import colorsys

import numpy as np
import torch

from models.contrastive_training.colours import Colours, _hue_rotations, _saturations, distort_colours

ROWS = np.arange(64)
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(60, 190, (64, 3, 6, 6), np.uint8))
GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def changed(
    strength: float = 0.5, coloured: float = 1.0, greyed: float = 0.0, rows: np.ndarray = ROWS, seed: int = 3
) -> torch.Tensor:
    return distort_colours(PIXELS[torch.from_numpy(rows)], rows, Colours(strength, coloured, greyed), seed)


def test_nothing_asked_for_changes_nothing() -> None:
    for distorted in (changed(coloured=0), changed(strength=0)):
        torch.testing.assert_close(distorted, PIXELS.float(), atol=1e-2, rtol=0)


def test_shares_of_the_images_are_changed_and_lose_their_colour() -> None:
    rows = np.arange(2000)
    pixels = PIXELS[torch.from_numpy(rows % 64)]
    distorted = distort_colours(pixels, rows, Colours(0.5, 0.8, 0.0), 0)
    share_changed = ((distorted - pixels).abs().amax((1, 2, 3)) > 0.5).float().mean()
    assert 0.75 < float(share_changed) < 0.85
    grey = distort_colours(pixels, rows, Colours(0.5, 0.8, 0.2), 0)
    lost = ((grey.amax(1) - grey.amin(1)).amax((1, 2)) < 1e-2).float().mean()
    assert 0.16 < float(lost) < 0.24


def test_a_row_looks_the_same_in_any_batch_and_otherwise_under_another_seed() -> None:
    some = np.array([40, 3, 17])
    torch.testing.assert_close(changed(rows=some), changed()[torch.from_numpy(some)], atol=1e-3, rtol=0)
    assert ((changed() - changed(seed=4)).abs().amax((1, 2, 3)) > 1).float().mean() > 0.9


def test_what_is_shown_stays_within_what_can_be_shown() -> None:
    distorted = changed(strength=1.2)
    assert distorted.dtype == torch.float32
    assert distorted.min() >= 0
    assert distorted.max() <= 255
    assert distorted.shape == PIXELS.shape


def test_turning_the_hue_keeps_greys_and_brightness() -> None:
    turned = torch.from_numpy(_hue_rotations(np.array([0.7]))).float()[0]
    torch.testing.assert_close(turned @ torch.ones(3), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(GREY.flatten() @ turned, GREY.flatten(), atol=1e-3, rtol=0)
    red = (turned @ torch.tensor([0.6, 0.4, 0.4])).tolist()
    assert abs(colorsys.rgb_to_hsv(*red)[0] - colorsys.rgb_to_hsv(0.6, 0.4, 0.4)[0]) > 0.05


def test_saturation_goes_from_grey_to_the_colour_itself() -> None:
    colour = np.array([200.0, 100.0, 50.0])
    grey, half, full = _saturations(np.array([0.0, 0.5, 1.0])) @ colour
    brightness = colour @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, brightness)
    np.testing.assert_allclose(full, colour)
    np.testing.assert_allclose(half, (colour + brightness) / 2)
