"""Images go through a classifier, or are refused before it is built."""

from __future__ import annotations

import numpy as np
import pytest
from inputs.pictures import write_pngs

from sklearn_turn import TURNClassifier


@pytest.fixture(scope="module")
def fitted(images):
    probe = TURNClassifier(
        "test_resnet",
        pretrained=False,
        input_size=32,
        lp_epochs=1,
        cleansing=None,
        fft_epochs=0,
        device="cpu",
        random_state=0,
    )
    return probe.fit(images.X, images.y)


def test_prediction_refuses_other_shapes(fitted, images):
    with pytest.raises(ValueError, match=r"\(8, 9, 3\).*\(8, 8, 3\)"):
        fitted.predict(np.zeros((2, 8, 9, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"fitted on images.*2-D features"):
        fitted.predict(images.X.reshape(24, -1))


def test_files_predict_as_the_arrays_they_hold(fitted, images, tmp_path):
    paths = write_pngs(tmp_path, images.X)
    np.testing.assert_array_equal(
        fitted.predict_proba(paths), fitted.predict_proba(images.X)
    )


def test_bad_images_are_refused_before_the_backbone_is_built(images):
    built = []
    model = TURNClassifier(lambda: built.append(1), device="cpu")
    for X, match in [
        (images.X.astype(np.float32), "Float images must lie in"),
        (images.X.astype(np.int64), "int64"),
        ([f"absent_{i}.png" for i in range(60)], "at least 10 of 60 images"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.fit(X, images.y)
    assert not built
