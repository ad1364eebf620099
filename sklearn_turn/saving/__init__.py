"""Fits that go on where they were stopped, and fitted models on disk; no pickle."""

from .checkpoint import FitCheckpoint
from .models import SavedAsFile

__all__ = ["FitCheckpoint", "SavedAsFile"]
