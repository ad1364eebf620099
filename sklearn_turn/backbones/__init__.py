"""Backbones: a name, factory or module becomes a module from images to features."""

from .embedder import Embedder, embedder_for, make_embedder
from .loading import Backbone, load_backbone
from .names import BackboneLike, check_backbone
from .recipes import ALIASES, Recipe
from .transforms import BatchTransform

__all__ = [
    "ALIASES",
    "Backbone",
    "BackboneLike",
    "BatchTransform",
    "Embedder",
    "Recipe",
    "check_backbone",
    "embedder_for",
    "load_backbone",
    "make_embedder",
]
