"""The methods TURN is compared with, behind the same front."""

from ._simple import FullFineTuning, LinearProbing

__all__ = ["FullFineTuning", "LinearProbing"]
