"""The examples that the gallery of the documentation does not run.

Those in the gallery are run by its build, which fails when one of them does.
"""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_demo(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    run("demo.py", "--out", tmp_path, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    accuracy = {
        name: float(value)
        for name, value in re.findall(r"^([A-Za-z\- ]+?)\s+([\d.]+)%", printed, re.M)
    }
    assert set(accuracy) == {"linear probing", "plain fine-tuning", "TURN"}
    assert accuracy["TURN"] > accuracy["linear probing"] > 85
    assert (tmp_path / "loss_mixture.png").stat().st_size > 10_000


def test_letters_script_renders_and_trains(tmp_path, monkeypatch):
    """A few steps: the file it writes fits the alias it is made for."""
    from sklearn_turn.backbones import load_backbone

    pytest.importorskip("matplotlib")
    out = tmp_path / "weights.safetensors"
    options = ["--out", out, "--epochs", 1, "--samples", 256]
    run("pretrain_letters.py", *options, monkeypatch=monkeypatch)
    assert load_backbone("letters", pretrained=out).width == 128


def test_gallery_has_an_order():
    """Every example of the gallery has its place in it."""
    order = runpy.run_path(str(ROOT / "docs" / "_extensions" / "gallery_order.py"))
    assert {f"{name}.py" for name in order["ORDER"]} == {
        path.name for path in EXAMPLES.glob("plot_*.py")
    }
