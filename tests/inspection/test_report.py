"""The report as a file: what it takes, what it refuses, what is in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import tiny

from sklearn_turn import (
    GMMNoiseFilter,
    NoiseChannelFilter,
    NoiseFilteredClassifier,
    TURNClassifier,
)
from sklearn_turn.inputs import DatasetImages, RawInputs
from sklearn_turn.inspection import export_report, label_issues, noise_summary
from sklearn_turn.noise import symmetric


class Page(HTMLParser):
    """Scripts, styles and attributes, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.inside, self.scripts, self.styles, self.tags = None, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside == "style":
            self.styles.append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def policy(self):
        (content,) = [
            attrs["content"]
            for tag, attrs in self.tags
            if attrs.get("http-equiv") == "Content-Security-Policy"
        ]
        return dict(part.strip().split(" ", 1) for part in content.split(";"))


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fitted(blobs):
    return NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, blobs.y)


@pytest.fixture(scope="module")
def photos():
    """300 images, larger than any thumbnail, that do not compress to nothing."""
    rng = np.random.RandomState(0)
    grain = rng.randint(0, 255, (300, 30, 40, 3), dtype=np.uint8)
    return grain.repeat(8, axis=1).repeat(8, axis=2)


def test_numbers_are_those_of_the_tables(fitted, blobs, tmp_path):
    path = export_report(fitted, blobs.X, blobs.y, tmp_path / "report.html")
    data = read(path).data
    issues = label_issues(fitted).query("is_label_issue").sort_values("rank")
    assert data["index"] == issues.index.tolist()
    classes = np.array(data["classes"], dtype=int)
    assert classes[data["given"]].tolist() == issues["given_label"].tolist()
    assert classes[data["suggested"]].tolist() == issues["suggested_label"].tolist()
    assert data["quality"] == issues["label_quality"].tolist()
    np.testing.assert_allclose(data["loss"], issues["loss"], atol=1e-4)
    summary = noise_summary(fitted)
    assert data["n_samples"] == 300 and data["n_skipped"] == 0
    assert data["noise_rate"] == pytest.approx(summary.noise_rate)
    assert data["interval"] == pytest.approx(summary.interval)
    per_class = data["per_class"]
    assert per_class["samples"] == summary.per_class["n_samples"].tolist()
    assert per_class["issues"] == summary.per_class["n_label_issues"].tolist()
    np.testing.assert_allclose(
        per_class["noise_rate"], summary.per_class["noise_rate"], atol=1e-5
    )
    cells = data["transitions"]
    matrix = np.diag(cells["diagonal"])
    matrix[cells["true"], cells["given"]] = cells["share"]
    np.testing.assert_allclose(matrix, summary.transition_matrix, atol=1e-4)


def test_histograms_count_every_loss(blobs, tmp_path):
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, blobs.y)
    data = read(export_report(clf, blobs.X, blobs.y, tmp_path / "report.html")).data
    losses = data["losses"]
    for code in range(3):
        for name, mask in (("clean", clf.clean_mask_), ("flagged", ~clf.clean_mask_)):
            expected, _ = np.histogram(
                clf.losses_[mask & (blobs.y == code)],
                bins=np.linspace(clf.losses_.min(), clf.losses_.max(), 41),
            )
            assert losses[name][code] == expected.tolist()
    # The mixtures expect as many samples as there are, but for the tails.
    expected = np.sum([losses["low"], losses["high"]], axis=(0, 2))
    np.testing.assert_allclose(expected, np.bincount(blobs.y), rtol=0.1)
    # The thresholds part the labels of each class.
    for code, threshold in enumerate(losses["thresholds"]):
        mine = blobs.y == code
        np.testing.assert_array_equal(
            clf.clean_mask_[mine], clf.losses_[mine] < threshold
        )


def test_the_page_runs_nothing_but_itself(fitted, blobs, tmp_path):
    path = export_report(fitted, blobs.X, blobs.y, tmp_path / "report.html")
    page = read(path)
    assert page.policy["default-src"] == "'none'"
    assert page.policy["img-src"] == "data:"
    for name, content in (
        ("script-src", page.scripts[1]),
        ("style-src", page.styles[0]),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert page.policy[name] == f"'sha256-{digest}'"
    assert len(page.scripts) == 2 and len(page.styles) == 1
    for tag, attrs in page.tags:
        assert not {"src", "srcset", "action"} & set(attrs), tag
        assert attrs.get("href", "#").startswith(("#", "data:")), tag
        assert not [name for name in attrs if name.startswith("on")], tag
    assert not re.search(r"https?:", page.scripts[1].replace("http://www.w3.org", ""))
    assert not re.search(r"url\(|@import", page.styles[0])


NASTY = ["<img onerror=x>", "</script><!--<script>", "&lt;\u2028 'q' \"p\""]


def test_labels_and_paths_cannot_leave_the_data(blobs, tmp_path):
    y = np.array(NASTY)[blobs.y]
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, y)
    folder = tmp_path / "<b>& 'x'"
    folder.mkdir()
    paths = [str(folder / f"{i}.png") for i in range(300)]
    for path in paths:
        Image.new("L", (4, 4)).save(path)
    page = read(export_report(clf, paths, y, tmp_path / "report.html"))
    assert page.data["classes"] == sorted(NASTY)
    assert page.data["path"] == [paths[i] for i in page.data["index"]]
    assert len(page.scripts) == 2
    assert not re.search("[<>&\u2028]", page.scripts[0])


