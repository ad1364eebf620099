"""Features of a frozen backbone: computed once, kept on disk."""

from .extraction import extract_features
from .extractor import FeatureExtractor
from .memory import FeatureMemory

__all__ = ["FeatureExtractor", "FeatureMemory", "extract_features"]
