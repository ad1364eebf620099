"""Pixels of one PIL image, whatever its mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

# EXIF orientation -> what undoes it.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def pil_to_tensor(image: Image.Image) -> Tensor:
    """Decode a PIL image to RGB, uint8, upright.

    The EXIF rotation is applied where it can be read; grey, palette and CMYK images
    become RGB; transparency is dropped; of an animation the first frame is taken. Grey
    levels of more than 8 bits are scaled to 8: of 16-bit images (mode "I;16") by 256;
    of 32-bit integers ("I") likewise unless none is above 255; floats ("F") are taken
    as levels in [0, 1], or in 0..255 if one is above 1.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    Tensor of shape (3, H, W), uint8

    Raises
    ------
    ValueError
        If levels are negative, beyond 16 bits, or floats above 255.
    """
    image.load()  # turns a TIFF file upright, and says so in its orientation
    if (turn := _UPRIGHT.get(_orientation(image))) is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1, upright, where it cannot be read.

    ImageOps.exif_transpose fails on photos that have any ill-formed tag.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many kinds for damaged blocks
        return 1
    return found if isinstance(found, int) else 1


def _eight_bits(levels: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Grey levels of another range as uint8; Pillow would clip them at 255."""
    low, high = float(levels.min()), float(levels.max())
    most = 255 if mode == "F" else 65535
    if not (low >= 0 and high <= most):  # also for NaN
        raise ValueError(
            f"grey levels from {low:.4g} to {high:.4g} are outside of 0 to {most}; "
            "scale the image to 8 bits"
        )
    if mode == "F":
        levels = np.round(levels * 255 if high <= 1 else levels)
    elif mode != "I" or high > 255:
        levels = levels // 256
    return levels.astype(np.uint8)