def test_the_empty_text_is_no_label(blobs, tmp_path):
    y = np.array(["", "cat", "dog"])[blobs.y]
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, y)
    with pytest.raises(ValueError, match="empty text is one of the labels"):
        export_report(clf, blobs.X, y, tmp_path / "report.html")


def kinds_of_images(files):
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    return {
        "paths": list(map(str, files)),
        "series of paths": pd.Series(list(map(str, files))),
        "array": pixels,
        "channels first": np.moveaxis(pixels, 3, 1),
        "floats": (pixels / 255).astype(np.float32),
        "PIL images": [Image.fromarray(image) for image in pixels],
        "dataset": DatasetImages([(image, 0) for image in pixels]),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "paths",
        "series of paths",
        "array",
        "channels first",
        "floats",
        "PIL images",
        "dataset",
    ],
)
def test_pictures_of_every_kind_of_images(kind, fitted, blobs, tmp_path):
    colours = [(250, 40, 40), (40, 250, 40), (40, 40, 250)]
    files = [tmp_path / f"{i}.png" for i in range(300)]
    for file, code in zip(files, blobs.y_true, strict=True):
        Image.new("RGB", (20, 12), colours[code]).save(file)
    X = kinds_of_images(files)[kind]
    data = read(export_report(fitted, X, blobs.y, tmp_path / "report.html")).data
    assert data["kind"] == "images"
    assert (data["path"] is not None) == ("paths" in kind)
    assert len(data["pictures"]) == len(data["index"]) > 10
    for index, picture in zip(data["index"], data["pictures"], strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert image.size == (20, 12)
        expected = colours[blobs.y_true[index]]
        np.testing.assert_allclose(image.getpixel((5, 5)), expected, atol=6)


def test_grey_images_have_grey_pictures(fitted, blobs, tmp_path):
    X = np.full((300, 9, 9), 120, dtype=np.uint8)
    data = read(export_report(fitted, X, blobs.y, tmp_path / "report.html")).data
    image = Image.open(io.BytesIO(base64.b64decode(data["pictures"][0])))
    np.testing.assert_allclose(image.getpixel((4, 4)), (120, 120, 120), atol=3)


@pytest.mark.parametrize("kind", ["features", "frame", "raw"])
def test_other_inputs_are_listed_without_pictures(kind, fitted, blobs, tmp_path):
    X = {
        "features": blobs.X,
        "frame": pd.DataFrame(blobs.X, columns=["a", "b"]),
        "raw": RawInputs(blobs.X),
    }[kind]
    data = read(export_report(fitted, X, blobs.y, tmp_path / "report.html")).data
    assert data["pictures"] is None and data["path"] is None
    assert data["kind"] == "samples"


def test_pipelines_and_searches(blobs, tmp_path):
    filtered = NoiseFilteredClassifier(noise_filter="gmm", cv=None)
    for estimator in (
        make_pipeline(StandardScaler(), filtered),
        GridSearchCV(filtered, {"cv": [None, 3]}, cv=2),
    ):
        estimator.fit(blobs.X, blobs.y)
        path = export_report(estimator, blobs.X, blobs.y, tmp_path / "report.html")
        assert read(path).data["estimator"] == "NoiseFilteredClassifier"


def test_unreadable_images_are_counted_and_have_no_picture(images, tmp_path):
    y = symmetric(images.y, 0.3, random_state=0)
    paths = [tmp_path / f"{i}.png" for i in range(60)]
    for path, image in zip(paths, images.X, strict=True):
        Image.fromarray(image).save(path)
    paths[0].write_bytes(b"no image")
    clf = tiny(on_bad_image="skip", noise_filter=NoiseChannelFilter(noise_rate=0.3))
    with pytest.warns(UserWarning):
        clf.fit(paths, y)
    paths[int(np.flatnonzero(~clf.clean_mask_)[1])].unlink()
    data = read(export_report(clf, paths, y, tmp_path / "report.html")).data
    assert data["n_skipped"] == 1
    assert 0 not in data["index"]
    assert data["pictures"].count(None) == 1
    assert sum(data["per_class"]["samples"]) == 59


@pytest.mark.parametrize("max_megabytes", [0.3, 0.9, 3])
def test_the_file_keeps_to_its_size(max_megabytes, fitted, photos, blobs, tmp_path):
    path = export_report(
        fitted, photos, blobs.y, tmp_path / "report.html", max_megabytes=max_megabytes
    )
    assert path.stat().st_size <= 1e6 * max_megabytes
    data = read(path).data
    # Room is used: for larger pictures if all fit in, else for the first ones.
    absent = [picture == "" for picture in data["pictures"]]
    assert absent == sorted(absent)
    first = Image.open(io.BytesIO(base64.b64decode(data["pictures"][0])))
    assert max(first.size) == data["pixels"]
    expected = {0.3: (80, True), 0.9: (112, False), 3: (224, False)}[max_megabytes]
    assert (data["pixels"], any(absent)) == expected


def test_marks_are_named_by_the_data(fitted, blobs, photos, tmp_path):
    def key(clf=fitted, X=blobs.X, y=blobs.y):
        return read(export_report(clf, X, y, tmp_path / "report.html")).data["key"]

    again = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, blobs.y)
    assert key() == key(again)
    assert key() != key(X=blobs.X + 1)
    for kind in (torch.tensor, csr_matrix, pd.DataFrame, RawInputs, np.ndarray.tolist):
        assert key(X=kind(blobs.X)) == key(X=kind(blobs.X)) != key(X=kind(blobs.X + 1))
    changed = np.roll(blobs.y, 1)
    other = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, changed)
    assert key() != key(other, y=changed)
    small = photos[:, ::8, ::8]
    assert key(X=small) == key(X=small.copy()) != key(X=255 - small)


