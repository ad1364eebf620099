"""CIFAR-10 and CIFAR-100, by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from ._published import DataHome, Published, check_option

# Seconds to wait for the server's first answer.
_PATIENCE = 10.0

_ABOUT = """\
60,000 colour images of 32 x 32 pixels in {}. Krizhevsky, "Learning Multiple
Layers of Features from Tiny Images", 2009."""
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10 = Published(
    name="CIFAR-10",
    folder="cifar10",
    page=_PAGE,
    layout="    cifar-10-batches-py (or cifar-10-python.tar.gz)",
    about=_ABOUT.format("10 classes"),
)
CIFAR100 = Published(
    name="CIFAR-100",
    folder="cifar100",
    page=_PAGE,
    layout="    cifar-100-python (or cifar-100-python.tar.gz)",
    about=_ABOUT.format("100 classes of 20 superclasses"),
)


def fetch_cifar10(
    data_home: DataHome = None,
    *,
    subset: str = "train",
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-10 (10 classes, clean labels), downloading it if need be (170 MB).

    Its files are checked against torchvision's checksums before they are read.

    Parameters
    ----------
    data_home : path, default=None
        Folder that has ``cifar-10-batches-py`` or the archive, or will have them: what
        torchvision calls root. None is ``cifar10`` in scikit-learn's data folder.
    subset : {"train", "test"}, default="train"
        50,000 and 10,000 images.
    download_if_missing : bool, default=True
        If False, raise where the files are missing.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        ``data`` : ndarray of uint8 of shape (n_samples, 32, 32, 3).
        ``target`` : ndarray of int, index into ``target_names``; clean.
        ``target_names`` : ndarray of str.
        ``DESCR`` : str.

    Raises
    ------
    FileNotFoundError
        If the files are missing or damaged and `download_if_missing` is False.
    OSError
        If they cannot be downloaded.

    Examples
    --------
    >>> from sklearn_turn.datasets import fetch_cifar10
    >>> X, y = fetch_cifar10(return_X_y=True)  # doctest: +SKIP
    """
    return _fetch(CIFAR10, data_home, subset, download_if_missing, return_X_y)


def fetch_cifar100(
    data_home: DataHome = None,
    *,
    subset: str = "train",
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-100 (100 classes, clean labels), downloading it if need be (169 MB).

    As :func:`fetch_cifar10`. Superclasses are in
    ``sklearn_turn.noise.CIFAR100_SUPERCLASSES``.

    Parameters
    ----------
    data_home : path, default=None
        Folder that has ``cifar-100-python`` or the archive, or will have them: what
        torchvision calls root. None is ``cifar100`` in scikit-learn's data folder.
    subset : {"train", "test"}, default="train"
        50,000 and 10,000 images.
    download_if_missing : bool, default=True
        If False, raise where the files are missing.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a bunch.

    Returns
    -------
    Bunch
        As of :func:`fetch_cifar10`.

    Raises
    ------
    FileNotFoundError, OSError
        As :func:`fetch_cifar10`.

    Examples
    --------
    >>> from sklearn_turn.datasets import fetch_cifar100
    >>> X, y = fetch_cifar100(return_X_y=True)  # doctest: +SKIP
    """
    return _fetch(CIFAR100, data_home, subset, download_if_missing, return_X_y)


def _fetch(
    published: Published,
    data_home: DataHome,
    subset: str,
    download_if_missing: bool,
    return_X_y: bool,
) -> Any:
    check_option("subset", subset, ["train", "test"])
    root = published.root(data_home)
    found = read_cifar(published, root, subset, download=download_if_missing)
    return published.bunch(
        root,
        found.data,
        np.array(found.targets, dtype=np.intp),
        found.classes,
        count=None,  # the checksums vouch for it
        partial=False,
        return_X_y=return_X_y,
    )


def read_cifar(published: Published, root: Path, subset: str, *, download: bool) -> Any:
    """Read one of the two by torchvision, which looks at checksums first.

    Returns
    -------
    torchvision.datasets.CIFAR10 or CIFAR100

    Raises
    ------
    FileNotFoundError, OSError
    """
    from torchvision import datasets  # slow to import
    from torchvision.datasets.utils import check_integrity

    kind = datasets.CIFAR10 if published is CIFAR10 else datasets.CIFAR100
    train = subset == "train"
    try:
        return kind(root, train=train)
    except RuntimeError:  # not there, or damaged
        is_there = check_integrity(str(root / kind.filename), kind.tgz_md5)
    if not is_there and not download:
        raise published.missing(root, f"no intact {kind.base_folder}")
    try:
        if not is_there:
            # torchvision would wait for ever for a server that does not answer.
            with urlopen(kind.url, timeout=_PATIENCE):
                pass
        return kind(root, train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)  # urllib wraps the system's error
        raise OSError(
            f"{published.name} is not in {str(root)!r} and cannot be downloaded "
            f"({reason}). Copy {kind.filename} there from a machine with a network, or "
            f"pass a folder that has {kind.base_folder} as data_home. Source: "
            f"{published.page}"
        ) from error
