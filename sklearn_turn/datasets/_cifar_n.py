"""CIFAR-10N and CIFAR-100N: human labels for CIFAR's training images."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import load_label_file
from ._cifar import CIFAR10, CIFAR100, read_cifar
from ._published import DataHome, Published, check_option, joined

_ABOUT = """\
CIFAR's training images with labels by people: for CIFAR-10 three each (random1 to 3, 17
to 18 % wrong), their majority (aggre, 9 %) and a wrong one of them where there is any
(worse, 40 %); for CIFAR-100 one each (noisy100, 40 %). Wei et al., "Learning with Noisy
Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022."""
_PAGE = "https://github.com/UCSC-REAL/cifar-10-100n (labels, CC BY-NC 4.0)"
_CIFAR10N = replace(
    CIFAR10,
    name="CIFAR-10N",
    page=f"{_PAGE}; images: {CIFAR10.page}, or fetch_cifar10(data_home)",
    layout=f"""{CIFAR10.layout}
    CIFAR-10_human.pt (or CIFAR-10_human_ordered.npy and image_order_c10.npy)""",
    about=_ABOUT,
)
_CIFAR100N = replace(
    CIFAR100,
    name="CIFAR-100N",
    page=f"{_PAGE}; images: {CIFAR100.page}, or fetch_cifar100(data_home)",
    layout=f"""{CIFAR100.layout}
    CIFAR-100_human.pt (or CIFAR-100_human_ordered.npy and image_order_c100.npy)""",
    about=_ABOUT,
)
# Set of labels -> its names in the files of labels.
_LABELS = {
    "aggre": ["aggre_label"],
    "random1": ["random_label1"],
    "random2": ["random_label2"],
    "random3": ["random_label3"],
    "worse": ["worse_label"],
    "noisy100": ["noisy_label", "noise_label"],
}


def load_cifar_n(
    data_home: DataHome = None,
    *,
    labels: str = "worse",
    subset: str = "train",
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-10N or CIFAR-100N, CIFAR's images with human label noise.

    Either the images as :func:`fetch_cifar10` and :func:`fetch_cifar100` leave them
    with the published file of labels beside them, or a folder of image files with a
    table ``labels.csv``: columns ``path``, ``split``, ``clean`` and a set of labels
    each, all by class name. ``DESCR`` shows the files it takes.

    Parameters
    ----------
    data_home : path, default=None
        Folder with the images and labels; None is ``cifar10`` or ``cifar100`` in
        scikit-learn's data folder.
    labels : str, default="worse"
        For CIFAR-10 "aggre", "random1", "random2", "random3" or "worse" (9, 17, 18, 18
        and 40 % wrong), for CIFAR-100 "noisy100" (40 %).
    subset : {"train", "test"}, default="train"
        50,000 and 10,000 images, or what the table has; "test" has clean labels.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of uint8 of shape (n_samples, 32, 32, 3), or of str (dtype
        object), the paths of image files.
        ``target`` : ndarray of int, index into ``target_names``; noisy for "train".
        ``target_clean`` : ndarray of int.
        ``target_names`` : ndarray of str.
        ``DESCR`` : str.

    Raises
    ------
    FileNotFoundError
        If images or labels are missing; says which, and where they come from.
    ValueError
        If the labels are for images in another order, or a file is damaged. No code
        in a file is run: nothing but arrays is made from it.

    Examples
    --------
    >>> from sklearn_turn.datasets import load_cifar_n
    >>> X, y = load_cifar_n("data", labels="aggre", return_X_y=True)  # doctest: +SKIP
    """
    check_option("labels", labels, _LABELS)
    check_option("subset", subset, ["train", "test"])
    published = _CIFAR100N if labels == "noisy100" else _CIFAR10N
    root = published.root(data_home)
    data: NDArray[Any]
    if (root / "labels.csv").is_file():
        data, target, clean, names = _read_table(root, labels, subset)
    else:
        images = CIFAR100 if labels == "noisy100" else CIFAR10
        try:
            found = read_cifar(images, root, subset, download=False)
        except FileNotFoundError as error:
            raise published.missing(root, "no intact images") from error
        data, names = found.data, found.classes
        target = clean = np.array(found.targets, dtype=np.intp)
        if subset == "train":
            target = _read_labels(published, root, labels, clean)
    return published.bunch(
        root,
        data,
        target,
        names,
        count=None,
        partial=False,
        return_X_y=return_X_y,
        target_clean=clean,
    )


def _read_labels(
    published: Published, root: Path, labels: str, clean: NDArray[np.intp]
) -> NDArray[np.intp]:
    """A set of human labels, in the order of the images."""
    file, sets = _read_sets(published, root, 100 if labels == "noisy100" else 10)
    found = [sets[name] for name in _LABELS[labels] if name in sets]
    if not found or "clean_label" not in sets:
        raise ValueError(
            f"{str(file)!r} has no labels {_LABELS[labels][0]!r} or no 'clean_label', "
            f"but {sorted(sets)}. Is it the file of {published.name}?"
        )
    if len(found[0]) != len(clean) or not np.array_equal(sets["clean_label"], clean):
        raise ValueError(
            f"The clean labels in {str(file)!r} are not those of the images: they are "
            "in another order, or for other images. Download both again."
        )
    return found[0]


def _read_sets(
    published: Published, root: Path, n_classes: int
) -> tuple[Path, dict[str, NDArray[np.intp]]]:
    """The file of labels, and its sets in CIFAR's own order."""
    file = root / f"CIFAR-{n_classes}_human.pt"
    if file.is_file():
        return file, load_label_file(file)
    file = root / f"CIFAR-{n_classes}_human_ordered.npy"
    order_file = root / f"image_order_c{n_classes}.npy"
    if not (file.is_file() and order_file.is_file()):
        raise published.missing(root, f"no CIFAR-{n_classes}_human.pt")
    # In TensorFlow's order, in which image i is CIFAR's image order[i].
    rank = np.argsort(np.load(order_file, allow_pickle=False))
    sets = load_label_file(file)
    return file, {
        name: values[rank] for name, values in sets.items() if len(values) == len(rank)
    }


def _read_table(
    root: Path, labels: str, subset: str
) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp], list[str]]:
    """Paths, labels, clean labels and class names from labels.csv."""
    table = root / "labels.csv"
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    absent = [c for c in ("path", "split", "clean", labels) if c not in columns]
    if absent:
        raise ValueError(
            f"{str(table)!r} has no column {absent[0]!r}; it has {columns}."
        )
    names = sorted({row["clean"] for row in rows})
    code = {name: i for i, name in enumerate(names)}
    unknown = {row[labels] for row in rows} - set(names)
    if unknown:
        raise ValueError(
            f"{str(table)!r} has labels {sorted(unknown)} in column {labels!r}, which "
            "no image truly has."
        )
    splits = {row["split"] for row in rows} - {"train", "test"}
    if splits:
        raise ValueError(
            f"{str(table)!r} has {sorted(splits)} in column 'split', which may be "
            "'train' or 'test'."
        )
    rows = [row for row in rows if row["split"] == subset]
    target, clean = (
        np.array([code[row[column]] for row in rows], dtype=np.intp)
        for column in (labels if subset == "train" else "clean", "clean")
    )
    return joined(root, (row["path"] for row in rows)), target, clean, names
