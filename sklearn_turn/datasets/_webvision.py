"""WebVision 1.0: what image search finds for the names of ImageNet's classes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._published import DataHome, Published, check_option, joined, lines, pairs

_DATASET = Published(
    name="WebVision",
    folder="webvision",
    page="https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html",
    layout="""\
    info/synsets.txt, info/val_filelist.txt
    info/train_filelist_google.txt, info/train_filelist_flickr.txt
    google/q0001 ..., flickr/q0001 ... (the second not for version="mini")
    val_images_256 (or val_images)""",
    about="""\
Results of Google and Flickr searches for the 1,000 classes of ImageNet, about 20 % of
them wrong; the validation images were labelled by annotators. The "mini" version is the
first 50 classes from Google. Li et al., "WebVision Database: Visual Learning and
Understanding from Web Data", 2017, arXiv:1708.02862.""",
)
# Version -> number of classes, lists of training images.
_VERSIONS = {
    "mini": (50, ["train_filelist_google.txt"]),
    "full": (1000, ["train_filelist_google.txt", "train_filelist_flickr.txt"]),
}
_COUNTS = {
    ("mini", "train"): 65_944,
    ("mini", "val"): 2_500,
    ("full", "train"): 2_439_574,
    ("full", "val"): 50_000,
}


def load_webvision(
    data_home: DataHome = None,
    *,
    version: str = "mini",
    subset: str = "train",
    partial: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Load WebVision 1.0, images found by the names of ImageNet's classes.

    The images are not decoded. ``DESCR`` shows the files it takes.

    Parameters
    ----------
    data_home : path, default=None
        Folder with the files as unpacked, original or resized; None is ``webvision``
        in scikit-learn's data folder.
    version : {"mini", "full"}, default="mini"
        "mini" is the first 50 classes from Google (Jiang et al., "MentorNet", ICML
        2018): 65,944 training and 2,500 validation images. "full" is all 1,000
        classes, from Google and Flickr: 2,439,574 and 50,000.
    subset : {"train", "val"}, default="train"
    partial : bool, default=False
        Leave out listed images that are not there, and accept any number.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of str (dtype object) of shape (n_samples,), the paths.
        ``target`` : ndarray of int, index into ``target_names``; noisy for "train".
        ``target_clean`` : ndarray of int, for "val" alone, where it is ``target``.
        ``target_names`` : ndarray of str.
        ``synsets`` : ndarray of str of shape (n_classes,), WordNet's identifiers, by
        which the classes are found in ImageNet.
        ``DESCR`` : str.

    Raises
    ------
    FileNotFoundError
        If lists or images are missing; says which, and where they come from.
    ValueError
        If the number of images is not the published one, or a list is damaged.

    Examples
    --------
    >>> from sklearn_turn.datasets import load_webvision
    >>> X, y = load_webvision("/data/webvision", return_X_y=True)  # doctest: +SKIP
    """
    check_option("version", version, _VERSIONS)
    check_option("subset", subset, ["train", "val"])
    root = _DATASET.root(data_home)
    n_classes, lists = _VERSIONS[version]
    images = root
    if subset == "val":
        lists = ["val_filelist.txt"]
        images = root / "val_images_256"
        if not images.is_dir() and (root / "val_images").is_dir():
            images = root / "val_images"
    _DATASET.require(root, "info/synsets.txt", *(f"info/{name}" for name in lists))
    codes = array("l")  # filled as the names are taken

    def names() -> Iterator[str]:
        for name in lists:
            for path, code in pairs(root / "info" / name):
                if code < n_classes:
                    codes.append(code)
                    yield path

    data = joined(images, names())
    target = np.array(codes, dtype=np.intp)
    synsets, target_names = _classes(root / "info" / "synsets.txt", n_classes)
    bunch = _DATASET.bunch(
        root,
        data,
        target,
        target_names,
        count=_COUNTS[version, subset],
        partial=partial,
        return_X_y=return_X_y,
        **({"target_clean": target} if subset == "val" else {}),
    )
    if not return_X_y:
        bunch.synsets = np.array(synsets)
    return bunch


def _classes(path: Path, n_classes: int) -> tuple[list[str], list[str]]:
    """Identifiers and names from lines like "n01440764 tench, Tinca tinca"."""
    split = [line.split(maxsplit=1) for line in lines(path)][:n_classes]
    return [words[0] for words in split], [words[-1] for words in split]
