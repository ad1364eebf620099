"""The methods TURN is compared with, behind the same front."""

from .fine_tuning import FullFineTuning
from .probing import LinearProbing

__all__ = ["FullFineTuning", "LinearProbing"]
