"""Fine-tune pre-trained image models on labels you do not trust."""

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

# Name -> module. Resolved on first use, so that importing the package stays light:
# torch and timm are loaded by what needs them.
_EXPORTS = {
    "Cleansing": "training.cleansing",
    "FeatureExtractor": "features",
    "FeatureMemory": "features.memory",
    "GMMNoiseFilter": "selection",
    "NoiseFilteredClassifier": "filtered_classifier",
    "TURNClassifier": "turn",
}
_SUBMODULES = ["baselines", "datasets", "exceptions", "inspection", "noise"]

__all__ = sorted(_EXPORTS) + _SUBMODULES


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
