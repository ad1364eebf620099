"""Which labels are clean: noise filters, and the draw from what they select."""

from .channel import NoiseChannelFilter
from .draw import draw_balanced
from .gmm import GMMNoiseFilter

__all__ = ["GMMNoiseFilter", "NoiseChannelFilter", "draw_balanced"]
