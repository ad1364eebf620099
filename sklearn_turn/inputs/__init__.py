"""Every kind of X becomes one indexable source."""

from .arrays import ArrayImages, FeatureRows, RawInputs, as_rows
from .decoded import raise_if_unreadable
from .dispatch import as_source, is_images
from .files import DatasetImages, ImageFiles, PILImages
from .source import Ragged, Samples, Source, Subset

__all__ = [
    "ArrayImages",
    "DatasetImages",
    "FeatureRows",
    "ImageFiles",
    "PILImages",
    "Ragged",
    "RawInputs",
    "Samples",
    "Source",
    "Subset",
    "as_rows",
    "as_source",
    "is_images",
    "raise_if_unreadable",
]
