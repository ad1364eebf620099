"""Small trees in the layouts of published datasets."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torchvision
from PIL import Image


def jpeg(value=0):
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(file, "jpeg")
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    """Function that writes a text or, where there is none, an image for each path."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg() if text is None else text.encode())
        return tmp_path

    return write


def _names(start, *names):
    return dict.fromkeys([f"{start}{name}" for name in names])


@pytest.fixture
def clothing1m(write):
    """Six images: three noisy, and one clean for training, validation and test.

    The clean ones for training and test have noisy labels, too.
    """
    keys = [f"images/{i}/0{i}/{i},7.jpg" for i in range(6)]
    noisy = [
        f"{keys[i]} {code}" for i, code in [(5, 2), (2, 1), (1, 0), (0, 1), (3, 1)]
    ]
    clean = [f"{keys[i]} {code}" for i, code in [(4, 0), (3, 1), (5, 0)]]
    texts = {
        "category_names_eng.txt": "T-Shirt\nShirt\nKnitwear\n",
        "noisy_label_kv.txt": "\n".join(noisy) + "\n",
        "clean_label_kv.txt": "\n".join(clean) + "\n",
        "noisy_train_key_list.txt": "\n".join([keys[1], keys[0], keys[2]]) + "\n",
        "clean_train_key_list.txt": keys[3] + "\n",
        "clean_val_key_list.txt": keys[4] + "\n",
        "clean_test_key_list.txt": keys[5] + "\n",
    }
    return write(**dict.fromkeys(keys), **texts)


@pytest.fixture
def webvision(write):
    """Classes 0, 49 and 50 from Google and Flickr, with two validation images."""
    synsets = "".join(f"n{i:08} class {i}, kind {i}\n" for i in range(1000))
    return write(
        **_names("google/q0001/", "a.jpg", "b.jpg"),
        **_names("google/q0077/", "c.jpg", "d.jpg"),
        **_names("flickr/q0001/", "1.jpg", "2.jpg"),
        **_names("val_images_256/", "val000001.jpg", "val000002.jpg"),
        **{
            "info/synsets.txt": synsets,
            "info/train_filelist_google.txt": "google/q0077/d.jpg 49\n"
            "google/q0001/a.jpg 0\ngoogle/q0077/c.jpg 50\ngoogle/q0001/b.jpg 0\n",
            "info/train_filelist_flickr.txt": "flickr/q0001/2.jpg 0\n"
            "flickr/q0001/1.jpg 999\n",
            "info/val_filelist.txt": "val000002.jpg 999\nval000001.jpg 3\n",
        },
    )


@pytest.fixture
def animal10n(write):
    return write(
        **_names("training/", "9_12.jpg", "0_7.jpg", "3_1.jpg", ".3_hidden"),
        **_names("testing/", "1_2.jpg", "0_1.jpg"),
    )


@pytest.fixture
def food101n(write):
    """Five images of two dishes, two of them judged, and two test images.

    One judgement is on an image that the list has in another class.
    """
    release = "Food-101N_release/"
    images = ["apple_pie/a.jpg", "apple_pie/b.jpg", "waffles/c.jpg", "waffles/d.jpg"]
    images.append("waffles/e.jpg")
    head = "class_name/key\tverification_label\n"
    return write(
        **_names(f"{release}images/", *images),
        **_names("food-101/images/", "waffles/1.jpg", "apple_pie/2.jpg"),
        **{
            f"{release}meta/classes.txt": "class_name\napple_pie\nwaffles\n",
            f"{release}meta/imagelist.tsv": "\n".join(["class_name/key", *images]),
            f"{release}meta/verified_train.tsv": head
            + "waffles/d.jpg\t0\napple_pie/b.jpg\t1\napple_pie/e.jpg\t1\n",
            f"{release}meta/verified_val.tsv": head + "waffles/c.jpg\t1\n",
            "food-101/meta/test.txt": "waffles/1\napple_pie/2\n",
        },
    )


@pytest.fixture
def small_cifar(monkeypatch):
    """Function that writes small CIFAR batches below a folder, with checksums to match.

    Also its archive, and returns images and labels by subset.
    """

    def write(root, n_classes=10):
        kind = getattr(torchvision.datasets, f"CIFAR{n_classes}")
        folder = root / kind.base_folder
        folder.mkdir(parents=True)
        rng = np.random.RandomState(n_classes)
        sums, content = {}, {"train": [], "test": []}
        key = "labels" if n_classes == 10 else "fine_labels"
        for name, _ in kind.train_list + kind.test_list:
            labels = rng.randint(n_classes, size=4)
            pixels = rng.randint(256, size=(4, 3 * 32 * 32)).astype(np.uint8)
            batch = {"data": pixels, key: labels.tolist()}
            subset = "test" if name.startswith("test") else "train"
            images = pixels.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
            content[subset].append((images, labels))
            sums[name] = _dump(folder / name, batch)
        names = [f"class {i:02}" for i in range(n_classes)]
        meta = {
            **kind.meta,
            "md5": _dump(folder / kind.meta["filename"], {kind.meta["key"]: names}),
        }
        archive = root / kind.filename
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, kind.base_folder)
        checksum = hashlib.md5(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(kind, "tgz_md5", checksum)
        monkeypatch.setattr(kind, "meta", meta)
        for entries in ("train_list", "test_list"):
            listed = [[name, sums[name]] for name, _ in getattr(kind, entries)]
            monkeypatch.setattr(kind, entries, listed)
        return {
            subset: tuple(map(np.concatenate, zip(*batches, strict=True)))
            for subset, batches in content.items()
        }

    return write


def _dump(path, content):
    raw = pickle.dumps(content, protocol=2)
    path.write_bytes(raw)
    return hashlib.md5(raw).hexdigest()
