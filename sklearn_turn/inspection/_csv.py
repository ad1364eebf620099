"""CSV tables of people: read as spreadsheets write them, and safe to open in one."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

# Spreadsheets in some countries separate by semicolons, and paste by tabs.
_DELIMITERS = (",", ";", "\t")
# The apostrophe, too, so that each cell stands for one text.
_FORMULA = re.compile(r"['=+\-@\t\r]")


class MissingColumnsError(ValueError):
    """A table is another one than was looked for."""


def read_columns(
    path: Path,
    columns: Sequence[str],
    hint: str = "",
    instead: Mapping[str, str] = {},
) -> Iterator[tuple[str, list[str]]]:
    """Read some columns of a table.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Names in the first line of the file, which may have more of them.
    hint : str, default=""
        What to do where they are missing.
    instead : mapping of str to str, default={}
        Columns that are read in place of others, where a file has them.

    Yields
    ------
    where : str
        Place in the file, for messages.
    cells : list of str
        In the order of ``columns``, empty where the row is too short. Rows without any
        text are passed over.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such table.
    """
    text = _decoded(path)
    first_line = re.split("[\r\n]", text, maxsplit=1)[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        columns = instead_of(names, columns, instead, repr(str(path)))
        check_columns(names, columns, repr(str(path)), hint)
        places = [names.index(name) for name in columns]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"line {reader.line_num}"
            if any(cell.strip() for cell in cells[len(names) :]):
                raise ValueError(
                    f"{where.capitalize()} has {len(cells)} cells, but there are "
                    f"{len(names)} columns. Quote cells that hold a {delimiter!r}."
                )
            cells += [""] * (len(names) - len(cells))
            yield where, [cells[place] for place in places]
    except csv.Error as error:
        raise ValueError(
            f"Line {reader.line_num} of {str(path)!r} is no CSV: {error}."
        ) from error


def instead_of(
    names: Iterable[str], columns: Sequence[str], instead: Mapping[str, str], table: str
) -> list[str]:
    """Columns to read of those a table has, where it may have others instead."""
    there = {*names}
    for name, other in instead.items():
        if {name, other} <= there:
            raise ValueError(
                f"{table} has columns named {name!r} and {other!r}, which stand for "
                "the same. Remove or rename the one that is not of label_issues or "
                "export_report."
            )
    return [instead[name] if instead.get(name) in there else name for name in columns]


def check_columns(
    names: Sequence[str], columns: Sequence[str], table: str, hint: str = ""
) -> None:
    """Raise if columns are missing or there are several of a name."""
    missing = [name for name in columns if name not in names]
    if missing:
        found = ", ".join(map(repr, names[:10])) or "none"
        raise MissingColumnsError(
            f"{table} lacks the columns {', '.join(map(repr, missing))}; it has "
            f"{found}. {hint}".rstrip()
        )
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise ValueError(f"{table} has several columns named {twice}.")


def _decoded(path: Path) -> str:
    """Text of the file, in the encodings that spreadsheets write Unicode in."""
    content = path.read_bytes()
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    with contextlib.suppress(UnicodeDecodeError):
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
        if "\0" not in text:
            return text
    raise ValueError(
        f"{str(path)!r} is not text in UTF-8. In a spreadsheet, save it as 'CSV "
        "UTF-8'; a workbook (.xlsx, .ods) has to be exported as CSV first."
    )


def with_guard(text: str) -> str:
    """A cell that spreadsheets show and do not compute: labels come from anywhere."""
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def without_guard(cell: str) -> str:
    """The text that :func:`with_guard` was given."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False
