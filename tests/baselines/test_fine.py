"""FINE: what is trained on, and when it is selected anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from support import pool
from torch import nn

from sklearn_turn import FeatureExtractor
from sklearn_turn.baselines import FINE
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.selection import FINENoiseFilter


def test_probe_selects_by_the_frozen_features(images):
    X = images.X / 255.0
    clf = FINE(pool, input_size=8, lp_epochs=4, zeta=0.6, random_state=0)
    clf.fit(X.astype(np.float32), images.y)
    features = FeatureExtractor(pool, input_size=8).fit_transform(X.astype(np.float32))
    found = FINENoiseFilter(0.6).fit(features, images.y)
    assert_array_equal(clf.clean_mask_, found.clean_mask_)
    assert_allclose(clf.clean_proba_, found.clean_proba_, rtol=1e-4)
    assert clf.noise_filter_.zeta == 0.6
    # After two epochs of warm-up.
    assert ["kept" in row for row in clf.history_] == [False, False, True, True]


def mixture_of_pixels():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16))


@pytest.mark.parametrize("mode", ["probe", "fine-tune"])
def test_features_that_change_are_selected_from_anew(mode, images):
    clf = FINE(
        mixture_of_pixels,
        input_size=8,
        mode=mode,
        lp_epochs=5,
        fft_lr=0.01,
        random_state=0,
    ).fit(images.X, images.y)
    kept = [row["kept"] for row in clf.history_ if "kept" in row]
    assert len(kept) > 2
    assert (kept[0] == kept[-1]) == (mode == "probe")


def test_an_empty_selection_is_survived_with_a_warning(wide):
    with pytest.warns(CleansingWarning, match="kept no sample: .*Those most likely"):
        clf = FINE(zeta=1.0, random_state=0).fit(wide.X, wide.y)
    assert (np.bincount(wide.y[clf.clean_mask_]) > 0).all()


def test_finds_wrong_labels(wide):
    clf = FINE(random_state=0).fit(wide.X, wide.y)
    assert (clf.clean_mask_ != wide.is_wrong).mean() > 0.85
    assert clf.score(wide.X, wide.y_true) > 0.95
