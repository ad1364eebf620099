"""FeatureMemory: where features are kept."""

import os

import joblib
import pytest

from sklearn_turn import FeatureExtractor, FeatureMemory, TURNClassifier


def test_memory_of_any_kind(tmp_path):
    assert FeatureMemory.of(None) is None
    assert FeatureMemory.of(joblib.Memory(None, verbose=0)) is None
    kept = FeatureMemory(tmp_path, dtype="float16")
    assert FeatureMemory.of(kept) is kept
    for memory in (joblib.Memory(tmp_path, verbose=0), str(tmp_path), tmp_path):
        assert os.fspath(FeatureMemory.of(memory)) == str(tmp_path)
    with pytest.raises(TypeError, match=r"a folder, a FeatureMemory.*not 3"):
        FeatureMemory.of(3)


class Cached:
    """Not joblib's, though scikit-learn would take it for that."""

    def cache(self, function):
        return function


@pytest.mark.parametrize("make", [FeatureExtractor, TURNClassifier])
def test_estimators_refuse_another_memory_before_any_work(make, images):
    built = []
    model = make(lambda: built.append(1), memory=Cached())
    with pytest.raises(TypeError, match=r"'memory' parameter .*Memory.*Got <.*Cached"):
        model.fit(images.X, images.y)
    assert not built


@pytest.mark.parametrize(
    "options, error",
    [
        ({"location": 3}, TypeError),
        ({"dtype": "float64"}, ValueError),
        ({"max_bytes": (1 << 20) - 1}, ValueError),
        ({"max_bytes": 1e9}, TypeError),
        ({"max_bytes": True}, TypeError),
    ],
    ids=str,
)
def test_memory_refuses_bad_arguments_at_once(options, error):
    with pytest.raises(error, match=next(iter(options))):
        FeatureMemory(**{"location": "folder", **options})
