"""How a net runs and is trained: device, inference, skorch net, batches, schedules."""

from .batches import Batch, Labelled
from .cleansing import Cleansing
from .device import Runtime
from .net import Net

__all__ = ["Batch", "Cleansing", "Labelled", "Net", "Runtime"]
