"""What type checkers and editors see of the public names."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import sklearn_turn
from sklearn_turn import baselines

SNIPPET = """
import numpy as np
from sklearn_turn import FeatureExtractor, GMMNoiseFilter, TURNClassifier
from sklearn_turn.baselines import FullFineTuning

clf = TURNClassifier("letters", tau=0.5, fft_epochs=2)
reveal_type(clf)
reveal_type(clf.fit(np.zeros((2, 2)), [0, 1]))
reveal_type(clf.fft_epochs)
reveal_type(GMMNoiseFilter().fit(np.zeros((2, 1))).clean_mask_)
reveal_type(FeatureExtractor(memory="cache").transform(["a.png"]))
FullFineTuning(fft_epochs="4")
"""


def test_a_users_program_is_type_checked(tmp_path):
    pytest.importorskip("mypy")
    file = tmp_path / "program.py"
    file.write_text(SNIPPET)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = [line for line in checked.stdout.splitlines() if "program.py:" in line]
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert revealed[0].endswith("sklearn_turn.turn.TURNClassifier")
    assert revealed[1].endswith("sklearn_turn.turn.TURNClassifier")
    assert revealed[2].endswith("int")
    assert "ndarray" in revealed[3] and "bool" in revealed[3]
    assert "ndarray" in revealed[4] and "float" in revealed[4]
    (error,) = [line for line in lines if " error: " in line]
    assert '"str"; expected "int"' in error


ESTIMATORS = [
    getattr(module, name)
    for module in (sklearn_turn, baselines)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
    and hasattr(getattr(module, name), "get_params")
]


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_every_parameter_is_documented_in_place_with_its_default(kind):
    """By the class's own docstring, in the order of the signature."""
    documented = {}
    section = inspect.getdoc(kind).split("Parameters\n----------\n")[1]
    section = section.split("\n\n")[0]
    for line in section.splitlines():
        if line and not line.startswith(" "):
            names, _, rest = line.partition(" : ")
            for name in names.split(", "):
                documented[name] = rest
    signature = inspect.signature(kind).parameters
    assert set(documented) == set(signature)
    for name, parameter in signature.items():
        default = str(parameter.default)
        if isinstance(parameter.default, str):
            default = f'"{parameter.default}"'
        assert f"default={default}" in documented[name], name


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_every_parameter_has_a_constraint(kind):
    if hasattr(kind, "_parameter_constraints"):
        assert set(kind._parameter_constraints) == set(
            inspect.signature(kind).parameters
        )
