"""Loaders of published datasets, on small trees of the same layout."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from sklearn_turn.datasets import (
    _animal10n,
    _clothing1m,
    _food101n,
    _published,
    _webvision,
    load_animal10n,
    load_clothing1m,
    load_food101n,
    load_webvision,
)
from sklearn_turn.inputs import as_source

LOADERS = {
    "clothing1m": load_clothing1m,
    "webvision": load_webvision,
    "animal10n": load_animal10n,
    "food101n": load_food101n,
}
SUBSETS = [
    ("clothing1m", "train"),
    ("clothing1m", "both"),
    ("clothing1m", "test"),
    ("webvision", "train"),
    ("webvision", "val"),
    ("animal10n", "train"),
    ("animal10n", "test"),
    ("food101n", "train"),
    ("food101n", "verified_val"),
    ("food101n", "test"),
]
of_all = pytest.mark.parametrize("name", LOADERS)
of_subsets = pytest.mark.parametrize(("name", "subset"), SUBSETS)


@pytest.fixture
def published(request, name):
    """The tree of one dataset and its loader, which takes a part."""
    root = request.getfixturevalue(name)

    def load(data_home=root, **options):
        return LOADERS[name](data_home, **{"partial": True, **options})

    return SimpleNamespace(root=root, load=load, strict=LOADERS[name])


def relative(bunch, root):
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in bunch.data]


@pytest.mark.parametrize(
    ("subset", "files", "target", "clean"),
    [
        ("train", [1, 0, 2], [0, 1, 1], None),
        ("clean_train", [3], [1], [1]),
        ("val", [4], [0], [0]),
        ("test", [5], [0], [0]),
        ("both", [3, 5], [1, 2], [1, 0]),
    ],
)
def test_clothing1m(clothing1m, subset, files, target, clean):
    bunch = load_clothing1m(clothing1m, subset=subset, partial=True)
    expected = [f"images/{i}/0{i}/{i},7.jpg" for i in files]
    assert relative(bunch, clothing1m) == expected
    assert bunch.target.tolist() == target
    assert bunch.get("target_clean", np.array(None)).tolist() == clean
    assert bunch.target_names.tolist() == ["T-Shirt", "Shirt", "Knitwear"]


GOOGLE = ["google/q0077/d.jpg", "google/q0001/a.jpg"]


@pytest.mark.parametrize(
    ("version", "subset", "files", "target"),
    [
        ("mini", "train", [*GOOGLE, "google/q0001/b.jpg"], [49, 0, 0]),
        (
            "full",
            "train",
            [*GOOGLE, "google/q0077/c.jpg", "google/q0001/b.jpg"]
            + ["flickr/q0001/2.jpg", "flickr/q0001/1.jpg"],
            [49, 0, 50, 0, 0, 999],
        ),
        ("mini", "val", ["val_images_256/val000001.jpg"], [3]),
        (
            "full",
            "val",
            ["val_images_256/val000002.jpg", "val_images_256/val000001.jpg"],
            [999, 3],
        ),
    ],
)
def test_webvision(webvision, version, subset, files, target):
    bunch = load_webvision(webvision, version=version, subset=subset, partial=True)
    assert relative(bunch, webvision) == files
    assert bunch.target.tolist() == target
    n_classes = {"mini": 50, "full": 1000}[version]
    assert bunch.target_names[[3, -1]].tolist() == [
        "class 3, kind 3",
        f"class {n_classes - 1}, kind {n_classes - 1}",
    ]
    assert bunch.synsets[3] == "n00000003" and len(bunch.synsets) == n_classes
    assert ("target_clean" in bunch) == (subset == "val")


def test_webvision_with_validation_images_of_full_size(webvision):
    (webvision / "val_images_256").rename(webvision / "val_images")
    bunch = load_webvision(webvision, subset="val", partial=True)
    assert relative(bunch, webvision) == ["val_images/val000001.jpg"]


def test_animal10n(animal10n):
    bunch = load_animal10n(animal10n, partial=True)
    assert relative(bunch, animal10n) == [
        f"training/{name}.jpg" for name in ("0_7", "3_1", "9_12")
    ]
    assert bunch.target_names[bunch.target].tolist() == ["cat", "coyote", "guinea pig"]
    bunch = load_animal10n(animal10n, subset="test", partial=True)
    assert bunch.target.tolist() == bunch.target_clean.tolist() == [0, 1]


def test_animal10n_with_a_stray_file(animal10n, write):
    write(**{"training/readme.txt": "text"})
    with pytest.raises(ValueError, match="by their label first; 'readme.txt' is not"):
        load_animal10n(animal10n, partial=True)


@pytest.mark.parametrize(
    ("subset", "files", "target", "verified"),
    [
        ("train", "abcde", [0, 0, 1, 1, 1], [-1, 1, 1, 0, -1]),
        ("verified_train", "bd", [0, 1], [1, 0]),
        ("verified_val", "c", [1], [1]),
        ("test", "12", [1, 0], None),
    ],
)
def test_food101n(food101n, subset, files, target, verified):
    bunch = load_food101n(food101n, subset=subset, partial=True)
    names = [re.search(r"images/(\w+)/(\w).jpg$", path) for path in bunch.data]
    assert "".join(name[2] for name in names) == files
    assert bunch.target_names[target].tolist() == [name[1] for name in names]
    assert bunch.target.tolist() == target
    assert bunch.get("verified", np.array(None)).tolist() == verified
    assert ("target_clean" in bunch) == (subset == "test")


@of_subsets
def test_paths_are_images_and_bunches_agree(published, subset):
    bunch = published.load(subset=subset)
    source = as_source(bunch.data)
    assert len(source) == len(bunch.target)
    assert source.load([0])[0].shape == (3, 10, 12)
    data, target = published.load(subset=subset, return_X_y=True)
    assert (data == bunch.data).all() and (target == bunch.target).all()
    assert str(published.load(str(published.root), subset=subset)) == str(bunch)
    assert "https://" in bunch.DESCR
    if len(data) > 2:
        assert len(train_test_split(data, target, test_size=1)[0]) == len(data) - 1


@of_all
def test_the_default_folder_is_in_the_data_folder_of_scikit_learn(
    published, name, tmp_path_factory, monkeypatch
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
    os.symlink(published.root, home / name)
    assert published.load(None).data[0].startswith(str(home / name))


@of_subsets
def test_other_numbers_than_published_are_refused(published, subset, monkeypatch):
    with pytest.raises(ValueError, match=r"samples here, but .* lists \d.* partial="):
        published.strict(published.root, subset=subset)


def test_published_numbers_are_accepted(
    clothing1m, webvision, animal10n, food101n, monkeypatch
):
    monkeypatch.setitem(
        _clothing1m._SUBSETS,
        "train",
        ("noisy_train_key_list.txt", "noisy_label_kv.txt", 3),
    )
    monkeypatch.setitem(_webvision._COUNTS, ("full", "train"), 6)
    monkeypatch.setitem(_animal10n._SUBSETS, "test", ("testing", 2))
    monkeypatch.setattr(
        _food101n, "_VERIFIED", {"verified_train": 3, "verified_val": 1}
    )
    assert len(load_clothing1m(clothing1m).data) == 3
    assert len(load_webvision(webvision, version="full").data) == 6
    assert len(load_animal10n(animal10n, subset="test").data) == 2
    assert len(load_food101n(food101n, subset="verified_train").data) == 2


def test_the_published_numbers():
    """As the papers and project pages have them; parts that must add up do."""
    counts = {name: row[2] for name, row in _clothing1m._SUBSETS.items()}
    assert counts["clean_train"] + counts["val"] + counts["test"] == 72_409
    assert counts["train"] == 1_000_000
    assert _webvision._COUNTS["full", "val"] == 50 * 1000
    assert _webvision._COUNTS["mini", "val"] == 50 * 50
    assert _food101n._COUNTS["test"] == 101 * 250
    assert _food101n._VERIFIED == {"verified_train": 52_868, "verified_val": 4_741}
    assert [row[1] for row in _animal10n._SUBSETS.values()] == [50_000, 5_000]


@of_all
def test_an_empty_folder_is_told_what_belongs_there(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        LOADERS[name](tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "data_home" in message
    assert "Source: https://" in message
    with pytest.raises(FileNotFoundError, match="absent"):
        LOADERS[name](tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "subset", "files"),
    [
        ("clothing1m", "train", ["noisy_label_kv.txt", "category_names_eng.txt"]),
        ("clothing1m", "val", ["clean_val_key_list.txt"]),
        ("webvision", "train", ["info/train_filelist_google.txt"]),
        ("webvision", "val", ["info/synsets.txt", "info/val_filelist.txt"]),
        ("food101n", "train", ["Food-101N_release/meta/verified_val.tsv"]),
        ("food101n", "test", ["food-101/meta/test.txt"]),
    ],
)
def test_missing_lists_are_named(published, subset, files):
    for file in files:
        (published.root / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"no {', no '.join(files)}. Expected"):
        published.load(subset=subset)


@of_all
def test_unknown_subsets(published):
    with pytest.raises(ValueError, match="subset must be one of '.*'; got 'dev'"):
        published.load(subset="dev")


def test_unknown_version(webvision):
    with pytest.raises(ValueError, match="version must be one of 'mini', 'full'; got"):
        load_webvision(webvision, version="2.0")


@pytest.mark.parametrize("name", ["clothing1m", "webvision", "food101n"])
def test_missing_images_are_counted_or_left_out(published, name, monkeypatch):
    whole = published.load()
    os.unlink(whole.data[1])
    part = published.load()
    assert part.data.tolist() == np.delete(whole.data, 1).tolist()
    assert part.target.tolist() == np.delete(whole.target, 1).tolist()
    if name == "food101n":
        assert part.verified.tolist() == np.delete(whole.verified, 1).tolist()
    monkeypatch.setattr(_published.Published, "check_count", lambda *args: None)
    n = len(whole.data)
    message = f"missing are 1 of {n} images, the first '{whole.data[1]}' .partial=True"
    with pytest.raises(FileNotFoundError, match=message):
        published.load(partial=False)
    for path in part.data:
        os.unlink(path)
    with pytest.raises(FileNotFoundError, match=f"missing are {n} of {n} images, the"):
        published.load()


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("clothing1m", "noisy_label_kv.txt", "a.jpg\n", "a number, but is 'a.jpg'"),
        ("clothing1m", "noisy_label_kv.txt", "a.jpg x\n", "a number, but is 'a.jpg x'"),
        ("clothing1m", "noisy_label_kv.txt", "a.jpg 1\n", "no label in 'noisy_label"),
        ("clothing1m", "category_names_eng.txt", "T-Shirt\n", "with 1 classes"),
        ("webvision", "info/train_filelist_google.txt", "google/q0001/a.jpg -1", "-1"),
        ("webvision", "info/synsets.txt", "n00000000 tench\n", "from 0 to 49"),
        ("food101n", "Food-101N_release/meta/classes.txt", "class_name\n", "apple_pie"),
    ],
)
def test_damaged_lists(published, file, text, message):
    (published.root / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        published.load()


@pytest.mark.parametrize("partial", [True, False])
def test_empty_lists(webvision, partial):
    (webvision / "info/train_filelist_google.txt").write_text("\n")
    with pytest.raises(FileNotFoundError, match="no image is listed"):
        load_webvision(webvision, partial=partial)


def test_each_of_many_files_is_looked_for_by_one_listing(webvision, monkeypatch):
    names = [f"google/q0001/{i}.jpg" for i in range(3000)]
    for name in names:
        (webvision / name).touch()
    listed = "".join(f"{name} 0\n" for name in names)
    (webvision / "info/train_filelist_google.txt").write_text(listed)
    monkeypatch.setitem(_webvision._COUNTS, ("mini", "train"), 3000)
    looked = []
    real = os.path.isfile
    monkeypatch.setattr(
        _published.os.path, "isfile", lambda p: looked.append(p) or real(p)
    )
    assert len(load_webvision(webvision).data) == 3000
    assert not looked
    (webvision / names[17]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 3000 images, the first.*17\.jpg"
    ):
        load_webvision(webvision)
    assert looked == [str(webvision / names[17])], "what a listing lacks is confirmed"
    folders = []

    def files_of(folder):
        folders.append(folder)
        return {os.path.basename(name) for name in names[:-2]}

    looked.clear()
    for name in names[-2:]:
        (webvision / name).unlink()

    monkeypatch.setattr(_published, "_files", files_of)
    assert len(load_webvision(webvision, partial=True).data) == 2998
    assert len(folders) == 1 and len(looked) == 2


def test_a_folder_that_cannot_be_listed_is_looked_into(webvision, monkeypatch):
    def hidden(folder):
        raise PermissionError(folder)

    monkeypatch.setattr(_published.os, "scandir", hidden)
    assert len(load_webvision(webvision, partial=True).data)


def test_links_to_nowhere_and_folders_are_no_images(webvision):
    for path in (webvision / "google/q0001/a.jpg", webvision / "google/q0077/d.jpg"):
        path.unlink()
    (webvision / "google/q0001/a.jpg").symlink_to("nowhere")
    (webvision / "google/q0077/d.jpg").mkdir()
    bunch = load_webvision(webvision, partial=True)
    assert relative(bunch, webvision) == ["google/q0001/b.jpg"]
