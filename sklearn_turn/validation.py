"""scikit-learn's check of an estimator's parameters, as type checkers can see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.base import _fit_context

F = TypeVar("F", bound=Callable[..., Any])


def validated_fit(function: F) -> F:
    """Method decorator: check the estimator's parameters first.

    scikit-learn's own hides the method's signature.
    """
    decorate: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=True)
    return decorate(function)


def validated_meta_fit(function: F) -> F:
    """The same for an estimator around others, which check theirs themselves."""
    decorate: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=False)
    return decorate(function)
