"""A reviewed file of label issues, read back.

The file is a CSV table in UTF-8, with one row per reviewed sample, in any order:

===================  =============================================================
``index``            position of the sample in the order given to ``fit``, from 0;
                     or ``position``
``path``             path of its file; may be left out, unless it is compared
``given_label``      the label as it was given; must be that of the data
``suggested_label``  for the reader, may be left out
``label_quality``    for the reader, may be left out
``mark``             ``right``, ``wrong``, ``unsure``, or empty for not reviewed
``corrected_label``  of a wrong label: what it should be, or empty if the sample
                     should go; of a right one: the given label, or empty
===================  =============================================================

The page of :func:`export_report` saves these columns, in this order. Further columns
are passed over. A text that a spreadsheet would take for a formula, as it starts with
``=``, ``+``, ``-`` or ``@`` and is no number, stands behind an apostrophe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._csv import check_columns, instead_of, read_columns

COLUMNS = ("index", "given_label", "mark", "corrected_label")
# Where the table has an index of the user's, beside which positions are a column.
_INSTEAD = {"index": "position"}

_HINT = (
    "Save it from the page of export_report, or add mark and corrected_label to the "
    "table of label_issues."
)


@dataclass(frozen=True)
class Row:
    """One reviewed sample, as text, and where it was found."""

    where: str
    index: str
    given_label: str
    mark: str
    corrected_label: str
    path: str = ""


def rows_of(reviewed: Any, *, with_paths: bool = False) -> Iterator[Row]:
    """Rows of a reviewed table, as text.

    Parameters
    ----------
    reviewed : path-like or DataFrame
    with_paths : bool, default=False
        Whether the column ``path`` is needed.

    Yields
    ------
    Row

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If it is no such table.
    """
    columns = (*COLUMNS, "path") if with_paths else COLUMNS
    if hasattr(reviewed, "columns") and hasattr(reviewed, "reset_index"):
        table = _rows_of_frame(reviewed, columns)
    elif isinstance(reviewed, str | os.PathLike):
        table = read_columns(Path(reviewed), columns, _HINT, _INSTEAD)
    else:
        raise TypeError(
            "reviewed must be the path of a CSV file or a DataFrame, not "
            f"{type(reviewed).__name__}."
        )
    for where, (index, given, mark, corrected, *path) in table:
        yield Row(where, index, given, mark.strip().lower(), corrected, *path)


def _rows_of_frame(
    frame: Any, columns: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    if frame.index.name == "index":
        frame = frame.drop(columns=["index", "position"], errors="ignore").reset_index()
    columns = instead_of(frame.columns, columns, _INSTEAD, "The table")
    check_columns([str(name) for name in frame.columns], columns, "The table", _HINT)
    cells = [frame[name].tolist() for name in columns]
    for number, values in enumerate(zip(*cells, strict=True)):
        yield f"row {number}", [_text(value) for value in values]


def _text(value: Any) -> str:
    """A cell of a data frame as it would be in a file; missing ones are empty."""
    if isinstance(value, str):
        return value
    try:
        missing = value is None or bool(value != value)
    except TypeError:  # pandas.NA has no truth value
        missing = True
    return "" if missing else str(value)
