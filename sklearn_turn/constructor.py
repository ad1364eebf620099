"""How an estimator's constructor is made of parameters, each written once.

An estimator inherits the groups it needs (:mod:`sklearn_turn.parameters`) and adds its
own. Its constructor is a real one, with explicit keyword arguments, and its docstring
lists all of them.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

from sklearn.utils._param_validation import Interval

T = TypeVar("T")

#: Legal values that several parameters have.
COUNT = Interval(Integral, 0, None, closed="left")
COUNT_FROM_1 = Interval(Integral, 1, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="both")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")


def parameter(*, default: Any, legal: list[Any], kw_only: bool = True) -> Any:
    """Declare a constructor parameter.

    Parameters
    ----------
    default : object
    legal : list
        What scikit-learn's ``_parameter_constraints`` takes.
    kw_only : bool, default=True
    """
    return field(default=default, kw_only=kw_only, metadata={"legal": legal})


@dataclass_transform(kw_only_default=True, field_specifiers=(parameter,))
def with_parameters(cls: type[T]) -> type[T]:
    """Class decorator: constructor, constraints and docstring from the parameters.

    Parameters
    ----------
    cls : type
        Its annotated parameters and those of its bases become keyword arguments of
        ``__init__``, which stores them and does nothing else.

    Returns
    -------
    type
        The same class.
    """
    cls = dataclass(eq=False, repr=False)(cls)
    declared: Any = cls
    declared._parameter_constraints = {
        f.name: list(f.metadata["legal"]) for f in fields(declared)
    }
    if cls.__doc__:
        cls.__doc__ = _document(cls)
    return cls


# Section -> class -> what its own docstring says of its own entries.
_OWN_ENTRIES: dict[str, dict[type, dict[str, str]]] = {
    "Parameters": {},
    "Attributes": {},
}


def _pattern(section: str) -> re.Pattern[str]:
    """The section's title, then everything up to the next title or the end."""
    title = rf"({section}\n-{{{len(section)}}}\n)"
    return re.compile(rf"{title}(.*?)(?=\n+\S[^\n]*\n---|\Z)", re.DOTALL)


def _entries(cls: type, section: str) -> dict[str, str]:
    """Parameter or attribute -> its text in the class's own docstring."""
    found = _pattern(section).search(_dedented(cls))
    listed = found[2].strip("\n") if found else ""
    entries: dict[str, str] = {}
    for text in re.split(r"\n(?=\S)", listed) if listed else []:
        names = text.split(" : ", 1)[0]
        entries |= {name.strip(): text for name in names.split(",")}
    return entries


def _dedented(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _document(cls: Any) -> str:
    """Docstring that also lists what is inherited: positional, own, the rest."""
    document = _dedented(cls)
    declared = [f.name for f in fields(cls)]
    first = [f.name for f in fields(cls) if not f.kw_only]
    for section, known in _OWN_ENTRIES.items():
        own = known[cls] = _entries(cls, section)
        texts: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            texts |= known.get(base, {})
        rest = declared if section == "Parameters" else list(texts)
        order = dict.fromkeys([*first, *own, *rest])
        listed = "\n".join(dict.fromkeys(texts[n] for n in order if n in texts))
        if found := _pattern(section).search(document):
            # Between an empty section and the next title is only one line break.
            listed += "\n" * (not found[2])
            document = document[: found.start(2)] + listed + document[found.end(2) :]
    return document
