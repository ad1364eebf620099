"""Folders and datasets give images and labels; images are read late."""

from __future__ import annotations

import os

import datasets as hf
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import ImageFolder

from sklearn_turn.datasets import load_dataset, load_image_folder
from sklearn_turn.datasets._loaders import IMAGE_EXTENSIONS
from sklearn_turn.exceptions import SkippedImageWarning

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


class Pairs(torch.utils.data.Dataset):
    """Images with labels, and which of them were read."""

    def __init__(self, pixels, labels):
        self.pixels, self.names, self.read = pixels, labels, []

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        self.read.append(index)
        return Image.fromarray(self.pixels[index]), self.names[index]


def hugging_face(pixels, labels):
    images = [Image.fromarray(image) for image in pixels]
    features = hf.Features(
        {"image": hf.Image(), "label": hf.ClassLabel(names=["cat", "dog"])}
    )
    return hf.Dataset.from_dict(
        {"image": images, "label": list(labels)}, features=features
    )


def test_load_image_folder(folder, labels):
    (folder / "cat" / "notes.txt").write_text("not an image")
    bunch = load_image_folder(folder)
    reference = ImageFolder(folder)
    assert bunch.data.tolist() == [path for path, _ in reference.samples]
    assert bunch.target.tolist() == reference.targets
    assert bunch.target_names.tolist() == reference.classes
    data, target = load_image_folder(folder, return_X_y=True)
    assert (data == bunch.data).all() and (target == bunch.target).all()


def test_load_image_folder_refuses_what_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_image_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="no subfolders"):
        load_image_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="'empty'.* holds no image"):
        load_image_folder(tmp_path)


def test_load_dataset_finds_images_and_labels(folder, pixels, labels):
    codes = (labels == "dog").astype(int)
    named = load_dataset(hugging_face(pixels, labels))
    assert named.target.tolist() == codes.tolist()
    assert named.target_names.tolist() == ["cat", "dog"]
    assert load_dataset(Pairs(pixels, labels)).target.tolist() == labels.tolist()
    in_folders = load_dataset(ImageFolder(folder))
    assert in_folders.target_names.tolist() == ["cat", "dog"]
    assert sorted(in_folders.target) == sorted(codes)


def test_a_missing_label_column_is_named(pixels, labels):
    with pytest.raises(ValueError, match="no column 'species'; it has"):
        load_dataset(hugging_face(pixels, labels), label="species")
    dicts = [{"image": pixels[0], "label": 0}, {"image": pixels[1]}]
    with pytest.raises(ValueError, match="Item 1 has no label"):
        load_dataset(dicts)


def test_hidden_files_and_folders_are_passed_over(folder):
    before = load_image_folder(folder).data.tolist()
    hidden = ["cat/.ipynb_checkpoints/00.png", "cat/._00.png", ".cache/a/b.png"]
    for name in hidden:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    assert load_image_folder(folder).data.tolist() == before


def test_a_root_below_a_hidden_folder(tmp_path, pixels):
    folder = tmp_path / ".data" / "cat" / "deep"
    folder.mkdir(parents=True)
    Image.fromarray(pixels[0]).save(folder / "0.png")
    assert load_image_folder(tmp_path / ".data").data.tolist() == [
        str(folder / "0.png")
    ]


ROWS = [7, 2, 2, 11]


@pytest.mark.parametrize("rows", [ROWS, torch.tensor(ROWS), np.array(ROWS)])
def test_labels_of_a_part_of_a_folder_are_not_decoded(folder, rows):
    def refuse(path):
        raise AssertionError(f"{path} was read")

    whole = ImageFolder(folder, loader=refuse)
    found = load_dataset(Subset(whole, rows))
    assert found.target.tolist() == [whole.samples[i][1] for i in ROWS]
    assert found.target_names.tolist() == ["cat", "dog"]
    nested = load_dataset(Subset(Subset(whole, ROWS), [3, 0]))
    assert nested.target.tolist() == [whole.samples[i][1] for i in (11, 7)]


def test_labels_of_a_part_of_a_column(pixels, labels):
    dataset = hugging_face(pixels, labels).rename_column("label", "species")
    broken = [{"bytes": b"not an image", "path": None}] * N
    dataset = dataset.remove_columns("image").add_column("image", broken)
    dataset = dataset.cast_column("image", hf.Image())
    with pytest.raises(OSError, match="cannot identify"):
        dataset[0]
    found = load_dataset(Subset(dataset, ROWS), label="species")
    assert found.target.tolist() == [int(labels[i] == "dog") for i in ROWS]
    assert found.target_names.tolist() == ["cat", "dog"]


