"""Every kind of X becomes one indexable source."""

from .arrays import ArrayImages, FeatureRows, RawInputs
from .dispatch import as_source, is_images
from .files import DatasetImages, ImageFiles, PILImages, raise_if_unreadable
from .source import Samples, Ragged, Source, Subset

__all__ = [
    "ArrayImages",
    "Samples",
    "DatasetImages",
    "FeatureRows",
    "ImageFiles",
    "PILImages",
    "Ragged",
    "RawInputs",
    "Source",
    "Subset",
    "as_source",
    "is_images",
    "raise_if_unreadable",
]
