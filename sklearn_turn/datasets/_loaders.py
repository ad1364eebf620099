"""Load what people have: folders of images, torch and Hugging Face datasets."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch

from ..exceptions import SkippedImageWarning
from ..inputs import DatasetImages

IMAGE_EXTENSIONS = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jpeg",
    ".jpg",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


#: Endings of other images, that are not read; a warning names them.
_OTHER_IMAGES = (".avif", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".psd")


def load_image_folder(
    root: str | os.PathLike[str],
    *,
    extensions: tuple[str, ...] = IMAGE_EXTENSIONS,
    return_X_y: bool = False,
) -> Any:
    """List the images of a folder that has one subfolder per class.

    Nothing is decoded; the paths go straight into ``fit``. Subfolders are searched to
    any depth; the first level names the class. Order is by path, the same everywhere.
    Hidden files and folders are passed over, such as ``.ipynb_checkpoints``, and files
    with other endings, with a warning where these are of images.

    Parameters
    ----------
    root : path
        Folder such as ``root/cat/1.jpg``, ``root/dog/2.png``.
    extensions : tuple of str
        Endings of the files to take, in lower case; others are passed over.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of str, the paths, of shape (n_samples,).
        ``target`` : ndarray of int, index into ``target_names``.
        ``target_names`` : ndarray of str, the subfolders in sorted order.
        ``filenames`` : ndarray of str, the paths relative to ``root``.

    Raises
    ------
    FileNotFoundError
        If ``root`` is not a folder.
    ValueError
        If there are no subfolders, or a subfolder holds no images.

    Warns
    -----
    SkippedImageWarning
        If there are images with other endings, such as ``.heic``.

    Examples
    --------
    >>> from sklearn_turn.datasets import load_image_folder
    >>> load_image_folder("photos")  # doctest: +SKIP
    {'data': array(['photos/cat/1.jpg', ...]), ...}
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{str(root)!r} is not a folder (looked in {os.getcwd()!r})."
        )
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise ValueError(
            f"{str(root)!r} has no subfolders. One per class is expected, as in "
            f"{str(root / 'cat' / '1.jpg')!r}."
        )
    given = (extensions,) if isinstance(extensions, str) else tuple(extensions)
    endings = tuple(f".{ending.lstrip('.').lower()}" for ending in given)
    files: list[str] = []
    target: list[int] = []
    others: Counter[str] = Counter()
    for code, name in enumerate(names):
        paths = [path.relative_to(root) for path in _files(root / name)]
        wanted = [path for path in paths if path.suffix.lower() in endings]
        others.update(path.suffix.lower() for path in paths)
        # By whole names: separators differ from system to system.
        found = [str(path) for path in sorted(wanted, key=lambda path: path.parts)]
        if not found:
            raise ValueError(
                f"The subfolder {name!r} of {str(root)!r} holds no image file "
                f"({', '.join(endings)}). Remove it, or name its extension."
            )
        files += found
        target += [code] * len(found)
    passed = {e: n for e, n in others.items() if e in {*_OTHER_IMAGES} - {*endings}}
    if passed:
        warnings.warn(
            f"{sum(passed.values())} images of {str(root)!r} are passed over for their "
            f"endings ({', '.join(f'{e}: {n}' for e, n in sorted(passed.items()))}). "
            "Convert them, or name the endings in extensions=... if Pillow reads them.",
            SkippedImageWarning,
            stacklevel=2,
        )
    data = np.array([str(root / file) for file in files])
    if return_X_y:
        return data, np.array(target)
    return Bunch(
        data=data,
        target=np.array(target),
        target_names=np.array(names),
        filenames=np.array(files),
    )


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder, to any depth, through links, without hidden ones."""
    entered = set()
    for here, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(here)
        # A link to a folder above would lead round for ever.
        folders[:] = [f for f in folders if not f.startswith(".")]
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        for name in names:
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _raise(error: OSError) -> None:
    """Without this, a folder that may not be read would count as empty."""
    raise error


def load_dataset(
    dataset: Any,
    *,
    image: str | int | None = None,
    label: str | int | None = None,
    return_X_y: bool = False,
) -> Any:
    """Take images and labels from a torch or Hugging Face dataset.

    Images are read when they are needed. Labels are taken from ``targets`` or a column
    of the dataset; where there is neither, or items are mappings with a "label", each
    item is read once. ``data`` can be split by scikit-learn, which a raw dataset
    cannot.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        ``torchvision.datasets.ImageFolder``, any map-style torch Dataset of
        (image, label) or of mappings, or a Hugging Face ``datasets.Dataset``.
    image : str, int or None, default=None
        See :class:`~sklearn_turn.inputs.DatasetImages`.
    label : str, int or None, default=None
        Key or position of the label; None is "label" of a mapping, the second of a
        tuple.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : DatasetImages.
        ``target`` : ndarray of shape (n_samples,).
        ``target_names`` : ndarray of str, where the dataset names its classes.

    Raises
    ------
    ValueError
        If an item has no label where it should.

    Examples
    --------
    >>> import torch
    >>> from sklearn_turn.datasets import load_dataset
    >>> pixels = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    >>> pairs = torch.utils.data.TensorDataset(pixels, torch.arange(6) % 2)
    >>> load_dataset(pairs).target.tolist()
    [0, 1, 0, 1, 0, 1]
    """
    if isinstance(dataset, Mapping):
        raise TypeError(
            f"The dataset is a {type(dataset).__name__} of "
            f"{', '.join(map(str, dataset))}; pass one of these."
        )
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            f"The dataset, a {type(dataset).__name__}, has no length and no order. "
            "Pass a map-style one, without streaming."
        )
    data = DatasetImages(dataset, image=image)
    target = np.asarray(_labels(dataset, label))
    if len(target) != len(data):
        raise ValueError(
            f"The dataset says it has {len(data)} items but has {len(target)} labels."
        )
    if return_X_y:
        return data, target
    bunch = Bunch(data=data, target=target)
    names = _class_names(dataset, label)
    if names is not None:
        bunch.target_names = np.array([_as_text(name) for name in names])
    return bunch


def _class_names(dataset: Any, label: str | int | None) -> Any:
    """Names of the classes in the order of their codes, or None."""
    if isinstance(dataset, torch.utils.data.Subset):
        return _class_names(dataset.dataset, label)
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):  # of Hugging Face
        return getattr(features.get(_label_column(label)), "names", None)
    if getattr(dataset, "target_transform", None) is not None:
        return None
    return getattr(dataset, "classes", None)


def _as_text(name: Any) -> str:
    """One name of a class; ImageNet's have several."""
    return ", ".join(map(str, name)) if isinstance(name, tuple | list) else str(name)


