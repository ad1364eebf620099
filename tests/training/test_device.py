"""Device and precision that parameters stand for."""

from __future__ import annotations

import pytest
import torch

from sklearn_turn.parameters import RunParameters
from sklearn_turn.training.device import Runtime


def on_a_cpu(precision="auto"):
    return Runtime.of(RunParameters(device="cpu", precision=precision)).dtype


@pytest.mark.parametrize(
    "has", [None, "_is_amx_tile_supported", "_is_avx512_bf16_supported"]
)
def test_auto_is_bfloat16_where_a_cpu_has_instructions_for_it(has, monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        # Older versions of torch do not know the second.
        monkeypatch.setattr(
            torch.cpu, name, lambda name=name: name == has, raising=False
        )
    assert on_a_cpu() == (None if has is None else torch.bfloat16)
    assert on_a_cpu("float32") is None
    assert on_a_cpu("bfloat16") is torch.bfloat16
