"""Colour jitter, against its formula on images where the rest does nothing."""

import torch

from sklearn_turn.backbones.augment import AUGMENTATIONS, color_augment


def flat(*rgb):
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(64, 3, 8, 8)


def test_grey_images_change_in_brightness_alone():
    torch.manual_seed(0)
    out = color_augment(flat(0.5, 0.5, 0.5))
    levels = out[:, 0, 0, 0]
    torch.testing.assert_close(out, levels.view(-1, 1, 1, 1).expand_as(out))
    assert 0.35 <= levels.min() < 0.4 and 0.6 < levels.max() <= 0.65


def test_colour_keeps_its_hue_and_images_differ():
    torch.manual_seed(0)
    red, green, blue = color_augment(flat(0.6, 0.4, 0.2))[:, :, 0, 0].T
    assert (red > green).all() and (green > blue).all()
    torch.testing.assert_close(red - green, green - blue)
    assert (red - blue).std() > 0.02


def test_values_stay_in_range_and_repeat_under_a_seed():
    images = torch.rand(16, 3, 12, 12)
    torch.manual_seed(1)
    first = AUGMENTATIONS["color"](images)
    torch.manual_seed(1)
    assert torch.equal(first, AUGMENTATIONS["color"](images))
    assert first.min() >= 0 and first.max() <= 1
    assert not torch.equal(first, images)
