"""Human labels for CIFAR: published files, the table, and files that would run code."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from sklearn_turn.datasets import load_cifar_n

SETS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}


@pytest.fixture
def cifar10(small_cifar, tmp_path):
    """Root, images, clean labels, and human ones by their names in the files."""
    images, clean = small_cifar(tmp_path)["train"]
    rng = np.random.RandomState(0)
    human = {name: rng.randint(10, size=len(clean)) for name in SETS.values()}
    return tmp_path, images, clean, {"clean_label": clean, **human}


def old_numpy(raw):
    """A pickle as NumPy 1 writes it, which the published files are from."""
    return raw.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def save_pt(content, path, *, zipped=True, change=old_numpy):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    if not zipped:
        path.write_bytes(change(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, raw in members.items():
            file.writestr(name, change(raw) if name.endswith("data.pkl") else raw)


def save_npy(content, path):
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


@pytest.mark.parametrize("labels", SETS)
def test_published_labels(cifar10, labels):
    root, images, clean, sets = cifar10
    save_pt(sets, root / "CIFAR-10_human.pt")
    bunch = load_cifar_n(root, labels=labels)
    np.testing.assert_array_equal(bunch.data, images)
    assert bunch.target.tolist() == sets[SETS[labels]].tolist()
    assert bunch.target_clean.tolist() == clean.tolist()
    assert len(bunch.target_names) == 10
    data, target = load_cifar_n(root, labels=labels, return_X_y=True)
    assert (target == bunch.target).all() and data.shape == (20, 32, 32, 3)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["arrays", "NumPy 1", "tensors", "columns", "lists"])
def test_all_that_torch_may_have_saved(cifar10, zipped, kind):
    root, _, _, sets = cifar10
    make = {
        "tensors": torch.tensor,
        "columns": lambda values: values[:, None],
        "lists": lambda values: values.tolist(),
    }.get(kind, np.asarray)
    content = {name: make(values) for name, values in sets.items()}
    change = old_numpy if kind == "NumPy 1" else bytes
    save_pt(content, root / "CIFAR-10_human.pt", zipped=zipped, change=change)
    bunch = load_cifar_n(root, labels="random2")
    assert bunch.target.tolist() == sets["random_label2"].tolist()


def test_labels_in_the_order_of_tensorflow(cifar10):
    root, _, _, sets = cifar10
    order = np.random.RandomState(1).permutation(20)
    np.save(root / "image_order_c10.npy", order)
    path = root / "CIFAR-10_human_ordered.npy"
    save_npy({name: values[order] for name, values in sets.items()}, path)
    assert load_cifar_n(root).target.tolist() == sets["worse_label"].tolist()
    (root / "image_order_c10.npy").unlink()
    with pytest.raises(FileNotFoundError, match="no CIFAR-10_human.pt"):
        load_cifar_n(root)


@pytest.mark.parametrize("suffix", ["pt", "npy"])
def test_cifar100n(small_cifar, tmp_path, suffix):
    images, clean = small_cifar(tmp_path, 100)["train"]
    noisy = np.random.RandomState(0).randint(100, size=len(clean))
    if suffix == "pt":
        sets = {"clean_label": clean, "noisy_label": noisy}
        coarse = {"noisy_coarse_label": [1, 2, 3, 4]}
        save_pt({**sets, **coarse}, tmp_path / "CIFAR-100_human.pt")
    else:
        sets = {"clean_label": clean, "noise_label": noisy}  # its name there
        save_npy(sets, tmp_path / "CIFAR-100_human_ordered.npy")
        np.save(tmp_path / "image_order_c100.npy", np.arange(4))
    bunch = load_cifar_n(tmp_path, labels="noisy100")
    np.testing.assert_array_equal(bunch.data, images)
    assert bunch.target.tolist() == noisy.tolist()
    assert bunch.target_clean.tolist() == clean.tolist()


def test_test_images_have_clean_labels_and_need_no_others(small_cifar, tmp_path):
    images, clean = small_cifar(tmp_path)["test"]
    bunch = load_cifar_n(tmp_path, subset="test")
    np.testing.assert_array_equal(bunch.data, images)
    assert bunch.target.tolist() == bunch.target_clean.tolist() == clean.tolist()


def test_labels_of_other_images_are_refused(cifar10):
    root, _, _, sets = cifar10
    shuffled = {name: values[::-1] for name, values in sets.items()}
    save_pt({n: v.copy() for n, v in shuffled.items()}, root / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="not those of the images: .*another order"):
        load_cifar_n(root)


def test_labels_of_another_number_are_refused(cifar10):
    root, _, _, sets = cifar10
    content = {**sets, "worse_label": sets["worse_label"][:-1]}
    save_pt(content, root / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="are not those of the images"):
        load_cifar_n(root)
    (root / "CIFAR-10_human.pt").unlink()
    save_npy(sets, root / "CIFAR-10_human_ordered.npy")
    np.save(root / "image_order_c10.npy", np.arange(21))
    with pytest.raises(ValueError, match="has no labels 'worse_label'"):
        load_cifar_n(root)


def test_a_file_without_these_labels(cifar10):
    root, _, clean, _ = cifar10
    save_pt({"clean_label": clean, "noisy_label": clean}, root / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match=r"no labels 'worse_label'.*'noisy_label'\]"):
        load_cifar_n(root)


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["zipped", "legacy", "npy"])
def test_a_file_that_would_run_code(cifar10, how):
    root, _, _, sets = cifar10
    hacked = root / "hacked"
    content = {**sets, "worse_label": Attack(hacked)}
    if how == "npy":
        save_npy(content, root / "CIFAR-10_human_ordered.npy")
        np.save(root / "image_order_c10.npy", np.arange(20))
    else:
        save_pt(content, root / "CIFAR-10_human.pt", zipped=how == "zipped")
    with pytest.raises(ValueError, match=r"cannot be read .*it calls \w+.mkdir"):
        load_cifar_n(root)
    assert not hacked.exists()


def test_a_torchscript_program(cifar10):
    root, _, _, sets = cifar10
    save_pt(sets, root / "CIFAR-10_human.pt")
    with zipfile.ZipFile(root / "CIFAR-10_human.pt", "a") as file:
        file.writestr("archive/constants.pkl", pickle.dumps(()))
    with pytest.raises(ValueError, match="it is a TorchScript program"):
        load_cifar_n(root)


@pytest.mark.parametrize("raw", [b"", b"<html>404</html>", pickle.dumps([1])])
@pytest.mark.parametrize("name", ["CIFAR-10_human.pt", "CIFAR-10_human_ordered.npy"])
def test_damaged_label_files(cifar10, name, raw):
    root = cifar10[0]
    (root / name).write_bytes(raw)
    np.save(root / "image_order_c10.npy", np.arange(20))
    with pytest.raises(ValueError, match=f"{name}' cannot be read .*Download it again"):
        load_cifar_n(root)


def test_a_cut_label_file(cifar10):
    root, _, _, sets = cifar10
    save_pt(sets, root / "CIFAR-10_human.pt", zipped=False)
    raw = (root / "CIFAR-10_human.pt").read_bytes()
    (root / "CIFAR-10_human.pt").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="Download it again"):
        load_cifar_n(root)


def test_labels_that_are_no_numbers(cifar10):
    root, _, _, sets = cifar10
    content = {**sets, "worse_label": np.linspace(0, 1, 20)}
    save_pt(content, root / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="no whole numbers"):
        load_cifar_n(root)


def test_missing_parts_are_named(small_cifar, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar_n(tmp_path)
    for part in ("no intact images", "CIFAR-10_human.pt", "fetch_cifar10", "UCSC-REAL"):
        assert part in str(caught.value)
    small_cifar(tmp_path)
    with pytest.raises(FileNotFoundError, match="no CIFAR-10_human.pt"):
        load_cifar_n(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "worst"}, "labels must be one of 'aggre', .*; got 'worst'"),
        ({"subset": "val"}, "subset must be one of 'train', 'test'; got 'val'"),
    ],
)
def test_unknown_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_cifar_n(tmp_path, **options)


@pytest.fixture
def table(tmp_path):
    """Four images with a table of labels."""
    rows = ["path,split,clean,aggre,worse", "train/0.png,train,frog,frog,deer"]
    rows += ["train/1.png,train,deer,deer,deer", "train/2.png,train,cat,deer,frog"]
    rows.append("test/0.png,test,cat,cat,cat")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    for row in rows[1:]:
        path = tmp_path / row.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    return tmp_path


def test_table(table):
    bunch = load_cifar_n(table)
    assert bunch.data.tolist() == [f"{table}/train/{i}.png" for i in range(3)]
    assert bunch.target_names.tolist() == ["cat", "deer", "frog"]
    assert bunch.target_names[bunch.target].tolist() == ["deer", "deer", "frog"]
    assert bunch.target_names[bunch.target_clean].tolist() == ["frog", "deer", "cat"]
    assert load_cifar_n(table, labels="aggre").target.tolist() == [2, 1, 1]
    # Of test images the clean labels, whatever column is asked for.
    labels = table / "labels.csv"
    labels.write_text(
        labels.read_text().replace("test,cat,cat,cat", "test,cat,cat,frog")
    )
    assert load_cifar_n(table, subset="test").target.tolist() == [0]


def test_a_table_that_a_spreadsheet_saved(table):
    text = (table / "labels.csv").read_text()
    (table / "labels.csv").write_text(text, encoding="utf-8-sig")
    assert load_cifar_n(table, labels="aggre").target.tolist() == [2, 1, 1]


def test_unusable_tables(table):
    with pytest.raises(ValueError, match="no column 'random1'; it has .*'worse'"):
        load_cifar_n(table, labels="random1")
    (table / "train" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 images, the first .*train/1"):
        load_cifar_n(table)
    text = (table / "labels.csv").read_text()
    (table / "labels.csv").write_text(text.replace("0.png,train", "0.png,Train"))
    with pytest.raises(ValueError, match=r"\['Train'\] in column 'split'"):
        load_cifar_n(table)
    (table / "labels.csv").write_text(text.replace("frog,deer", "frog,owl"))
    with pytest.raises(ValueError, match=r"labels \['owl'\] in column 'worse'"):
        load_cifar_n(table)
    (table / "labels.csv").write_text("path,split,clean,worse\n")
    with pytest.raises(ValueError, match="no column 'path'; it has"):
        load_cifar_n(table)


# The shares of wrong labels that come with the archive.
@pytest.mark.parametrize(
    ("labels", "rate"), [("aggre", 0.091), ("random1", 0.177), ("worse", 0.409)]
)
def test_real_human_labels(real_subset, labels, rate):
    bunch = load_cifar_n(real_subset, labels=labels)
    assert len(bunch.data) == 12_000 and len(bunch.target_names) == 10
    assert (bunch.target != bunch.target_clean).mean() == pytest.approx(rate, abs=5e-4)
    with Image.open(bunch.data[-1]) as image:
        assert image.size == (32, 32)
    test = load_cifar_n(real_subset, labels=labels, subset="test")
    assert len(test.data) == 3_000
    assert (test.target == test.target_clean).all()


@pytest.fixture(scope="module")
def real_subset(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10n")
    with zipfile.ZipFile(assets / "cifar10n.zip") as archive:
        archive.extractall(folder)
    return folder
