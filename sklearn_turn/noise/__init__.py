"""Label-noise simulators: clean labels in, labels with a known share of errors out.

Papers use one name for several generators; here each has its own, and each docstring
says whose meaning it follows.
"""

from .class_dependent import (
    CIFAR10_ASYMMETRIC,
    CIFAR10_ASYMMETRIC_INDICES,
    asymmetric,
    pair_flip,
    symmetric,
    transition_matrix,
)
from .instance_dependent import instance_cheng2021, instance_xia2020

__all__ = [
    "CIFAR10_ASYMMETRIC",
    "CIFAR10_ASYMMETRIC_INDICES",
    "asymmetric",
    "instance_cheng2021",
    "instance_xia2020",
    "pair_flip",
    "symmetric",
    "transition_matrix",
]
