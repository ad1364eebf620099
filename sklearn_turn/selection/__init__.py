"""Which labels are clean: noise filters, and the draw from what they select."""

from .draw import draw_balanced
from .gmm import GMMNoiseFilter

__all__ = ["GMMNoiseFilter", "draw_balanced"]