def _labels(dataset: Any, label: str | int | None) -> Any:
    stored = _stored_labels(dataset, label)
    if stored is not None:
        return stored
    return [_label_of(dataset, i, label) for i in range(len(dataset))]


def _stored_labels(dataset: Any, label: str | int | None) -> Any:
    """Labels that the dataset keeps apart from its images, or None."""
    if isinstance(dataset, torch.utils.data.Subset):
        stored = _stored_labels(dataset.dataset, label)
        if stored is None:
            return None
        return np.asarray(stored)[np.asarray(dataset.indices, dtype=np.intp)]
    if hasattr(dataset, "column_names"):  # of Hugging Face
        name = _label_column(label)
        if name not in dataset.column_names:
            raise ValueError(
                f"The dataset has no column {name!r}; it has {dataset.column_names}. "
                "Pass label=..."
            )
        return list(dataset[name])
    if (
        label is None
        and getattr(dataset, "targets", None) is not None
        and not _names_labels(dataset)
    ):
        # torchvision keeps the labels as they were before this transform.
        transform = getattr(dataset, "target_transform", None)
        if transform is None:
            return dataset.targets
        return [transform(code) for code in np.asarray(dataset.targets).tolist()]
    if label is None and isinstance(dataset, torch.utils.data.TensorDataset):
        return dataset.tensors[1] if len(dataset.tensors) > 1 else None
    return None


def _names_labels(dataset: Any) -> bool:
    """Whether items are mappings with a label of their own."""
    try:
        return isinstance(dataset[0], Mapping) and "label" in dataset[0]
    except Exception:  # an image that cannot be read is told of later
        return False


def _label_column(label: str | int | None) -> str | int:
    return "label" if label is None else label


def _label_of(dataset: Any, index: int, label: str | int | None) -> Any:
    item = dataset[index]
    key = label
    if key is None:
        key = "label" if isinstance(item, Mapping) else 1
    try:
        value = item[key]
    except (KeyError, IndexError, TypeError) as error:
        has = list(item) if isinstance(item, Mapping) else type(item).__name__
        raise ValueError(
            f"Item {index} has no label under {key!r}; it is {has}. Pass label=..."
        ) from error
    return value.item() if hasattr(value, "item") else value
