"""Symmetric, asymmetric and pair-flip noise have the transition matrices they claim."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom, chisquare
from sklearn.model_selection import train_test_split

from sklearn_turn import noise

# In the order of the class indices.
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer"]
CIFAR10 += ["dog", "frog", "horse", "ship", "truck"]

# The superclass of each of CIFAR-100's classes, as its files number both.
COARSE = [4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11]
COARSE += [6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5]
COARSE += [5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17]
COARSE += [10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13]
COARSE += [16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13]


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.333, 0.9, 1.0])
def test_symmetric_flips_exactly_the_rate(rate):
    y = np.arange(1003) % 7
    y_noisy = noise.symmetric(y, rate, random_state=0)
    assert (y_noisy != y).sum() == round(rate * 1003)


def test_symmetric_draws_wrong_classes_uniformly():
    y = np.zeros(60_000, dtype=int)
    y[:5] = np.arange(5)
    y_noisy = noise.symmetric(y, 0.6, random_state=0)
    assert chisquare(np.bincount(y_noisy[y_noisy != y])[1:]).pvalue > 1e-3


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("generator", [noise.symmetric, noise.pair_flip])
def test_a_split_with_the_same_seed_has_wrong_labels_on_both_sides(generator, stratify):
    y = np.repeat(np.arange(3), 400)
    for seed in range(5):
        wrong = generator(y, 0.3, random_state=seed) != y
        train, test = train_test_split(
            wrong, test_size=0.3, stratify=y if stratify else None, random_state=seed
        )
        # The standard error of the share in the test set is .02.
        assert abs(test.mean() - 0.3) < 0.1
        assert abs(train.mean() - 0.3) < 0.1


def test_symmetric_with_true_class_lowers_the_rate():
    n, rate, n_classes = 50_000, 0.6, 10
    y = np.arange(n) % n_classes
    y_noisy = noise.symmetric(y, rate, include_true=True, random_state=0)
    low, high = binom.ppf([1e-4, 1 - 1e-4], round(rate * n), 1 - 1 / n_classes)
    assert low <= (y_noisy != y).sum() <= high
    assert chisquare(np.bincount(y_noisy[y_noisy != y])).pvalue > 1e-3


def test_cifar10_map_flips_both_cats_and_dogs():
    y = np.repeat(CIFAR10, 100)
    by_name = partial(noise.asymmetric, class_map=noise.CIFAR10_ASYMMETRIC)
    y_noisy = by_name(y, 0.4, random_state=0)
    T = noise.transition_matrix(y, y_noisy, labels=CIFAR10)
    expected = np.eye(10)
    for source, target in [(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]:
        expected[source, [source, target]] = 0.6, 0.4
    np.testing.assert_allclose(T, expected)

    indices = np.repeat(np.arange(10), 100)
    by_index = partial(noise.asymmetric, class_map=noise.CIFAR10_ASYMMETRIC_INDICES)
    same = np.take(CIFAR10, by_index(indices, 0.4, random_state=0))
    np.testing.assert_array_equal(same, y_noisy)


def test_blocks_of_100_classes_are_circles_of_five():
    y = np.repeat(np.arange(100), 10)
    T = noise.transition_matrix(y, noise.asymmetric(y, 0.4, random_state=0))
    for c in range(100):
        target = c - 4 if c % 5 == 4 else c + 1
        assert T[c, c] == 0.6
        assert T[c, target] == 0.4


def test_superclasses_of_cifar100_are_those_of_its_files():
    fine = sorted(noise.CIFAR100_ASYMMETRIC)
    coarse = sorted(noise.CIFAR100_SUPERCLASSES)
    assert len(fine) == 100 and len(coarse) == 20
    for code, name in enumerate(fine):
        assert name in noise.CIFAR100_SUPERCLASSES[coarse[COARSE[code]]]


@pytest.mark.parametrize("by_name", [True, False])
def test_superclass_noise_stays_in_circles_within_superclasses(by_name):
    if by_name:
        names = np.array(sorted(noise.CIFAR100_ASYMMETRIC))
        y, class_map = np.repeat(names, 10), noise.CIFAR100_ASYMMETRIC
    else:
        y, class_map = np.repeat(np.arange(100), 10), noise.CIFAR100_ASYMMETRIC_INDICES
    y_noisy = noise.asymmetric(y, 0.4, class_map=class_map, random_state=0)
    T = noise.transition_matrix(y, y_noisy)
    np.testing.assert_allclose(T.diagonal(), 0.6)
    target = (T - 0.6 * np.eye(100)).argmax(axis=1)
    np.testing.assert_allclose(T[np.arange(100), target], 0.4)
    assert [COARSE[c] for c in target] == COARSE
    # One step at a time, all five of a superclass are visited.
    reached, steps = np.arange(100), []
    for _ in range(5):
        reached = target[reached]
        steps.append(reached)
    assert (steps[-1] == np.arange(100)).all()
    assert all(len(set(column)) == 5 for column in np.transpose(steps))
    blocks = noise.asymmetric(y, 0.4, random_state=0)
    assert (blocks != y_noisy).mean() > 0.3


def test_a_class_map_with_classes_that_have_no_samples():
    y = np.repeat(["maple_tree", "bee"], [50, 1])
    names = sorted(noise.CIFAR100_ASYMMETRIC)
    with pytest.raises(ValueError, match="labels=... lists classes without samples"):
        noise.asymmetric(y, 0.4, class_map=noise.CIFAR100_ASYMMETRIC)
    y_noisy = noise.asymmetric(
        y, 0.4, class_map=noise.CIFAR100_ASYMMETRIC, labels=names, random_state=0
    )
    assert sorted(y_noisy) == ["bee"] + ["maple_tree"] * 30 + ["oak_tree"] * 20


@pytest.mark.parametrize(
    ("block_size", "targets"),
    [
        (5, [1, 2, 3, 4, 0, 6, 5]),
        (6, [1, 2, 3, 4, 5, 0, 6]),
        (9, [1, 2, 3, 4, 5, 6, 0]),
    ],
)
def test_short_blocks(block_size, targets):
    y_noisy = noise.asymmetric(np.arange(7), 1.0, block_size=block_size)
    assert y_noisy.tolist() == targets


def test_asymmetric_counts_each_class_by_itself():
    sizes = {"a": 7, "b": 100, "c": 33}
    y = np.repeat(list(sizes), list(sizes.values()))
    y_noisy = noise.asymmetric(y, 0.3, class_map={"a": "c", "b": "c"}, random_state=0)
    assert [(y_noisy[y == c] == "c").sum() for c in sizes] == [2, 30, 33]


def test_pair_flip_goes_to_the_next_sorted_class():
    y = np.repeat([30, -1, 7], 10)
    y_noisy = noise.pair_flip(y, 0.3, random_state=0)
    expected = [[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]]  # -1, 7, 30
    np.testing.assert_allclose(noise.transition_matrix(y, y_noisy), expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_map": {"cat": "cow"}}, r"class_map names \['cow'\]"),
        ({"class_map": {0: "cat"}}, r"class_map names \[0\]"),
        ({"class_map": "superclasses"}, "'blocks' or a dict"),
        ({"block_size": 1}, "block_size must be at least 2"),
    ],
)
def test_unusable_class_map(kwargs, message):
    with pytest.raises(ValueError, match=message):
        noise.asymmetric(["cat", "dog"], 0.4, **kwargs)


@pytest.mark.parametrize("class_map", [[1, 0], "cyclic", None])
def test_a_map_of_classes_is_a_dict(class_map):
    with pytest.raises(ValueError, match="must be 'blocks' or a dict"):
        noise.asymmetric([0, 1], 0.4, class_map=class_map)
