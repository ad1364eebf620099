"""Labels corrected, or told to be verified, as a reviewed table says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from ..labels import label_vector
from ._csv import without_guard
from ._reviewed import Row, rows_of
from ._tables import as_text, check_not_empty

_MARKS = ("right", "wrong", "unsure", "")
_MANGLED = (
    "A spreadsheet may have changed it (leading zeros, dates, long numbers): import "
    "the columns as text, or edit the file with another program. pandas.read_csv needs "
    "dtype=str and keep_default_na=False."
)


def apply_corrections(
    y: Any, reviewed: Any, *, paths: ArrayLike | None = None
) -> tuple[Any, NDArray[np.bool_]]:
    """Correct labels as a reviewed file says.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The labels that were reviewed, in the order given to ``fit``.
    reviewed : path-like or DataFrame
        CSV file saved from the page of :func:`export_report`; or the table of
        :func:`label_issues`, or the CSV file written from it, with two more columns:
        ``mark`` ("right", "wrong", "unsure", or empty for not reviewed) and
        ``corrected_label`` (of a wrong label: what it should be, or empty). Samples may
        be left out. A file that a spreadsheet wrote is understood as long as it holds
        the same text.
    paths : array-like of shape (n_samples,), default=None
        Files of the samples, as given to ``fit``: those of the table must be the same,
        but for folders in front of all of them. Without them only labels are compared,
        which a file that was added to a folder, or removed from it, may not change.

    Returns
    -------
    corrected : ndarray or Series of shape (n_samples,), dtype of ``y``
        ``y`` with the corrected labels; a Series where ``y`` is one. ``y`` is not
        changed.
    dropped : ndarray of shape (n_samples,), bool
        Samples to leave out: those marked unsure, or wrong without a corrected label.
        They keep their given label.

    See Also
    --------
    verified_labels : For another fit, which is to find what was not reviewed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the table does not fit ``y``: columns are missing, an index is no position
        in ``y`` or appears twice, a given label is not that of ``y``, a corrected label
        is none of its labels, or a mark is none of the three or contradicts the
        corrected label; a path is another one; or a label of ``y`` is the empty text.
        Then nothing is applied.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_turn.inspection import apply_corrections
    >>> reviewed = pd.DataFrame({
    ...     "index": [1, 3],
    ...     "given_label": ["cat", "dog"],
    ...     "mark": ["wrong", "unsure"],
    ...     "corrected_label": ["dog", ""],
    ... })
    >>> y, dropped = apply_corrections(["cat", "cat", "dog", "dog"], reviewed)
    >>> y.tolist(), dropped.tolist()
    (['cat', 'dog', 'dog', 'dog'], [False, False, False, True])
    """
    corrected: Any = y.copy() if hasattr(y, "iloc") else np.array(y)
    dropped = np.zeros(len(label_vector(y)), dtype=bool)
    for place, mark, new in _decisions(y, reviewed, paths):
        if mark == "wrong" and new is not None:
            if hasattr(y, "iloc"):
                corrected.iloc[place] = new
            else:
                corrected[place] = new
        dropped[place] = mark == "unsure" or (mark == "wrong" and new is None)
    return corrected, dropped


def verified_labels(
    y: Any, reviewed: Any, *, paths: ArrayLike | None = None
) -> NDArray[np.object_]:
    """Labels that people have checked, for :class:`NoiseChannelFilter`.

    Once the labels that look wrong are corrected, those that are left look like doubts
    of the classifier, and another fit on the corrected labels finds no noise. So pass
    the labels as they were given, and beside them those that are known by now.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The labels that were reviewed, in the order given to ``fit``.
    reviewed : path-like or DataFrame
        As :func:`apply_corrections` takes it.
    paths : array-like of shape (n_samples,), default=None
        As for :func:`apply_corrections`.

    Returns
    -------
    ndarray of shape (n_samples,), dtype object
        Given labels that were marked right, corrected labels of those marked wrong, and
        None for all others: not reviewed, unsure, or wrong without a corrected label.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`apply_corrections`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_turn.inspection import verified_labels
    >>> reviewed = pd.DataFrame({
    ...     "index": [1, 2],
    ...     "given_label": ["cat", "dog"],
    ...     "mark": ["wrong", "right"],
    ...     "corrected_label": ["dog", ""],
    ... })
    >>> verified_labels(["cat", "cat", "dog", "dog"], reviewed).tolist()
    [None, 'dog', 'dog', None]
    """
    given = label_vector(y).tolist()
    verified = np.full(len(given), None, dtype=object)
    for place, mark, new in _decisions(y, reviewed, paths):
        if mark == "right":
            verified[place] = given[place]
        elif mark == "wrong":
            verified[place] = new
    return verified


def _decisions(
    y: Any, reviewed: Any, paths: ArrayLike | None
) -> Iterator[tuple[int, str, Any]]:
    """Place, mark and new label of each row, once all of the table is checked."""
    labels = label_vector(y)
    check_not_empty(labels)
    rows = list(rows_of(reviewed, with_paths=paths is not None))
    places = _places(rows, len(labels))
    if paths is not None:
        check_consistent_length(labels, paths)
        _check_paths(rows, places, np.asarray(paths).tolist())
    known = _KnownLabels(labels)
    _check_marks(rows)
    _check_given(rows, places, labels, known)
    new = [known.of(r.corrected_label) if r.corrected_label else None for r in rows]
    for row, place, label in zip(rows, places, new, strict=True):
        _check_corrected(row, label, labels[place])
    return zip(places, (row.mark for row in rows), new, strict=True)


def _places(rows: list[Row], n_samples: int) -> list[int]:
    """Position of each row's sample."""
    places: list[int] = []
    first: dict[int, str] = {}
    for row in rows:
        text = row.index.strip()
        if not re.fullmatch(r"[0-9]+(\.0*)?", text):
            raise ValueError(
                f"The index in {row.where} is {row.index!r}, no position of a sample. "
                f"{_MANGLED}"
            )
        place = int(text.split(".")[0])
        if place >= n_samples:
            raise ValueError(
                f"The index in {row.where} is {place}, but y has {n_samples} labels, 0 "
                f"to {n_samples - 1}. The table belongs to other data."
            )
        if place in first:
            raise ValueError(
                f"Index {place} appears twice, in {first[place]} and {row.where}. Keep "
                "one of them."
            )
        first[place] = row.where
        places.append(place)
    return places


