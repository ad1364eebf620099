"""scikit-learn's own checks of every estimator, without a single exception."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_turn import GMMNoiseFilter, NoiseFilteredClassifier, TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing

ESTIMATORS = [
    TURNClassifier(),
    TURNClassifier(cleansing="once", lp_epochs=5, fft_epochs=2),
    TURNClassifier(cleansing=None, lp_epochs=5, fft_epochs=2),
    TURNClassifier(lp_epochs=0),
    TURNClassifier(fft_epochs=0, lp_epochs=5),
    LinearProbing(lp_epochs=5),
    FullFineTuning(),
    GMMNoiseFilter(),
    GMMNoiseFilter(scope="global", min_separation=0.0),
    NoiseFilteredClassifier(),
    NoiseFilteredClassifier(cv=2),
]


# The checks fit on a handful of samples with labels at random, about which the library
# warns.
@pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning",
    "ignore::sklearn_turn.exceptions.CollapsedProbeWarning",
)
@parametrize_with_checks(ESTIMATORS)
def test_estimator(estimator, check):
    check(estimator)
