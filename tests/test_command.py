"""The command ``python -m sklearn_turn audit``."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import sklearn_turn
from sklearn_turn import TURNClassifier, command
from sklearn_turn.datasets import load_image_folder
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.inspection import apply_corrections
from sklearn_turn.noise import symmetric

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def samples():
    """20 of each of three digits, six labels wrong."""
    digits = load_digits()
    rows = np.concatenate([np.flatnonzero(digits.target == c)[:20] for c in (0, 1, 4)])
    y_true = np.repeat([0, 1, 2], 20)
    y = symmetric(y_true, 0.1, random_state=0)
    images = (digits.images[rows] * 15).astype(np.uint8)
    return images, np.array(["four", "one", "zero"])[2 - y], y != y_true


@pytest.fixture
def folder(samples, tmp_path):
    images, labels, _ = samples
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / label / f"{i:02}.png")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The default report goes into the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(*arguments, **options):
    """Run the command, on the backbone that comes with the package."""
    given = [str(argument) for argument in arguments]
    return command.main(["audit", "--backbone", "letters", "--device", "cpu", *given])


def lines_of(text):
    return text.splitlines()


def test_folder(folder, samples, tmp_path, capsys):
    assert (
        run(folder, "--out", tmp_path / "page.html", "--csv", tmp_path / "i.csv") == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert "of 60 labels look wrong" in lines_of(out)[0]
    assert lines_of(out)[-2:] == [
        f"written: {tmp_path / 'page.html'}",
        f"written: {tmp_path / 'i.csv'}",
    ]
    assert (tmp_path / "page.html").read_text().startswith("<!")
    with open(tmp_path / "i.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 61))
    assert sorted(int(row["index"]) for row in rows) == list(range(60))
    by_path = {row["path"]: row for row in rows}
    of_sample = [
        by_path[str(folder / label / f"{i:02}.png")]
        for i, label in enumerate(samples[1])
    ]
    assert [row["given_label"] for row in of_sample] == samples[1].tolist()
    flagged = np.array([row["is_label_issue"] == "True" for row in of_sample])
    assert (flagged == samples[2]).mean() > 0.9
    # What was written can be reviewed and read back.
    y = [row["given_label"] for row in sorted(rows, key=lambda r: int(r["index"]))]
    corrected, dropped = apply_corrections(y, tmp_path / "i.csv")
    assert corrected.tolist() == y
    assert not dropped.any()


def test_default_report_is_in_the_current_folder(folder, capsys):
    assert run(folder) == 0
    assert os.listdir() == ["report.html"]
    *_, outliers, written = lines_of(capsys.readouterr().out)
    assert outliers.startswith("outliers: ") and "--csv FILE" in outliers
    assert written == "written: report.html"


def test_table_of_paths(folder, samples, tmp_path, capsys, monkeypatch):
    files = sorted(folder.rglob("*.png"))
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "path"])
        for i, path in enumerate(files):
            name = path if i % 2 else path.relative_to(folder)
            # A space after a comma is no part of a label.
            writer.writerow([i, f" {path.parent.name}", name])
    assert run(folder / "labels.csv", "--csv", "table.csv") == 0
    from_table = capsys.readouterr().out
    assert run(folder, "--csv", "folder.csv") == 0
    assert capsys.readouterr().out == from_table.replace("table.csv", "folder.csv")


def test_table_that_a_spreadsheet_wrote(folder, capsys):
    files = sorted(folder.rglob("*.png"))
    lines = [f"{path};{path.parent.name};;" for path in files]
    text = "\r\n".join(["path;label;note;", *lines, ";;;", ""])
    (folder / "labels.csv").write_bytes(text.encode("utf-16"))
    assert run(folder / "labels.csv") == 0
    assert "of 60 labels look wrong" in capsys.readouterr().out


def test_names_of_classes_of_any_kind(samples, tmp_path, capsys):
    images, labels, _ = samples
    names = {"four": b"=1+1", "one": b"caf\xe9", "zero": "猫".encode()}
    y = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = os.fsdecode(names[label])
        (tmp_path / "odd" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "odd" / name / f"{i:02}.png")
    assert run(tmp_path / "odd", "--csv", "table.csv") == 0
    # A spreadsheet knows the alphabet, and computes nothing.
    text = (tmp_path / "here" / "table.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufeffindex,path,given_label,")
    cells = {cell for line in text.splitlines() for cell in line.split(",")}
    assert {"'=1+1", "caf\\udce9", "猫"} <= cells
    assert "=1+1" not in cells
    y = load_image_folder(tmp_path / "odd")
    y = y.target_names[y.target]
    corrected, dropped = apply_corrections(y, "table.csv")
    assert corrected.tolist() == y.tolist()
    assert not dropped.any()


def test_arguments_reach_the_estimator(folder, monkeypatch, tmp_path):
    seen = []

    def fit(self, X, y):
        seen.append(self.get_params())
        raise ValueError("enough")

    monkeypatch.setattr(TURNClassifier, "fit", fit)
    weights = tmp_path / "w.safetensors"
    more = ["--weights", weights, "--memory", tmp_path / "m", "--random-state", 7]
    assert run(folder, "--batch-size", 8, *more) == 1
    assert run(folder, "--fine-tune") == 1
    assert run(folder, "--fine-tune", "--no-augment") == 1
    probe, whole, still = seen
    assert (whole["augment"], still["augment"]) == ("light", None)
    assert probe["fft_epochs"] == 0
    assert probe["batch_size"] == 8
    assert probe["random_state"] == 7
    assert probe["memory"] == tmp_path / "m"
    assert probe["pretrained"] == weights
    assert probe["backbone"] == whole["backbone"] == "letters"
    assert whole["pretrained"] is True
    assert whole["fft_epochs"] == TURNClassifier().fft_epochs
    assert whole["noise_filter"] == "channel"


def test_features_are_computed_once_and_kept(folder, tmp_path, monkeypatch):
    from sklearn_turn.features import extraction

    computed = []
    inner = extraction._compute

    def counting(embed, source, rows, runtime):
        computed.append(len(rows))
        return inner(embed, source, rows, runtime)

    monkeypatch.setattr(extraction, "_compute", counting)
    assert run(folder) == 0
    assert sum(computed) == 60
    assert run(folder, "--memory", tmp_path / "memory") == 0
    assert run(folder, "--memory", tmp_path / "memory") == 0
    assert sum(computed) == 120


def test_fine_tuning(folder, capsys, monkeypatch):
    monkeypatch.setattr(TURNClassifier, "fft_epochs", 1)
    defaults = TURNClassifier.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "fft_epochs", 1)
    assert run(folder, "--fine-tune") == 0
    out, err = capsys.readouterr()
    assert lines_of(out)[0].endswith("labels look wrong")
    assert err == ""


def test_unreadable_images_are_told_and_left_out(folder, capsys):
    (folder / "zero" / "broken.png").write_bytes(b"")
    assert run(folder) == 0
    out, err = capsys.readouterr()
    assert len(lines_of(err)) == 1
    assert err.startswith("warning: 1 of 61 images cannot be read")
    assert "of 60 labels look wrong" in out
    broken = folder / "zero" / "broken.png"
    assert f"cannot be read, left out: 1\n  {broken}\n" in out
    for i in range(11):
        (folder / "zero" / f"broken{i}.png").write_bytes(b"")
    assert run(folder) == 0
    *_, last, more, _ = lines_of(capsys.readouterr().out)
    assert last.startswith("  ") and "broken" in last
    assert "the table that --csv FILE writes" in more


def test_a_review_is_not_written_over(folder, capsys):
    assert run(folder, "--csv", "issues.csv") == 0
    assert run(folder, "--csv", "issues.csv") == 0  # nobody wrote into it
    capsys.readouterr()
    with open("issues.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    rows[3][rows[0].index("mark")] = "right"
    with open("issues.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    before = Path("issues.csv").read_bytes()
    assert run(folder, "--csv", "issues.csv") == 1
    assert Path("issues.csv").read_bytes() == before
    assert "'issues.csv' holds a review, the first mark in line 4" in (
        capsys.readouterr().err
    )
    # As a spreadsheet may have written it, in its own alphabet.
    text = before.decode("utf-8-sig") + "\r\nm\N{LATIN SMALL LETTER U WITH DIAERESIS}"
    Path("issues.csv").write_bytes(text.encode("cp1252"))
    assert run(folder, "--csv", "issues.csv") == 1
    assert "may hold a review: 'issues.csv' is not text" in capsys.readouterr().err
    Path("other.csv").write_text("a,b\n1,2\n")
    assert run(folder, "--csv", "other.csv") == 0


def test_without_a_look_at_neighbors(folder, capsys):
    assert run(folder, "--no-neighbors", "--csv", "issues.csv") == 0
    out = capsys.readouterr().out
    assert "labels look wrong" in out
    assert "duplicates" not in out and "outliers" not in out
    assert "outlier" not in Path("issues.csv").read_text("utf-8-sig").splitlines()[0]


def test_what_the_library_prints_is_no_result(folder, capsys, monkeypatch):
    inner = TURNClassifier.fit

    def fit(self, X, y):
        print("progress")
        warnings.warn("careful\nnow", CleansingWarning, stacklevel=1)
        warnings.warn("of no interest", FutureWarning, stacklevel=1)
        return inner(self, X, y)

    monkeypatch.setattr(TURNClassifier, "fit", fit)
    assert run(folder) == 0
    out, err = capsys.readouterr()
    assert "progress" not in out
    assert lines_of(err) == ["progress", "warning: careful now"]


def test_progress_on_a_terminal_only(folder, capsys, monkeypatch):
    assert run(folder) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sklearn_turn.progress._SHORT", 0.0)
    assert run(folder) == 0
    out, err = capsys.readouterr()
    assert "features" in err
    assert "features:" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["audit"],
        ["audit", "x", "--batch-size", "0"],
        ["audit", "x", "--batch-size", "many"],
        ["audit", "x", "--random-state", "-1"],
        ["audit", "x", "--unknown"],
        ["review", "x"],
        ["audit", "x.csv", "--out", "x.csv"],
        ["audit", "x", "--out", "a.csv", "--csv", "./a.csv"],
    ],
)
def test_wrong_usage(arguments, capsys):
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in lines_of(err)[-1]


def failing(*arguments, capsys):
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = lines_of(err)
    assert line.startswith("error: ")
    return line


def test_sources_that_cannot_be_read(tmp_path, capsys):
    line = failing(tmp_path / "none.csv", capsys=capsys)
    assert "is not a folder or a CSV file" in line
    (tmp_path / "empty").mkdir()
    assert "has no subfolders" in failing(tmp_path / "empty", capsys=capsys)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.png,cat\n")
    line = failing(table, capsys=capsys)
    assert "lacks the columns 'path'; it has 'file', 'label'" in line
    table.write_text("path,label\na.png,cat\nb.png,\n")
    assert "Line 3 of " in failing(table, capsys=capsys)
    table.write_text("path,label\n")
    assert "two classes or more; it has no image" in failing(table, capsys=capsys)
    table.write_text("path,label\na.png,cat\nb.png,cat\n")
    assert "two classes or more; it has 'cat'" in failing(table, capsys=capsys)
    table.write_text("path,label\na.png,cat\nb.png,dog\n")
    assert "a.png: not found" in failing(table, capsys=capsys)
    table.write_bytes("path,label\né.png,cat\n".encode("cp1252"))
    assert "is not text in UTF-8" in failing(table, capsys=capsys)


def test_outputs_that_cannot_be_written(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(TURNClassifier, "fit", lambda *_: pytest.fail("work"))
    line = failing(folder, "--out", tmp_path / "none" / "a.html", capsys=capsys)
    assert "There is no folder" in line
    line = failing(folder, "--csv", tmp_path, capsys=capsys)
    assert "is a folder, not a file to write" in line
    (tmp_path / "file").touch()
    line = failing(folder, "--memory", tmp_path / "file", capsys=capsys)
    assert "is a file, not a folder" in line
    for name in ("report.html", "table.csv"):
        (tmp_path / "here" / name).touch()
    for place in (".", "report.html", "table.csv"):
        # Also for root, to whom the system allows everything.
        monkeypatch.setattr(os, "access", lambda path, mode, p=place: str(path) != p)
        line = failing(folder, "--csv", "table.csv", capsys=capsys)
        assert "cannot be written" in line


def test_missing_pandas_is_told_before_any_work(folder, capsys, monkeypatch):
    monkeypatch.setattr(TURNClassifier, "fit", lambda *_: pytest.fail("work"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "pip install" in failing(folder, capsys=capsys)


def test_missing_weights_and_devices(folder, tmp_path, capsys):
    line = failing(folder, "--weights", tmp_path / "none.pth", capsys=capsys)
    assert "none.pth" in line
    assert line.endswith("pretrained=... is --weights FILE.")
    assert "cuda:99" in failing(folder, "--device", "cuda:99", capsys=capsys)


def test_failures_without_words(folder, capsys, monkeypatch):
    def fit(self, X, y):
        raise MemoryError

    monkeypatch.setattr(TURNClassifier, "fit", fit)
    assert failing(folder, capsys=capsys) == "error: MemoryError"


def test_defects_have_a_traceback(folder, monkeypatch):
    def fit(self, X, y):
        raise AttributeError("a defect")

    monkeypatch.setattr(TURNClassifier, "fit", fit)
    with pytest.raises(AttributeError):
        run(folder)


def test_interrupted(folder, capsys, monkeypatch):
    def fit(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(TURNClassifier, "fit", fit)
    assert run(folder) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
    assert os.listdir() == []


def python(*arguments, env=None, **options):
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        text=True,
        **options,
    )


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys\n"
        "from sklearn_turn.command import main\n"
        "codes = main(['--help']), main(['audit', '--help']), main(['--version'])\n"
        "assert codes == (0, 0, 0), codes\n"
        "heavy = {'torch', 'timm', 'sklearn', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python("-c", code, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "--fine-tune" in done.stdout
    assert done.stdout.endswith(f"{sklearn_turn.__version__}\n")


def test_names_that_the_terminal_does_not_know():
    code = (
        "import runpy\n"
        "from sklearn_turn import command\n"
        "command._audit = lambda args: print('猫')\n"
        "command.sys.argv = ['sklearn_turn', 'audit', 'x']\n"
        "runpy.run_module('sklearn_turn', run_name='__main__')\n"
    )
    done = python("-c", code, env={"PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u732b\n", "")


def test_as_a_module_with_a_reader_that_has_gone():
    code = (
        "import sys\n"
        "from sklearn_turn import command\n"
        "command._audit = lambda args: print('x' * 100000)\n"
        "sys.exit(command.main(['audit', 'x']))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = python("-c", code, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""
    done = python("-m", "sklearn_turn", "audit", capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m sklearn_turn audit")


def test_what_goes_wrong_is_said_in_one_line(capsys):
    command._complain(
        "Cannot read 2 images:\n  a.jpg: not found\n  b.jpg:  cut off\nDrop"
    )
    said = capsys.readouterr().err
    assert said == "Cannot read 2 images: a.jpg: not found; b.jpg: cut off; Drop\n"
