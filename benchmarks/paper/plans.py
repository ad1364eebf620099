"""Which fits each table and figure is made of, in the order they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from benchmarks.cells import Cell
from benchmarks.methods import METHODS, is_probe
from benchmarks.paper import published

#: Methods of Table 2, and what TURN does by default.
COMPARED = (*published.METHODS, "TURN")
#: Methods of Table 1 and Figure 3d: all of them train the whole network.
TIMED = (*published.TABLE_1, "TURN, paper")
ALGORITHM_1 = "TURN, paper"

#: Parameter -> values of Figures 3a to 3c, and what it is where it does not vary.
VARIED: dict[str, tuple[tuple[Any, ...], Any]] = {
    "lp_epochs": ((1, 5, 10, 20, 40), 20),
    "fft_epochs": ((1, 2, 3, 4, 5, 8), 4),
    "tau": ((0.3, 0.5, 0.6, 0.7, 0.8, 0.9), 0.6),
}
#: Rows of Table 5.
COMPONENTS: tuple[dict[str, Any], ...] = (
    {"lp_epochs": 0},
    {"cleansing": None},
    {"cleansing": "once"},
    {},
)


@dataclass(frozen=True)
class Plan:
    """What stands for the paper's data and backbones.

    Attributes
    ----------
    data : str
        For CIFAR-100.
    backbones : tuple of str
        Of Table 2, the first also of Table 1 and Figure 3.
    noises : tuple of str
        Of Table 2, the most telling first.
    own : tuple of (str, str)
        Datasets and noises of Table 3: errors that people made.
    wild, larger, ablated, mapped : tuple of str
        Backbones of Tables 3, 4 and 5 and of Figure 2.
    probe_seeds, seeds : int
        Of Table 2: of methods on frozen features, and of the others.
    probes : tuple of str
        Methods of Table 2 on frozen features.
    rounds : tuple of tuple of str
        Methods of Table 2 that fine-tune; all noises are measured for the first
        before any for the second.
    """

    data: str
    backbones: tuple[str, ...]
    noises: tuple[str, ...]
    own: tuple[tuple[str, str], ...]
    wild: tuple[str, ...]
    larger: tuple[str, ...]
    ablated: tuple[str, ...]
    mapped: tuple[str, ...]
    probe_seeds: int
    seeds: int
    probes: tuple[str, ...]
    rounds: tuple[tuple[str, ...], ...]
    light: str = "symmetric 0.1"
    middle: str = "symmetric 0.6"
    heavy: str = "symmetric 0.9"


_PROBES = tuple(name for name in COMPARED if is_probe(name))
_TUNED = tuple(name for name in COMPARED if not is_probe(name))
_FIRST = ("TURN, paper", "TURN", "FFT-CE")
_SECOND = ("FFT-GCE", "FFT-ELR", "FFT-DivideMix", "FFT-UNICON")
_VITS = ("vit_tiny_patch16_224",)

_SMALL = Plan(
    data="cifar10n",
    backbones=(*_VITS, "mobilenetv2_100"),
    noises=(
        "symmetric 0.6",
        "worse",
        "aggre",
        "asymmetric 0.4",
        "symmetric 0.9",
        "none",
        "random1",
        "instance xia 0.4",
        "instance cheng 0.4",
    ),
    own=(("cifar10n", "worse"), ("cifar10n", "random1"), ("cifar10n", "aggre")),
    wild=(*_VITS, "mobilenetv2_100"),
    larger=_VITS,
    ablated=_VITS,
    mapped=(*_VITS, "mobilenetv2_100"),
    probe_seeds=3,
    seeds=1,
    probes=tuple(name for name in METHODS if is_probe(name)),
    rounds=(
        _FIRST,
        _SECOND,
        tuple(
            name
            for name in METHODS
            if not is_probe(name) and name not in (*_FIRST, *_SECOND)
        ),
    ),
)

PLANS = {
    "smoke": Plan(
        data="digits",
        backbones=("letters",),
        noises=published.NOISES,
        own=(("digits", "instance xia 0.4"),),  # a stand-in: nobody mislabelled digits
        wild=("letters",),
        larger=("letters",),
        ablated=("letters",),
        mapped=("letters",),
        probe_seeds=1,
        seeds=1,
        probes=_PROBES,
        rounds=(_TUNED,),
    ),
    # Few enough for a CPU to train methods with two networks.
    "few": replace(
        _SMALL,
        backbones=_VITS,
        noises=("worse", "aggre"),
        own=(("cifar10n", "worse"), ("cifar10n", "aggre")),
        wild=_VITS,
        mapped=_VITS,
        light="aggre",
        middle="worse",
        heavy="worse",
    ),
    "small": _SMALL,
    "full": Plan(
        data="cifar100",
        backbones=(
            "vit_b16",
            "convnext_t",
            "mae_vit_b",
            "msn_vit_b",
            "clip_vit_b",
            "resnet50",
        ),
        noises=published.NOISES,
        own=(("clothing1m", "own"), ("webvision", "own")),
        wild=("vit_b16", "convnext_t", "mae_vit_b", "msn_vit_b", "resnet50"),
        larger=("vit_l16", "clip_vit_l14"),
        ablated=("vit_b16", "clip_vit_b"),
        mapped=("vit_b16", "convnext_t", "clip_vit_b", "mae_vit_b"),
        probe_seeds=3,
        seeds=3,
        probes=_PROBES,
        rounds=(_TUNED,),
    ),
}


def table1(size: str) -> Iterator[Cell]:
    yield from _each(size, PLANS[size].middle, TIMED)


def table2(size: str) -> Iterator[Cell]:
    plan = PLANS[size]
    for seed, backbone, noise, method in product(
        range(plan.probe_seeds), plan.backbones, plan.noises, plan.probes
    ):
        yield Cell(size, backbone, noise, method, seed, data=plan.data)
    for backbone, some, seed in product(plan.backbones, plan.rounds, range(plan.seeds)):
        for noise, method in product(plan.noises, some):
            yield Cell(size, backbone, noise, method, seed, data=plan.data)


def table3(size: str) -> Iterator[Cell]:
    plan = PLANS[size]
    for (data, noise), backbone, method in product(plan.own, plan.wild, COMPARED):
        yield Cell(size, backbone, noise, method, 0, data=data)


def table4(size: str) -> Iterator[Cell]:
    plan = PLANS[size]
    for backbone, method in product(plan.larger, COMPARED):
        yield Cell(size, backbone, plan.heavy, method, 0, data=plan.data)


def table5(size: str) -> Iterator[Cell]:
    plan = PLANS[size]
    for backbone, options in product(plan.ablated, COMPONENTS):
        cell = Cell(size, backbone, plan.heavy, ALGORITHM_1, 0, data=plan.data)
        yield replace(cell, options=tuple(options.items()))


def figure2(size: str) -> Iterator[Cell]:
    plan = PLANS[size]
    for backbone, noise in product(plan.mapped, (plan.heavy, plan.light)):
        cell = Cell(size, backbone, noise, "FFT-CE", 0, data=plan.data)
        yield replace(cell, observed="embedding")


def sweep(name: str) -> Callable[[str], Iterator[Cell]]:
    """Cells of a figure that varies one parameter."""

    def cells(size: str) -> Iterator[Cell]:
        values, usual = VARIED[name]
        (cell,) = _each(size, PLANS[size].heavy, [ALGORITHM_1])
        for value in values:
            yield cell if value == usual else replace(cell, options=((name, value),))

    return cells


def figure3d(size: str) -> Iterator[Cell]:
    yield from _each(size, PLANS[size].heavy, TIMED)


def _each(size: str, noise: str, methods: Iterable[str]) -> Iterator[Cell]:
    """One cell for each method, on the first backbone."""
    plan = PLANS[size]
    for method in methods:
        yield Cell(size, plan.backbones[0], noise, method, 0, data=plan.data)
