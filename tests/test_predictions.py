"""Predictions in the order of our classes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from sklearn_turn.predictions import all_columns


def test_columns_of_a_network_are_found_by_code():
    """It has an output for each code, and saw the last two."""
    net = SimpleNamespace(classes_=np.array([1, 2]))
    proba = np.array([[0.5, 0.3, 0.2]])
    found = all_columns(net, proba, np.arange(3), absent=0.0)
    np.testing.assert_allclose(found, [[0, 0.6, 0.4]])


def test_a_decision_between_two_classes_in_the_other_order_changes_its_sign():
    reversed_ = SimpleNamespace(classes_=np.array([1, 0]))
    found = all_columns(reversed_, np.array([2.0]), np.arange(2), absent=-1e300)
    np.testing.assert_allclose(found, [-2.0])
