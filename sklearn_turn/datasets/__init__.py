"""Images and labels on disk or in a dataset, as scikit-learn bunches."""

from ._loaders import load_dataset, load_image_folder

__all__ = ["load_dataset", "load_image_folder"]
