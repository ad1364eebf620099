"""What the tables share: pandas, which is optional, and text that files can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def import_pandas() -> Any:
    """Import pandas.

    Raises
    ------
    ImportError
        With the name of the extra to install.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "Tables need pandas: pip install 'sklearn-turn[plots]'."
        ) from error
    return pandas


def as_text(value: Any) -> str:
    """A label or path as it stands in files.

    Names of files need not be text: bytes that are no UTF-8 are written as escapes, as
    is the character NUL, which no CSV holds.
    """
    text = str(value).encode(errors="backslashreplace").decode()
    return text.replace("\0", r"\x00")


def labels_as_text(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as they are, or as text where they hold what no file can."""
    texts = [label for label in np.unique(labels).tolist() if isinstance(label, str)]
    if all(as_text(text) == text for text in texts):
        return labels
    return np.array([as_text(label) for label in labels.tolist()])


def check_not_empty(labels: Iterable[Any]) -> None:
    """Raise if the empty text is a label; in a table it means that there is none.

    Raises
    ------
    ValueError
    """
    if any(isinstance(label, str) and not label for label in labels):
        raise ValueError(
            "The empty text is one of the labels, and a reviewed table cannot tell it "
            "from no label. Give it a name first: y[y == ''] = 'nothing'."
        )
