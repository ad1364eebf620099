"""Loss functions that tolerate wrong labels, one value per sample.

Each takes soft labels too: its loss is then the expectation over the label.
"""

from .active_passive import ActivePassiveLoss
from .base import SampleLoss
from .elr import ELRLoss
from .entropy import CrossEntropyLoss, GCELoss, SCELoss, generalized_cross_entropy
from .truncated import TruncatedGCELoss

__all__ = [
    "ActivePassiveLoss",
    "CrossEntropyLoss",
    "ELRLoss",
    "GCELoss",
    "SCELoss",
    "SampleLoss",
    "TruncatedGCELoss",
    "generalized_cross_entropy",
]
