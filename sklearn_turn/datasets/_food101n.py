"""Food-101N: photos of dishes from the web, some labels verified by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._published import DataHome, Published, check_option, joined, lines, pairs

_RELEASE = "Food-101N_release"
_DATASET = Published(
    name="Food-101N",
    folder="food101n",
    page=(
        "https://kuanghuei.github.io/Food-101N; the test images, Food-101, from "
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101"
    ),
    layout=f"""\
    {_RELEASE}/meta/classes.txt, imagelist.tsv, verified_train.tsv, verified_val.tsv
    {_RELEASE}/images/apple_pie ...
    food-101/meta/test.txt, food-101/images/apple_pie ... (for subset="test")""",
    about="""\
Photos of 101 dishes from the web, about 20 % with a wrong label; for 57,609 people said
whether it is right. Test images are those of Food-101. Lee et al., "CleanNet: Transfer
Learning for Scalable Image Classifier Training with Label Noise", CVPR 2018; Bossard et
al., "Food-101 - Mining Discriminative Components with Random Forests", ECCV 2014.""",
)
_VERIFIED = {"verified_train": 52_868, "verified_val": 4_741}
_COUNTS = {"train": 310_009, **_VERIFIED, "test": 25_250}


def load_food101n(
    data_home: DataHome = None,
    *,
    subset: str = "train",
    partial: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Load Food-101N, web photos of 101 dishes with noisy labels, some verified.

    The images are not decoded. ``DESCR`` shows the files it takes.

    Parameters
    ----------
    data_home : path, default=None
        Folder with ``Food-101N_release`` and, for "test", ``food-101``, as unpacked;
        None is ``food101n`` in scikit-learn's data folder.
    subset : {"train", "verified_train", "verified_val", "test"}, default="train"
        "train" is all 310,009 images; "verified_train" and "verified_val" are those
        of them whose labels people have judged (52,868 and 4,741 judgements, one of
        the former on an image that the list has in another class, and which is left
        out); "test" is the 25,250 test images of Food-101.
    partial : bool, default=False
        Leave out listed images that are not there, and accept any number.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of str (dtype object) of shape (n_samples,), the paths.
        ``target`` : ndarray of int, index into ``target_names``; noisy but for "test".
        ``target_clean`` : ndarray of int, for "test" alone, where it is ``target``.
        ``verified`` : ndarray of int8, not for "test": 1 where people found the label
        right, 0 where wrong, -1 where they did not look.
        ``target_names`` : ndarray of str.
        ``DESCR`` : str.

    Raises
    ------
    FileNotFoundError
        If lists or images are missing; says which, and where they come from.
    ValueError
        If the number of images is not the published one, or a list is damaged.

    Examples
    --------
    >>> from sklearn_turn.datasets import load_food101n
    >>> X, y = load_food101n("/data/food101n", return_X_y=True)  # doctest: +SKIP
    """
    check_option("subset", subset, _COUNTS)
    root = _DATASET.root(data_home)
    classes = f"{_RELEASE}/meta/classes.txt"
    verified = None
    if subset == "test":
        _DATASET.require(root, classes, "food-101/meta/test.txt", "food-101/images")
        images = root / "food-101" / "images"
        keys = [f"{key}.jpg" for key in lines(root / "food-101" / "meta" / "test.txt")]
    else:
        tables = (f"{_RELEASE}/meta/{name}.tsv" for name in ("imagelist", *_VERIFIED))
        _DATASET.require(root, classes, *tables, f"{_RELEASE}/images")
        images = root / _RELEASE / "images"
        keys, verified = _web_images(root, subset, partial)
    names = list(lines(root / classes, skip=1))
    target = _targets(keys, names)
    return _DATASET.bunch(
        root,
        joined(images, keys),
        target,
        names,
        # Of verified images the judgements were counted.
        count=None if subset in _VERIFIED else _COUNTS[subset],
        partial=partial,
        return_X_y=return_X_y,
        **({"target_clean": target} if verified is None else {"verified": verified}),
    )


def _web_images(
    root: Path, subset: str, partial: bool
) -> tuple[list[str], NDArray[np.int8]]:
    """Listed images, and what people found of their labels."""
    keys = list(lines(root / _RELEASE / "meta" / "imagelist.tsv", skip=1))
    judged = {name: _judgements(root, name, partial) for name in _VERIFIED}
    if subset in judged:
        keys = [key for key in keys if key in judged[subset]]
    known = judged["verified_train"] | judged["verified_val"]
    return keys, np.array([known.get(key, -1) for key in keys], dtype=np.int8)


def _judgements(root: Path, name: str, partial: bool) -> dict[str, int]:
    """Image -> 1 where its label was found right, 0 where wrong."""
    rows = list(pairs(root / _RELEASE / "meta" / f"{name}.tsv", skip=1))
    _DATASET.check_count(root, len(rows), None if partial else _VERIFIED[name])
    return dict(rows)


def _targets(keys: list[str], names: list[str]) -> NDArray[np.intp]:
    code = {name: i for i, name in enumerate(names)}
    try:
        return np.array([code[key.partition("/")[0]] for key in keys], np.intp)
    except KeyError as error:
        raise ValueError(
            f"A list of Food-101N has images of {error.args[0]!r}, a class that is not "
            "in classes.txt. Is one of the files damaged?"
        ) from None
