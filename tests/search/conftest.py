"""Data, and workers that find the modules of the tests."""

import os
import runpy
from pathlib import Path

import pytest
from search.models import Logged

ROOT = Path(__file__).parents[2]


@pytest.fixture
def backbone(tmp_path):
    return Logged(tmp_path / "passes.txt")


@pytest.fixture(scope="session")
def example():
    """The functions of a script among the examples."""
    return lambda name: runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


@pytest.fixture(scope="module")
def importable():
    """Worker processes, of whatever engine, import what this process does."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [before])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
