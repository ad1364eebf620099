"""The parts of a model."""

from __future__ import annotations

import pytest
import torch

from sklearn_turn.training.modules import Standardize


@pytest.mark.parametrize("unit", [0.001, 1.0, 1000.0])
def test_standardised_features_of_a_backbone_have_no_unit(unit):
    torch.manual_seed(0)
    rows = torch.randn(50, 5) + 3
    rows[:, 1] = 3 + 0.005 * (rows[:, 1] - 3)  # hardly varies
    rows[:, 2] = 7.0  # dead
    expected = Standardize(rows, of_backbone=True)(rows)
    found = Standardize(unit * rows, of_backbone=True)(unit * rows)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    stds = found.std(dim=0, correction=0)
    torch.testing.assert_close(stds[[0, 3, 4]], torch.ones(3), rtol=1e-3, atol=0)
    assert stds[1] < 0.02
    assert stds[2] < 1e-3


def test_a_backbone_whose_features_are_all_constant():
    rows = torch.full((4, 3), 2.0)
    assert (Standardize(rows, of_backbone=True)(rows) == 0).all()


def test_columns_of_a_table_are_scaled_each_by_itself():
    torch.manual_seed(0)
    rows = torch.randn(50, 2) * torch.tensor([1.0, 1e-4])
    found = Standardize(rows, of_backbone=False)(rows)
    torch.testing.assert_close(found.std(dim=0, correction=0), torch.ones(2))
