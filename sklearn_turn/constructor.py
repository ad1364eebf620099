"""How an estimator's constructor is made of parameters, each written once.

An estimator inherits the groups it needs (:mod:`sklearn_turn.parameters`) and adds its
own. Its constructor is a real one, with explicit keyword arguments, and its docstring
lists all of them.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


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


# The section's title, then everything up to the next title or the end.
_SECTION = re.compile(r"(Parameters\n-{10}\n)(.*?)(?=\n+\S[^\n]*\n---|\Z)", re.DOTALL)


# Class -> what its own docstring says of its own parameters.
_OWN_ENTRIES: dict[type, dict[str, str]] = {}


def _entries(cls: type) -> dict[str, str]:
    """Parameter -> its text in the class's own docstring."""
    found = _SECTION.search(_dedented(cls))
    section = found[2].strip("\n") if found else ""
    entries: dict[str, str] = {}
    for text in re.split(r"\n(?=\S)", section) if section else []:
        names = text.split(" : ", 1)[0]
        entries |= {name.strip(): text for name in names.split(",")}
    return entries


def _dedented(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _document(cls: type) -> str:
    """Docstring that also lists inherited parameters: positional, own, the rest."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        texts |= _OWN_ENTRIES.get(base, {})
    own = _OWN_ENTRIES[cls] = _entries(cls)
    texts |= own
    declared = fields(cls)
    first = [f.name for f in declared if not f.kw_only]
    rest = [f.name for f in declared if f.name not in own]
    order = dict.fromkeys([*first, *own, *rest])
    listed = "\n".join(dict.fromkeys(texts[n] for n in order if n in texts))
    # Between an empty section and the next title there is only one line break.
    return _SECTION.sub(
        lambda found: found[1] + listed + "\n" * (not found[2]), _dedented(cls), count=1
    )
