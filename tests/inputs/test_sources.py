"""Every kind of X gives the same batches, and scikit-learn can split all of them."""

import datasets as hf
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    train_test_split,
)
from sklearn.pipeline import make_pipeline

from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.exceptions import ImageReadError, SkippedImageWarning
from sklearn_turn.inputs import DatasetImages, Ragged, RawInputs, as_source, is_images

N = 12


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (N, 10, 8, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.array(["cat", "dog"] * (N // 2))


@pytest.fixture
def folder(tmp_path, pixels, labels):
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / label / f"{i:02}.png")
    return tmp_path


def paths_in_order(folder, labels):
    return [str(folder / label / f"{i:02}.png") for i, label in enumerate(labels)]


class Pairs(torch.utils.data.Dataset):
    def __init__(self, pixels, labels, length=None):
        self.pixels, self.labels = pixels, labels
        self.length = len(pixels) if length is None else length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return Image.fromarray(self.pixels[index]), self.labels[index]


def hugging_face(pixels, labels):
    images = [Image.fromarray(image) for image in pixels]
    features = hf.Features(
        {"image": hf.Image(), "label": hf.ClassLabel(names=["cat", "dog"])}
    )
    return hf.Dataset.from_dict(
        {"image": images, "label": list(labels)}, features=features
    )


KINDS = {
    "nhwc": lambda p, y, f: p,
    "nchw": lambda p, y, f: p.transpose(0, 3, 1, 2),
    "tensor": lambda p, y, f: torch.from_numpy(p),
    "list of arrays": lambda p, y, f: list(p),
    "pil": lambda p, y, f: [Image.fromarray(image) for image in p],
    "paths": lambda p, y, f: paths_in_order(f, y),
    "path array": lambda p, y, f: np.array(paths_in_order(f, y)),
    "series": lambda p, y, f: pd.Series(paths_in_order(f, y), index=range(5, 5 + N)),
    "torch dataset": lambda p, y, f: Pairs(p, y),
    "hugging face": lambda p, y, f: hugging_face(p, y),
    "adapter": lambda p, y, f: DatasetImages(Pairs(p, y)),
}
SPLITTABLE = [k for k in KINDS if k not in ("torch dataset", "hugging face")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_the_same_batch(kind, pixels, labels, folder):
    X = KINDS[kind](pixels, labels, folder)
    assert is_images(X)
    source = as_source(X)
    assert len(source) == N
    batch = source.load([3, 1])
    expected = pixels[[3, 1]].transpose(0, 3, 1, 2)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.numpy(), expected)
    np.testing.assert_array_equal(source[3].numpy(), expected[0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_into_fit_and_predict(kind, pixels, labels, folder):
    X = KINDS[kind](pixels, labels, folder)
    model = TURNClassifier(
        "letters", noise_filter="gmm", lp_epochs=2, fft_epochs=0, random_state=0
    )
    with pytest.warns(UserWarning, match="min_samples"):
        model.fit(X, labels)
    assert set(model.predict(X)) <= {"cat", "dog"}
    assert model.clean_mask_.shape == (N,)


@pytest.mark.parametrize("kind", SPLITTABLE)
def test_scikit_learn_splits_every_adapter(kind, pixels, labels, folder):
    X = KINDS[kind](pixels, labels, folder)
    model = make_pipeline(FeatureExtractor("letters"), LogisticRegression(max_iter=999))
    train, test = train_test_split(X, test_size=4, random_state=0)
    assert (len(train), len(test)) == (8, 4)
    reference = train_test_split(np.arange(N), test_size=4, random_state=0)[1]
    np.testing.assert_array_equal(
        as_source(test).load([0, 1, 2, 3]).numpy(),
        pixels[reference].transpose(0, 3, 1, 2),
    )
    predicted = cross_val_predict(model, X, labels, cv=2)
    assert predicted.shape == (N,)
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, cv=2)
    assert hasattr(search.fit(X, labels), "best_score_")


def test_data_frame_column_through_a_column_transformer(pixels, labels, folder):
    frame = pd.DataFrame({"file": paths_in_order(folder, labels), "size": range(N)})
    select = make_column_transformer(
        (FeatureExtractor("letters"), "file"), remainder="passthrough"
    )
    assert select.fit_transform(frame).shape == (N, 128 + 1)


def test_memory_map_is_read_lazily(tmp_path, pixels):
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    source = as_source(mapped)
    assert np.shares_memory(source.array, mapped)
    np.testing.assert_array_equal(
        source.load([2]).numpy()[0], pixels[2].transpose(2, 0, 1)
    )


def test_sources_split_again_and_again(pixels):
    source = as_source(pixels)
    part = source[np.array([5, 3, 8])][np.array([True, False, True])]
    assert part.shape == (2,)
    np.testing.assert_array_equal(
        part.load([1]).numpy()[0], pixels[8].transpose(2, 0, 1)
    )
    with pytest.raises(IndexError):
        part[2]


def test_a_dataset_whose_length_lies_is_named(pixels, labels):
    lying = Pairs(pixels, labels, length=N + 3)
    with pytest.raises(ImageReadError, match=f"item {N} of Pairs") as caught:
        as_source(lying).load(range(N + 3))
    assert len(caught.value.paths) == 3


def test_items_of_the_wrong_type_are_named(pixels):
    items = [Image.fromarray(pixels[0]), "text?", Image.fromarray(pixels[1])]
    with pytest.raises(ImageReadError, match="image 1: expected a PIL image, got str"):
        as_source(items).load([0, 1, 2])


def test_of_animated_images_the_first_is_taken(tmp_path):
    first, second = (np.full((8, 8), v, dtype=np.uint8) for v in (10, 200))
    Image.fromarray(first).save(
        tmp_path / "moves.gif",
        save_all=True,
        append_images=[Image.fromarray(second)],
    )
    assert as_source([tmp_path / "moves.gif"]).load([0])[0].unique().tolist() == [10]


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_bad_images_are_skipped_on_request(folder, pixels, labels):
    paths = paths_in_order(folder, labels)
    damage(folder / labels[4] / "04.png")
    paths[7] = str(folder / "absent.png")
    options = {"noise_filter": "gmm", "lp_epochs": 2, "fft_epochs": 0}
    options["random_state"] = 0
    with pytest.raises(ImageReadError, match=r"1 of 12 .*\n.*absent.png: not found"):
        TURNClassifier("letters", **options).fit(paths, labels)
    model = TURNClassifier("letters", on_bad_image="skip", **options)
    with (
        pytest.warns(SkippedImageWarning, match="2 of 12 images"),
        pytest.warns(UserWarning, match="min_samples"),
    ):
        model.fit(paths, labels)
    assert model.skipped_.tolist() == [4, 7]
    good = np.delete(np.arange(N), [4, 7])
    assert not model.clean_mask_[[4, 7]].any() and model.clean_mask_[good].all()
    assert np.isnan(model.losses_[[4, 7]]).all()
    with pytest.warns(UserWarning, match="min_samples"):
        alone = TURNClassifier("letters", **options).fit(
            [paths[i] for i in good], labels[good]
        )
    np.testing.assert_array_equal(model.losses_[good], alone.losses_)
    with pytest.raises(ImageReadError, match="absent"):
        model.predict(paths)


def test_truncated_files_are_all_named(folder, labels):
    paths = paths_in_order(folder, labels)
    for i in (2, 9):
        damage(folder / labels[i] / f"{i:02}.png")
    with pytest.raises(ImageReadError, match="2 of 12") as caught:
        FeatureExtractor("letters").fit_transform(paths)
    assert caught.value.paths == [paths[2], paths[9]]


class Bag(torch.nn.Module):
    """A text encoder in miniature: the mean of token embeddings."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(50, 8)

    def forward(self, tokens):
        return self.embedding(tokens).mean(dim=1)


def test_token_ids_go_to_a_backbone_of_ones_own():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    tokens = rng.integers(0, 25, (120, 6)) + 25 * y[:, None]
    y_noisy = np.where(rng.random(120) < 0.2, 1 - y, y)
    X = RawInputs(tokens)
    backbone = Bag()
    before = backbone.embedding.weight.clone()
    model = TURNClassifier(backbone, random_state=0, fft_epochs=2, lp_lr=1e-2).fit(
        X, y_noisy
    )
    assert model.score(X, y) > 0.85  # the given labels agree with it by 0.8
    assert torch.equal(backbone.embedding.weight, before)
    search = GridSearchCV(model, {"tau": [0.5, 0.7]}, cv=2).fit(X, y_noisy)
    assert search.best_score_ > 0.6
    with pytest.raises(ValueError, match="samples of shape"):
        model.predict(RawInputs(tokens[:, :5]))


def test_raw_inputs_are_checked():
    with pytest.raises(ValueError, match="numeric array"):
        RawInputs(np.array(["a", "b"]))


def test_pictures_of_different_sizes_make_a_ragged_batch(tmp_path, pixels):
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    Image.fromarray(pixels[1][:5]).save(tmp_path / "b.png")
    batch = as_source([tmp_path / "a.png", tmp_path / "b.png"]).load([0, 1])
    assert isinstance(batch, Ragged) and len(batch) == 2
    assert [tuple(image.shape) for image in batch.images] == [(3, 10, 8), (3, 5, 8)]
