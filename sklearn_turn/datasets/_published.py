"""What loaders of published datasets share: where the files are and what is missing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

DataHome = str | os.PathLike[str] | None
Codes = NDArray[np.intp]
Paths = NDArray[np.object_]


@dataclass(frozen=True)
class Published:
    """A dataset as its authors publish it.

    Parameters
    ----------
    name : str
    folder : str
        Where it is by default, in scikit-learn's data folder.
    page : str
        The project's page.
    layout : str
        The files, as they are unpacked.
    about : str
        What is in it, for ``DESCR``.
    """

    name: str
    folder: str
    page: str
    layout: str
    about: str

    def root(self, data_home: DataHome) -> Path:
        """Folder the files are in."""
        if data_home is None:
            return Path(get_data_home()) / self.folder
        return Path(data_home).expanduser()

    def missing(self, root: Path, what: str) -> FileNotFoundError:
        """Error that says what is missing where, and where it comes from."""
        return FileNotFoundError(
            f"{self.name} is not complete in {str(root)!r}: {what}. Expected there, or "
            f"in another folder passed as data_home:\n{self.layout}\nSource: "
            f"{self.page}"
        )

    def require(self, root: Path, *names: str) -> None:
        """Raise if some files or folders are not below root."""
        absent = [name for name in names if not (root / name).exists()]
        if absent:
            raise self.missing(root, f"no {', no '.join(absent)}")

    def check_count(self, root: Path, n_listed: int, count: int | None) -> None:
        """Raise if there are no samples, or not as many as are published."""
        if n_listed == 0:
            raise self.missing(root, "no image is listed")
        if count is not None and n_listed != count:
            raise ValueError(
                f"{self.name} has {count} samples here, but {str(root)!r} lists "
                f"{n_listed}. partial=True takes a part."
            )

    def bunch(
        self,
        root: Path,
        data: NDArray[Any],
        target: Codes,
        target_names: Iterable[str],
        *,
        count: int | None,
        partial: bool,
        return_X_y: bool,
        **more: NDArray[Any],
    ) -> Any:
        """Check number, labels and files of the samples, and pack them.

        Parameters
        ----------
        root : Path
        data : ndarray of shape (n_samples, ...)
            Images, or paths as an array of objects.
        target : ndarray of shape (n_samples,), int
        target_names : iterable of str
        count : int or None
            Published number of samples.
        partial : bool
            Take what is there of listed files, however many.
        return_X_y : bool
        **more : ndarray of shape (n_samples,)
            Further labels of the samples.

        Returns
        -------
        Bunch, or tuple of data and target
        """
        names = np.array(list(target_names))
        self.check_count(root, len(target), None if partial else count)
        if data.dtype == object:
            keep = self._check_files(root, data, partial)
            data, target = data[keep], target[keep]
            more = {name: labels[keep] for name, labels in more.items()}
        if not 0 <= target.min() <= target.max() < len(names):
            raise ValueError(
                f"The labels of {self.name} in {str(root)!r} go from {target.min()} to "
                f"{target.max()}; with {len(names)} classes they should be from 0 to "
                f"{len(names) - 1}."
            )
        if return_X_y:
            return data, target
        return Bunch(
            data=data,
            target=target,
            target_names=names,
            **more,
            DESCR=f"{self.name}\n\n{self.about}\n\n{self.layout}\n\n{self.page}",
        )

    def _check_files(self, root: Path, paths: Paths, partial: bool) -> Any:
        """Which paths to keep: what is there, or all or an error."""
        there = present(paths)
        # Names may be written in more ways than one, and folders be hidden.
        for i in np.flatnonzero(~there):
            there[i] = os.path.isfile(paths[i])
        if there.all():
            return slice(None)  # copies nothing
        if partial and there.any():
            return there
        first = paths[~there][0]
        what = f"{(~there).sum()} of {len(paths)} images, the first {first!r}"
        if there.any():
            what += " (partial=True leaves them out)"
        raise self.missing(root, f"missing are {what}")


def present(paths: Paths) -> NDArray[np.bool_]:
    """Which files exist, by one listing of each folder and not a look at each file."""
    listings: dict[str, set[str]] = {}

    def is_there(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            listings[folder] = _files(folder)
        return name in listings[folder]

    return np.fromiter(map(is_there, paths), dtype=bool, count=len(paths))


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def joined(root: Path, names: Iterable[str]) -> Paths:
    """Paths of files below root.

    Python's own strings, of the length each has: NumPy's take four bytes for every
    character of the longest.
    """
    prefix = root.as_posix()
    return np.fromiter((f"{prefix}/{name}" for name in names), dtype=object)


def lines(path: Path, *, skip: int = 0) -> Iterator[str]:
    """The lines of a text file after the first few, stripped, without blank ones."""
    with open(path, encoding="utf-8") as file:
        for line in itertools.islice(file, skip, None):
            if stripped := line.strip():
                yield stripped


def pairs(path: Path, *, skip: int = 0) -> Iterator[tuple[str, int]]:
    """Each line's text and the number at its end."""
    for line in lines(path, skip=skip):
        try:
            name, digits = line.rsplit(maxsplit=1)
            code = int(digits)
        except ValueError:
            raise ValueError(
                f"A line of {str(path)!r} should be a file name and a number, but is "
                f"{line!r}. Is the file damaged?"
            ) from None
        yield name, code


def check_option(name: str, value: str, options: Iterable[str]) -> None:
    """Raise if an argument is none of its options."""
    if value not in options:
        listed = ", ".join(map(repr, options))
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
