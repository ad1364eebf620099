"""The package as it is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import sklearn_turn


def test_importing_the_package_is_light():
    code = (
        "import sys, sklearn_turn\n"
        "from sklearn_turn import GMMNoiseFilter, NoiseFilteredClassifier, noise\n"
        "heavy = {'torch', 'timm', 'torchvision', 'skorch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sklearn_turn.__all__)
def test_public_names_resolve(name):
    assert getattr(sklearn_turn, name) is not None
    assert name in dir(sklearn_turn)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'TURN'"):
        sklearn_turn.TURN  # noqa: B018