class _KnownLabels:
    """The labels of y, found by what they are in a file."""

    def __init__(self, labels: NDArray[Any]):
        values: list[Any] = np.unique(labels).tolist()
        self.is_bool = all(isinstance(v, bool) for v in values)
        self.is_number = not self.is_bool and all(
            isinstance(v, int | float) for v in values
        )
        self.by_key = {self._key(as_text(value)): value for value in values}

    def of(self, text: str) -> Any:
        """The label a text stands for; None if there is none."""
        found = self.by_key.get(self._key(without_guard(text)))
        return self.by_key.get(self._key(text)) if found is None else found

    def _key(self, text: str) -> Any:
        if self.is_bool:  # spreadsheets write TRUE
            return text.strip().lower()
        if self.is_number:  # 3.0 is the label 3
            try:
                return int(text)
            except ValueError:
                try:
                    return float(text)
                except ValueError:
                    return text
        return text


def _check_marks(rows: Iterable[Row]) -> None:
    for row in rows:
        if row.mark not in _MARKS:
            raise ValueError(
                f"The mark in {row.where} is {row.mark!r}; it must be 'right', "
                "'wrong', 'unsure' or empty."
            )
        if row.corrected_label and not row.mark:
            raise ValueError(
                f"There is a corrected label in {row.where}, {row.corrected_label!r}, "
                "but no mark. Mark it as 'wrong', or remove the label."
            )


def _check_given(
    rows: list[Row], places: list[int], labels: NDArray[Any], known: _KnownLabels
) -> None:
    differ = []
    for row, place in zip(rows, places, strict=True):
        given = known.of(row.given_label)
        if given is None or given != labels[place]:
            differ.append((row, place))
    if differ:
        row, place = differ[0]
        raise ValueError(
            f"{len(differ)} of {len(rows)} given labels are not those of y, the first "
            f"in {row.where}: sample {place} is labelled {labels.tolist()[place]!r}, "
            f"not {row.given_label!r}. The table belongs to other data, or to the same "
            f"in another order. {_MANGLED}"
        )


def _check_paths(rows: list[Row], places: list[int], paths: list[Any]) -> None:
    """Raise unless both name the same files, perhaps from another folder."""
    in_front = None
    for row, place in zip(rows, places, strict=True):
        found = _in_front(without_guard(row.path), as_text(paths[place]))
        in_front = found if in_front is None else in_front
        if found is None or found != in_front:
            raise ValueError(
                f"Sample {place} is {str(paths[place])!r}, but {row.path!r} in "
                f"{row.where}. Pass the files in the order of fit; some may have been "
                "added, removed or renamed since. Where the labels are in that order, "
                "paths may be left out."
            )


def _in_front(one: str, other: str) -> tuple[int, tuple[str, ...]] | None:
    """Folders that only one of two paths begins with, and whose; None if they differ.

    A list has paths from its own folder, and an audit those from where it ran.
    """
    first, second = PurePath(one).parts, PurePath(other).parts
    more = len(first) - len(second)
    longer, shorter = (first, second) if more > 0 else (second, first)
    if not shorter or longer[abs(more) :] != shorter:
        return None
    return more, longer[: abs(more)]


def _check_corrected(row: Row, new: Any, given: Any) -> None:
    if row.corrected_label and new is None:
        raise ValueError(
            f"The corrected label in {row.where}, {row.corrected_label!r}, is none of "
            f"the labels of y. {_MANGLED}"
        )
    if row.mark == "right" and new is not None and new != given:
        raise ValueError(
            f"The label in {row.where} is marked 'right', but corrected to "
            f"{row.corrected_label!r}. Mark it as 'wrong', or remove the label."
        )
    if row.mark == "wrong" and new is not None and new == given:
        raise ValueError(
            f"The label in {row.where} is marked 'wrong', but corrected to what it is, "
            f"{row.corrected_label!r}. Mark it as 'right', give another label, or "
            "none to leave the sample out."
        )
