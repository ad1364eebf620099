"""ANIMAL-10N: pairs of animals that are easily confused, labelled by hand."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from ._published import DataHome, Published, check_option, joined

_DATASET = Published(
    name="ANIMAL-10N",
    folder="animal10n",
    page="https://dm.kaist.ac.kr/datasets/animal-10n (the raw image version)",
    layout="""\
    training/0_....jpg to 9_....jpg
    testing/0_....jpg to 9_....jpg
    (both from raw_image.zip, which is in raw_image_ver.zip)""",
    about="""\
Web photos of ten animals in five pairs that are easily confused, labelled by 15 people;
about 8 % of the training labels are wrong, the test images are those on whose label
people and search agree. Song et al., "SELFIE: Refurbishing Unclean Samples for Robust
Deep Learning", ICML 2019.""",
)
_NAMES = ["cat", "lynx", "wolf", "coyote", "cheetah"]
_NAMES += ["jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig"]
# Subset -> its folder, published number.
_SUBSETS = {"train": ("training", 50_000), "test": ("testing", 5_000)}


def load_animal10n(
    data_home: DataHome = None,
    *,
    subset: str = "train",
    partial: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Load ANIMAL-10N, photos of ten animals with human label noise.

    The images are not decoded. ``DESCR`` shows the files it takes.

    Parameters
    ----------
    data_home : path, default=None
        Folder with the files as unpacked; None is ``animal10n`` in scikit-learn's data
        folder.
    subset : {"train", "test"}, default="train"
        50,000 and 5,000 images.
    partial : bool, default=False
        Accept any number of images.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of str (dtype object) of shape (n_samples,), the paths, in
        the order of their names: shuffle what is taken in part.
        ``target`` : ndarray of int, index into ``target_names``; noisy for "train".
        ``target_clean`` : ndarray of int, for "test" alone, where it is ``target``.
        ``target_names`` : ndarray of str.
        ``DESCR`` : str.

    Raises
    ------
    FileNotFoundError
        If a folder or all images are missing; says where they come from.
    ValueError
        If the number of images is not the published one, or the name of a file does
        not begin with its label.

    Examples
    --------
    >>> from sklearn_turn.datasets import load_animal10n
    >>> X, y = load_animal10n("/data/animal10n", return_X_y=True)  # doctest: +SKIP
    """
    check_option("subset", subset, _SUBSETS)
    folder, count = _SUBSETS[subset]
    root = _DATASET.root(data_home)
    _DATASET.require(root, folder)
    files = sorted(name for name in os.listdir(root / folder) if name[0] != ".")
    target = np.array([_label(name) for name in files], dtype=np.intp)
    return _DATASET.bunch(
        root,
        joined(root / folder, files),
        target,
        _NAMES,
        count=count,
        partial=partial,
        return_X_y=return_X_y,
        **({"target_clean": target} if subset == "test" else {}),
    )


def _label(name: str) -> int:
    found = re.match(r"(\d)_", name)
    if not found:
        raise ValueError(
            f"ANIMAL-10N's files are named like '3_9274.jpg', by their label first; "
            f"{name!r} is not. Move it out of the folder."
        )
    return int(found[1])
