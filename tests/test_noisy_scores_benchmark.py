"""The scores that the benchmark of noisy validation labels compares."""

import numpy as np
import pytest

from benchmarks.noisy_scores import PLAIN, by_likelihood, ranked, scores


@pytest.fixture
def found():
    """Three candidates on 4,000 images of three classes; which is which is known."""
    rng = np.random.RandomState(0)
    y_true = rng.randint(3, size=4000)
    T = np.array([[0.7, 0.3, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 0.9]])
    y = np.array([rng.choice(3, p=T[c]) for c in y_true])
    predicted = [
        np.where(rng.rand(4000) < rate, (y_true + 1) % 3, y_true)
        for rate in (0.1, 0.2, 0.4)
    ]
    proba = 0.8 * np.eye(3)[predicted] + 0.2 / 3
    posterior = np.eye(3)[y_true]
    return {
        "y": y,
        "y_clean": y_true,
        "T": T,
        "T_true": T,
        "log_proba": np.log(proba),
        "label_proba": posterior,
        "label_proba_2": posterior,
    }


ESTIMATES = ("inverse of T", "likelihood of T", "posterior, probe", "posterior, audit")


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_of_clean_accuracy(found, name):
    rows = np.arange(4000)
    values = scores(found, rows, found["label_proba"])
    np.testing.assert_allclose(values[name], values["(clean labels)"], atol=0.03)
    assert (values[PLAIN] < values["(clean labels)"]).all()


def test_without_noise_all_are_the_accuracy(found):
    rows = np.arange(500)
    clean = {**found, "T": np.eye(3), "T_true": np.eye(3), "y": found["y_clean"]}
    values = scores(clean, rows, found["label_proba"][rows])
    for name in (*ESTIMATES, "P(true given label)", "believed labels, probe"):
        np.testing.assert_allclose(values[name], values[PLAIN], err_msg=name)


def test_likelihood_is_that_of_a_joint_distribution():
    """Labels against all predictions: no share below zero, as the inverse would say."""
    T = np.array([[0.6, 0.4], [0.4, 0.6]])
    y = np.array([0, 1] * 50)
    assert np.linalg.inv(T)[y, 1 - y].mean() < -1
    assert by_likelihood(1 - y[None], y, T)[0] == pytest.approx(0, abs=1e-3)


def test_regret_of_a_tie_is_that_of_its_mean():
    tau, regret = ranked(np.array([1.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.7]))
    assert regret == pytest.approx(5)
    assert 0 < tau < 1