def test_only_the_part_is_read_where_labels_are_with_the_images(pixels, labels):
    whole = Pairs(pixels, labels)
    assert load_dataset(Subset(whole, ROWS)).target.tolist() == labels[ROWS].tolist()
    assert whole.read == ROWS


def test_target_transforms_are_applied(folder):
    dataset = ImageFolder(folder, target_transform=lambda code: 10 - code)
    found = load_dataset(dataset)
    assert found.target.tolist() == [dataset[i][1] for i in range(N)]
    assert "target_names" not in found


def test_a_tensor_called_features_is_no_description(pixels, labels):
    class WithFeatures(Pairs):
        features = torch.rand(N, 5)
        classes = ("cat", "dog")

    found = load_dataset(WithFeatures(pixels, labels))
    assert found.target.tolist() == labels.tolist()
    assert found.target_names.tolist() == ["cat", "dog"]


def test_a_tensor_dataset_without_labels(pixels):
    with pytest.raises(ValueError, match="Item 0 has no label under 1"):
        load_dataset(TensorDataset(torch.from_numpy(pixels)))


def test_one_extension_may_be_a_string(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("a.jpg", "README", "b.jp"):
        (tmp_path / "cat" / name).touch()
    for extensions in (".jpg", "jpg", [".JPG"]):
        found = load_image_folder(tmp_path, extensions=extensions)
        assert found.filenames.tolist() == [os.path.join("cat", "a.jpg")]


def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path, monkeypatch):
    (tmp_path / "cat" / "more").mkdir(parents=True)
    (tmp_path / "cat" / "a.jpg").touch()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("more"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read all
    with pytest.raises(PermissionError, match="more"):
        load_image_folder(tmp_path)


class Named(torch.utils.data.Dataset):
    def __init__(self, classes, targets):
        self.classes, self.targets = classes, targets

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.zeros(3, 8, 8, dtype=torch.uint8), index % 2


@pytest.mark.parametrize("targets", [[0, 1, 0], None])
def test_classes_with_several_names(targets):
    # As torchvision's ImageNet has them; some datasets have no targets until asked.
    classes = [("tench", "Tinca tinca"), ("goldfish",), "shark"]
    bunch = load_dataset(Named(classes, targets))
    assert bunch.target_names.tolist() == ["tench, Tinca tinca", "goldfish", "shark"]
    assert np.asarray(bunch.target).tolist() == [0, 1, 0]


def test_labels_that_items_name_are_taken_before_targets():
    class Fields(Named):
        def __getitem__(self, index):
            image, _ = super().__getitem__(index)
            return {"image": image, "label": "abc"[index]}

    class Others(Named):
        def __getitem__(self, index):
            return {"image": super().__getitem__(index)[0], "target": 7}

    assert load_dataset(Fields(None, [3, 1, 2])).target.tolist() == ["a", "b", "c"]
    found = load_dataset(Others(None, [3, 1, 2])).target
    assert np.asarray(found).tolist() == [3, 1, 2]


def test_order_does_not_depend_on_the_separator(tmp_path):
    for name in ("aB.jpg", "a/1.jpg", "a-b.jpg"):
        path = tmp_path / "cat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = [os.path.join("cat", *names) for names in (["a", "1.jpg"],)]
    expected += [os.path.join("cat", name) for name in ("a-b.jpg", "aB.jpg")]
    assert load_image_folder(tmp_path).filenames.tolist() == expected


def test_images_with_other_endings_are_told(tmp_path, recwarn):
    (tmp_path / "cat").mkdir()
    for name in ("a.jpg", "b.heic", "c.HEIC", "d.avif", "notes.txt", ".e.heic"):
        (tmp_path / "cat" / name).touch()
    with pytest.warns(SkippedImageWarning) as caught:
        found = load_image_folder(tmp_path)
    assert len(found.data) == 1
    assert "3 images" in str(caught[0].message)
    assert "(.avif: 1, .heic: 2)" in str(caught[0].message)
    assert caught[0].filename == __file__
    every = (*IMAGE_EXTENSIONS, ".heic", ".avif")
    assert len(load_image_folder(tmp_path, extensions=every).data) == 4
    assert not recwarn


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "more").mkdir()
    (tmp_path / "photos" / "cat" / "a.jpg").touch()
    (tmp_path / "more" / "b.jpg").touch()
    (tmp_path / "photos" / "cat" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "round").symlink_to(tmp_path / "more")
    found = load_image_folder(tmp_path / "photos").filenames.tolist()
    assert found == [os.path.join("cat", "a.jpg"), os.path.join("cat", "more", "b.jpg")]
