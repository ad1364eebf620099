"""Label-noise simulators: clean labels in, labels with a known share of errors out.

Papers use one name for several generators; here each has its own, and each docstring
says whose meaning it follows.
"""

from .class_dependent import asymmetric, pair_flip, symmetric
from .class_maps import (
    CIFAR10_ASYMMETRIC,
    CIFAR10_ASYMMETRIC_INDICES,
    CIFAR100_ASYMMETRIC,
    CIFAR100_ASYMMETRIC_INDICES,
    CIFAR100_SUPERCLASSES,
)
from .instance_dependent import instance_cheng2021, instance_xia2020
from .margin import pmd
from .transition import from_transition_matrix, transition_matrix

__all__ = [
    "CIFAR10_ASYMMETRIC",
    "CIFAR10_ASYMMETRIC_INDICES",
    "CIFAR100_ASYMMETRIC",
    "CIFAR100_ASYMMETRIC_INDICES",
    "CIFAR100_SUPERCLASSES",
    "asymmetric",
    "from_transition_matrix",
    "instance_cheng2021",
    "instance_xia2020",
    "pair_flip",
    "pmd",
    "symmetric",
    "transition_matrix",
]