def test_what_does_not_fit_is_refused_before_work(fitted, blobs, photos, tmp_path):
    X, y, path = blobs.X, blobs.y, tmp_path / "report.html"
    with pytest.raises(NotFittedError):
        export_report(NoiseFilteredClassifier(noise_filter="gmm", cv=None), X, y, path)
    plain = TURNClassifier(lp_epochs=1, fft_epochs=0, cleansing=None, device="cpu")
    with pytest.raises(ValueError, match="has not looked for wrong labels"):
        export_report(plain.fit(X, y), X, y, path)
    with pytest.raises(ValueError, match="y are not the 300 labels"):
        export_report(fitted, X, blobs.y_true, path)
    with pytest.raises(ValueError, match="y are not the 300 labels"):
        export_report(fitted, X[:9], y[:9], path)
    with pytest.raises(ValueError, match="1 missing labels"):
        export_report(fitted, X, pd.Series([pd.NA, *y[1:]]), path)
    with pytest.raises(ValueError, match="X has 299 samples, but there are 300"):
        export_report(fitted, photos[:299], y, path)
    for bad in (0, -1, "20", None):
        with pytest.raises(ValueError, match="max_megabytes must be positive"):
            export_report(fitted, X, y, path, max_megabytes=bad)
    with pytest.raises(IsADirectoryError, match=r"is a folder.*report\.html"):
        export_report(fitted, X, y, tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        export_report(fitted, X, y, tmp_path / "absent" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_an_older_report_is_replaced_by_a_complete_one_only(
    fitted, blobs, tmp_path, monkeypatch
):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        patch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            export_report(fitted, blobs.X, blobs.y, path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert export_report(fitted, blobs.X, blobs.y, str(path)) == path
    assert path.read_text().startswith("<!doctype html>")


def test_no_suspects(blobs, tmp_path):
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(blobs.X, blobs.y)
    clf.clean_mask_ = np.ones(300, dtype=bool)
    X = np.zeros((300, 8, 8, 3), dtype=np.uint8)
    data = read(export_report(clf, X, blobs.y, tmp_path / "report.html")).data
    assert data["index"] == [] and data["pictures"] == []


def test_of_a_large_transition_matrix_the_largest_cells(tmp_path):
    rng = np.random.RandomState(0)
    X, y = rng.rand(9000, 2), np.arange(9000) % 150
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=None).fit(X, y)
    clf.suggested_labels_ = rng.permutation(y)
    cells = read(export_report(clf, X, y, tmp_path / "report.html")).data["transitions"]
    assert len(cells["share"]) == 5000
    assert cells["share"] == sorted(cells["share"], reverse=True)
    wrong = clf.suggested_labels_ != y
    pairs = len(set(zip(y[wrong], clf.suggested_labels_[wrong], strict=True)))
    assert cells["n_left_out"] == pairs - 5000


def test_parameters_may_be_numpys(blobs, tmp_path):
    clf = NoiseFilteredClassifier(noise_filter=GMMNoiseFilter(tau=np.float32(0.5)))
    clf.fit(blobs.X, blobs.y)
    path = export_report(clf, blobs.X, blobs.y, tmp_path / "report.html")
    assert "0.5" in Path(path).read_text()
