"""Clothing1M: photos from shops, labelled by the text around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._published import DataHome, Published, check_option, joined, lines, pairs

_DATASET = Published(
    name="Clothing1M",
    folder="clothing1m",
    page="https://github.com/Cysu/noisy_label (its authors send a link on request)",
    layout="""\
    category_names_eng.txt
    noisy_label_kv.txt, noisy_train_key_list.txt
    clean_label_kv.txt, clean_{train,val,test}_key_list.txt
    images/0 to images/9 (unpacked from 0.tar to 9.tar)""",
    about="""\
Photos of 14 kinds of clothes. A million have labels from the text around them, of which
about 38 % are wrong; 72,409 have labels by annotators, 37,497 have both. Xiao et al.,
"Learning from Massive Noisy Labeled Data for Image Classification", CVPR 2015.""",
)
# Subset -> its list of files, where their labels are, published number.
_SUBSETS = {
    "train": ("noisy_train_key_list.txt", "noisy_label_kv.txt", 1_000_000),
    "clean_train": ("clean_train_key_list.txt", "clean_label_kv.txt", 47_570),
    "val": ("clean_val_key_list.txt", "clean_label_kv.txt", 14_313),
    "test": ("clean_test_key_list.txt", "clean_label_kv.txt", 10_526),
    "both": ("clean_label_kv.txt", "noisy_label_kv.txt", 37_497),
}


def load_clothing1m(
    data_home: DataHome = None,
    *,
    subset: str = "train",
    partial: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Load Clothing1M, a million photos labelled by the text around them (14 classes).

    The images are not decoded. ``DESCR`` shows the files it takes.

    Parameters
    ----------
    data_home : path, default=None
        Folder with the files as unpacked; None is ``clothing1m`` in scikit-learn's data
        folder.
    subset : {"train", "clean_train", "val", "test", "both"}, default="train"
        "train" has noisy labels (1,000,000 images); "clean_train", "val" and "test"
        those of annotators (47,570, 14,313 and 10,526); "both" is the 37,497 images
        that have both, the only ones with which noise can be measured.
    partial : bool, default=False
        Leave out listed images that are not there, and accept any number.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of str (dtype object) of shape (n_samples,), the paths.
        ``target`` : ndarray of int, index into ``target_names``: the noisy label where
        ``subset`` has any.
        ``target_clean`` : ndarray of int, the annotators' label; not in "train".
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
    >>> from sklearn_turn.datasets import load_clothing1m
    >>> X, y = load_clothing1m("/data/clothing1m", return_X_y=True)  # doctest: +SKIP
    """
    check_option("subset", subset, _SUBSETS)
    key_list, labels, count = _SUBSETS[subset]
    root = _DATASET.root(data_home)
    _DATASET.require(root, key_list, labels, "category_names_eng.txt", "images")
    code = dict(pairs(root / labels))
    more = {}
    if subset == "both":
        clean = {key: c for key, c in pairs(root / key_list) if key in code}
        keys = list(clean)
        more["target_clean"] = np.fromiter(clean.values(), np.intp)
    else:
        keys = list(lines(root / key_list))
    try:
        target = np.fromiter((code[key] for key in keys), np.intp, len(keys))
    except KeyError as error:
        raise ValueError(
            f"{str(root / key_list)!r} lists {error.args[0]!r}, which has no label in "
            f"{labels!r}. Are the two files of one release?"
        ) from None
    if labels == "clean_label_kv.txt":
        more["target_clean"] = target
    return _DATASET.bunch(
        root,
        joined(root, keys),
        target,
        lines(root / "category_names_eng.txt"),
        count=count,
        partial=partial,
        return_X_y=return_X_y,
        **more,
    )
