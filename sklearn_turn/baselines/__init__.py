"""The methods TURN is compared with, behind the same front."""

from .co_teaching import CoTeaching
from .cores import CORES
from .divide_mix import DivideMix
from .elr_plus import ELRPlus
from .fine import FINE
from .fine_tuning import FullFineTuning
from .probing import LinearProbing
from .unicon import UNICON

__all__ = [
    "CORES",
    "FINE",
    "UNICON",
    "CoTeaching",
    "DivideMix",
    "ELRPlus",
    "FullFineTuning",
    "LinearProbing",
]
