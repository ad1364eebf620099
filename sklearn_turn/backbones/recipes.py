"""What an alias stands for: architecture, weights and how to fine-tune them."""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """What an alias stands for.

    The optimiser settings are those that two later comparisons with TURN, DeFT and IDO
    (both MIT), use for each backbone: the best stand-in for the paper's own table,
    which is not available.

    Attributes
    ----------
    timm_name : str
        Architecture in timm, with the tag of its weights.
    license : str
        Licence of the pre-trained weights.
    optimizer : {"adamw", "adam", "sgd"}
    lr, weight_decay, momentum : float
        Settings of the optimiser for full fine-tuning.
    file : str or None
        File of weights that comes with this package.
    input_size : int or None
        Side of the input in pixels, if not the timm model's.
    mean, std : tuple of float or None
        Statistics of the channels, if not the timm model's.
    url : str or None
        Where the weights are published, if timm has none.
    """

    timm_name: str
    license: str
    optimizer: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    momentum: float = 0.0
    file: str | None = None
    input_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    url: str | None = None


ALIASES: dict[str, Recipe] = {
    "vit_b16": Recipe(
        "vit_base_patch16_224.augreg_in1k", "Apache-2.0", "sgd", 1e-2, 1e-5
    ),
    "vit_l16": Recipe(
        "vit_large_patch16_224.augreg_in21k_ft_in1k", "Apache-2.0", "sgd", 1e-2, 1e-5
    ),
    "convnext_t": Recipe("convnext_tiny.fb_in1k", "Apache-2.0", "adamw", 1e-4, 1e-4),
    "mae_vit_b": Recipe(
        "vit_base_patch16_224.mae", "CC-BY-NC-4.0", "adamw", 1e-4, 1e-3
    ),
    # No published setting was found for MSN; these are the library's own defaults.
    "msn_vit_b": Recipe(
        "vit_base_patch16_224",
        "CC-BY-NC-4.0",
        url="https://dl.fbaipublicfiles.com/msn/vitb16_600ep.pth.tar",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    "clip_vit_b": Recipe(
        "vit_base_patch16_clip_quickgelu_224.openai", "MIT", "sgd", 5e-4, 5e-4, 0.9
    ),
    "clip_vit_l14": Recipe(
        "vit_large_patch14_clip_quickgelu_224.openai", "MIT", "sgd", 5e-4, 5e-4, 0.9
    ),
    "resnet50": Recipe("resnet50.a1_in1k", "Apache-2.0", "adamw", 1e-3, 1e-5),
    # Trained by examples/pretrain_letters.py; for demonstrations and tests.
    "letters": Recipe(
        "test_convnext3",
        "BSD-3-Clause",
        "adamw",
        3e-4,
        1e-4,
        file="letters_convnext.safetensors",
        input_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}


# Of a timm name, factory or module without an alias.
DEFAULT = Recipe("", "")

# How many times greater the learning rate of plain SGD is than that of AdamW: what
# published recipes use for backbones of one kind.
_SGD_OVER_ADAMW = 100.0


def converted_rate(lr: float, optimizer: str, wanted: str) -> float:
    """Learning rate of one optimiser, for another."""
    return lr * _SGD_OVER_ADAMW ** ((wanted == "sgd") - (optimizer == "sgd"))
