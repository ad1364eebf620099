"""Which labels are clean: noise filters, and the draw from what they select."""

from .channel import NoiseChannelFilter
from .cores import CORESNoiseFilter
from .draw import draw_balanced
from .fine import FINENoiseFilter
from .gmm import GMMNoiseFilter
from .unicon import UNICONNoiseFilter

__all__ = [
    "CORESNoiseFilter",
    "FINENoiseFilter",
    "GMMNoiseFilter",
    "NoiseChannelFilter",
    "UNICONNoiseFilter",
    "draw_balanced",
]
