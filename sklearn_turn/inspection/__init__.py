"""Look at what a fit believed."""

from ._loss_mixture import LossMixtureDisplay

__all__ = ["LossMixtureDisplay"]
