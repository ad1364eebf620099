"""Methods of the comparisons, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Unpacked data, and features that methods on frozen ones share.
CACHE = Path.home() / ".cache" / "sklearn-turn-benchmarks"
FEATURES = CACHE / "features"

#: Backbones whose weights are in the folder of assets.
BACKBONES = ("vit_tiny_patch16_224", "mobilenetv2_100")

#: Losses and methods that fine-tune (FFT) and train linear probes (LP).
LOSSES = (
    *("ce", "gce", "elr", "sce"),
    *("nce+rce", "ngce+mae", "nce+agce", "nce+aul", "nce+ael"),
)
MODES = ("DivideMix", "UNICON", "ELR+", "CoTeaching", "CORES", "FINE")


def _compared(prefix: str, of_loss: str, mode: str) -> dict[str, Any]:
    by_loss = {f"{prefix}-{x.upper()}": (of_loss, {"loss": x}) for x in LOSSES}
    by_mode = {f"{prefix}-{x}": (x.replace("+", "Plus"), {"mode": mode}) for x in MODES}
    return by_loss | by_mode


#: Name -> class and parameters.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **_compared("FFT", "FullFineTuning", "fine-tune"),
    **_compared("LP", "LinearProbing", "probe"),
    "TURN, paper": (
        "TURNClassifier",
        {"noise_filter": "gmm", "tau": 0.6, "balance": "min", "label_correction": None},
    ),
    "TURN": ("TURNClassifier", {}),
    # What of TURN is the probe, and the head it leaves to fine-tuning.
    "TURN, no cleansing": ("TURNClassifier", {"cleansing": None}),
}

#: Parameters of the methods that have them, by dataset. A mirrored digit is none; in
#: float32 every processor finds much the same.
_OF_DATA: dict[str, dict[str, Any]] = {
    "cifar10n": {"crop_pct": 1.0},
    "cifar100": {"crop_pct": 1.0},
    "digits": {"precision": "float32", "augment": None},
}


def is_probe(name: str) -> bool:
    """Whether a method trains on features of the frozen backbone only."""
    return name.startswith("LP")


def make(name: str, backbone: str, folder: Path, data: str = "cifar10n") -> Any:
    """An unfitted classifier.

    Methods on frozen features share a cache of these: their seconds and passes leave
    out the one pass.

    Parameters
    ----------
    name : str
        One of ``METHODS``.
    backbone : str
    folder : Path
        Its weights are taken from there if they are there.
    data : str
        What it will be trained on; see :func:`benchmarks.data.load`.
    """
    import sklearn_turn
    from sklearn_turn import baselines  # imports torch, and a list needs none

    kind, parameters = METHODS[name]
    cls = getattr(baselines, kind, None) or getattr(sklearn_turn, kind)
    of_data = _OF_DATA.get(data, {})
    known = cls._get_param_names()
    return cls(
        backbone,
        pretrained=weights(backbone, folder),
        memory=FEATURES if is_probe(name) else None,
        **{key: value for key, value in of_data.items() if key in known},
        **parameters,
    )


def weights(backbone: str, folder: Path) -> str | bool:
    """What to pass as ``pretrained``."""
    path = folder / f"{backbone}.safetensors"
    return str(path) if path.exists() else True
