"""Batches are resized as Pillow resizes images, then scaled, each by its type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sklearn_turn.backbones import BatchTransform
from sklearn_turn.inputs import Ragged


def random_image(height=37, width=53, seed=0):
    shape = (3, height, width)
    pixels = np.random.RandomState(seed).randint(0, 256, shape)
    return torch.from_numpy(pixels.astype(np.uint8))


def plain(size, **options):
    return BatchTransform(size, (0, 0, 0), (1, 1, 1), **options).eval()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [24, 37, 60])
def test_8_bit_images_are_resized_as_by_pillow(interpolation, size):
    image = random_image(37, 37)
    found = plain(size, interpolation=interpolation)(image[None])[0] * 255
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
    method = Image.Resampling[interpolation.upper()]
    expected = torch.from_numpy(np.asarray(pixels.resize((size, size), method)).copy())
    difference = (found - expected.permute(2, 0, 1)).abs()
    # Of noise, one level in a few pixels: rounded at once, a quarter would differ.
    assert difference.max() <= 1.01
    assert (difference > 0.01).float().mean() < 0.01
    torch.testing.assert_close(found, found.round(), atol=1e-4, rtol=0)


def test_other_devices_round_to_8_bits_too():
    image = random_image()[None]
    transform = plain(24, interpolation="bicubic")
    expected = transform(image)

    class Elsewhere(torch.Tensor):
        """Says that it is not on the CPU."""

        device = torch.device("meta")

    found = transform(image.as_subclass(Elsewhere))
    assert (found - expected).abs().max() <= 1.01 / 255
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sides", [(37, 53), (24, 24)])
def test_types_may_be_mixed(sides):
    whole = random_image(*sides)
    floats = random_image(30, 20, seed=1).float() / 255
    transform = plain(24)
    mixed = transform(Ragged([whole, floats]))
    torch.testing.assert_close(mixed[:1], transform(whole[None]))
    torch.testing.assert_close(mixed[1:], transform(floats[None]))
    assert mixed[0].max() <= 1 < 255 * mixed[0].mean()
    assert mixed[1].mean() > 0.3


def test_unknown_interpolation():
    with pytest.raises(ValueError, match="'bicubic'.*not 'lanczos'"):
        plain(24, interpolation="lanczos")
