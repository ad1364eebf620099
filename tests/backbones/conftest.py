"""No network."""

from __future__ import annotations

import huggingface_hub.constants
import pytest


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that is not asked, and a cache that is empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
