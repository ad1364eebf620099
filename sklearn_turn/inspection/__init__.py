"""Look at what a fit found."""

from ._loss_mixture import LossMixtureDisplay

__all__ = ["LossMixtureDisplay"]
