"""A reviewed file, read back."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pytest

from sklearn_turn.inspection import apply_corrections, verified_labels
from sklearn_turn.inspection._csv import with_guard, without_guard

pd = pytest.importorskip("pandas")

HEADER = [
    "index",
    "path",
    "given_label",
    "suggested_label",
    "label_quality",
    "mark",
    "corrected_label",
]
Y = ["cat", "dog", "cat", "eel", "dog"]


def table(*rows, header=HEADER, delimiter=",", end="\r\n"):
    """CSV as a browser downloads it: (index, given, mark, corrected)."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerow(header)
    for index, given, mark, corrected in rows:
        writer.writerow([index, f"{index}.png", given, "dog", 0.25, mark, corrected])
    return file.getvalue()


def frame(*rows):
    names = ["index", "given_label", "mark", "corrected_label"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture
def saved(tmp_path):
    def save(text, encoding="utf-8"):
        path = tmp_path / "reviewed.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return save


ROWS = [
    (4, "dog", "wrong", "eel"),
    (0, "cat", "right", "cat"),
    (1, "dog", "wrong", ""),
    (2, "cat", "unsure", ""),
    (3, "eel", "right", ""),
]
CORRECTED = ["cat", "dog", "cat", "eel", "eel"]
DROPPED = [False, True, True, False, False]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (table(*ROWS), "utf-8"),
        (table(*ROWS, end="\n"), "utf-8-sig"),
        (table(*ROWS, delimiter=";"), "utf-8-sig"),
        (table(*ROWS, delimiter="\t"), "utf-16"),
        (table(*ROWS) + ",,,,,,\r\n\r\n", "utf-8"),
        (table(*ROWS).replace("wrong", " Wrong ").replace("4,4", "4.0,4"), "utf-8"),
    ],
    ids=["browser", "unix-bom", "semicolon", "utf-16", "blank-rows", "retyped"],
)
def test_marks_are_applied(saved, text, encoding):
    y = np.array(Y)
    corrected, dropped = apply_corrections(y, saved(text, encoding))
    assert corrected.tolist() == CORRECTED
    assert corrected.dtype == y.dtype
    assert dropped.tolist() == DROPPED
    assert y.tolist() == Y


def test_columns_in_any_order_and_more_of_them():
    rows = [(i, g, m, c or None) for i, g, m, c in ROWS]
    reviewed = frame(*rows)[["mark", "corrected_label", "given_label", "index"]]
    corrected, dropped = apply_corrections(Y, reviewed.assign(note="x"))
    assert corrected.tolist() == CORRECTED
    assert dropped.tolist() == DROPPED


def test_a_label_for_an_unsure_sample_is_not_applied(saved):
    corrected, dropped = apply_corrections(Y, saved(table((0, "cat", "unsure", "dog"))))
    assert corrected.tolist() == Y
    assert dropped.tolist() == [True, False, False, False, False]


def test_what_is_not_reviewed_stays(saved):
    for reviewed in (saved(table()), frame(), frame((1, "dog", "", ""))):
        corrected, dropped = apply_corrections(Y, reviewed)
        assert corrected.tolist() == Y
        assert not dropped.any()


@pytest.mark.parametrize(
    "y",
    [
        np.array([3, 1, 2, 1], dtype=np.int16),
        np.array([0.5, 1.0, 2.0, 1.0]),
        np.array([True, False, True, False]),
        np.array(["3", "007", "NA", "007"]),
        np.array(["a,b", 'say "x"', "two\nlines", 'say "x"'], dtype=object),
        np.array(["é", "日本", "=1+1", "日本"]),
        np.array([2**60, 2**60 + 1, 5, 2**60 + 1]),
    ],
    ids=["int16", "float", "bool", "digits", "object", "unicode", "long"],
)
def test_labels_of_any_type_keep_it(saved, y):
    rows = [
        (0, y[0], "wrong", y[1]),
        (1, y[1], "right", y[1]),
        (2, y[2], "wrong", y[3]),
    ]
    expected = y[[1, 1, 3, 3]]
    path = saved(table(*rows))
    reviewed = [path, frame(*rows), pd.read_csv(path, dtype=str, keep_default_na=False)]
    for source in reviewed:
        corrected, _ = apply_corrections(y, source)
        np.testing.assert_array_equal(corrected, expected)
        assert corrected.dtype == y.dtype


def test_numbers_that_a_spreadsheet_or_pandas_made_decimal(saved):
    y = np.array([10, 11, 12])
    text = table((0, "10.0", "wrong", "12.0"), (1, "11", "", ""))
    for source in (saved(text), pd.read_csv(saved(text))):
        assert apply_corrections(y, source)[0].tolist() == [12, 11, 12]


def test_booleans_that_a_spreadsheet_wrote(saved):
    path = saved(table((0, "TRUE", "wrong", "FALSE")))
    assert apply_corrections([True, False], path)[0].tolist() == [False, False]


def test_formulas_stand_behind_an_apostrophe(saved):
    y = np.array(["=1+1", "'quoted", "-minus", "-2", "plain"])
    shown = ["'=1+1", "''quoted", "'-minus", "-2", "plain"]
    assert list(map(with_guard, y)) == shown
    assert list(map(without_guard, shown)) == y.tolist()
    rows = [(i, shown[i], "wrong", shown[(i + 1) % 5]) for i in range(5)]
    corrected, _ = apply_corrections(y, saved(table(*rows)))
    assert corrected.tolist() == np.roll(y, -1).tolist()


def test_the_empty_text_is_no_label(saved):
    with pytest.raises(ValueError, match="empty text is one of the labels"):
        apply_corrections(["cat", ""], saved(table((0, "cat", "right", ""))))


def test_names_of_folders_that_are_no_text(saved):
    y = np.array([os.fsdecode(b"caf\xe9"), "cat"])  # in Latin-1
    text = table((1, "cat", "wrong", "caf\\udce9"), (0, "caf\\udce9", "right", ""))
    corrected, _ = apply_corrections(y, saved(text))
    assert corrected.tolist() == [y[0], y[0]]
    text = table((0, "a\\x00b", "wrong", "cat"))
    assert apply_corrections(["a\0b", "cat"], saved(text))[0].tolist() == ["cat"] * 2


@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_a_series_stays_one(saved, dtype):
    y = pd.Series(Y, index=list("vwxyz"), name="label", dtype=dtype)
    corrected, _ = apply_corrections(y, saved(table(*ROWS)))
    pd.testing.assert_series_equal(
        corrected, pd.Series(CORRECTED, index=y.index, name="label", dtype=dtype)
    )
    assert y.tolist() == Y


def test_index_of_the_frame_counts_when_it_has_that_name():
    reviewed = frame(*ROWS).set_index("index")
    assert apply_corrections(Y, reviewed)[0].tolist() == CORRECTED
    with pytest.raises(ValueError, match="lacks the columns 'index'"):
        apply_corrections(Y, reviewed.rename_axis(None))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((5, "cat", "right", ""), "index in line 2 is 5, but y has 5 labels"),
        ((-1, "cat", "right", ""), "line 2 is '-1', no position"),
        (("1E+05", "cat", "right", ""), r"'1E\+05', no position.*spreadsheet"),
        ((1.5, "cat", "right", ""), "'1.5', no position"),
        (("", "cat", "right", ""), "'', no position"),
        ((0, "dog", "right", ""), "sample 0 is labelled 'cat', not 'dog'"),
        ((0, "Cat", "right", ""), "sample 0 is labelled 'cat', not 'Cat'"),
        ((0, "cat", "ok", ""), "mark in line 2 is 'ok'"),
        ((0, "cat", "", "dog"), "corrected label in line 2, 'dog', but no mark"),
        ((0, "cat", "wrong", "dgo"), "'dgo', is none of the labels of y"),
        ((0, "cat", "unsure", "dgo"), "'dgo', is none of the labels of y"),
        ((0, "cat", "right", "dog"), "marked 'right', but corrected to 'dog'"),
        ((0, "cat", "wrong", "cat"), "marked 'wrong', but corrected to what it is"),
    ],
)
def test_rows_that_do_not_fit_are_refused(saved, row, message):
    with pytest.raises(ValueError, match=message):
        apply_corrections(Y, saved(table(row)))


def test_one_sample_twice(saved):
    rows = [(0, "cat", "right", ""), (2, "cat", "right", ""), (0, "cat", "unsure", "")]
    with pytest.raises(ValueError, match="Index 0 appears twice, in line 2 and line 4"):
        apply_corrections(Y, saved(table(*rows)))


def test_other_data_or_another_order(saved):
    path = saved(table(*ROWS))
    with pytest.raises(ValueError, match="4 of 5 given labels are not those of y"):
        apply_corrections(["dog", "cat", "cat", "dog", "eel"], path)


def test_a_file_that_was_added_since(saved):
    """The labels of a sorted folder fit, one sample further, too."""
    y, before = ["cat", "cat", "dog"], ["cat/1.png", "cat/3.png", "dog/2.png"]
    text = "index,path,given_label,mark,corrected_label\n0,cat/1.png,cat,wrong,dog\n"
    for paths in (before, np.array(before), pd.Series(before, index=[7, 8, 9])):
        assert apply_corrections(y, saved(text), paths=paths)[0][0] == "dog"
    now = ["cat/0.png", *before]
    assert apply_corrections(["cat", *y], saved(text))[0][0] == "dog"
    with pytest.raises(
        ValueError, match=r"0 is 'cat/0\.png', but 'cat/1\.png' in line"
    ):
        apply_corrections(["cat", *y], saved(text), paths=now)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        apply_corrections(y, saved(text), paths=now)
    with pytest.raises(ValueError, match="lacks the columns 'path'"):
        apply_corrections(y, frame((0, "cat", "wrong", "dog")), paths=before)


@pytest.mark.parametrize("in_table", ["", "sub/", "/data/photos/"])
@pytest.mark.parametrize("given", ["", "./", "photos/"])
def test_folders_in_front_of_all_paths(saved, in_table, given):
    """A list has paths from its own folder, an audit from where it ran."""
    names = ["cat/1.png", "cat/2.png", "dog/1.png"]
    rows = [f"{i},{in_table}{n},{n[:3]},right," for i, n in enumerate(names)]
    text = "index,path,given_label,mark,corrected_label\n" + "\n".join(rows)
    y, paths = [name[:3] for name in names], [given + name for name in names]
    if (in_table, given) == ("sub/", "photos/"):  # neither has more in front
        with pytest.raises(ValueError, match="Sample 0 is 'photos/cat/1.png'"):
            apply_corrections(y, saved(text), paths=paths)
        return
    assert apply_corrections(y, saved(text), paths=paths)[0].tolist() == y


def test_folders_in_front_of_some_paths(saved):
    text = "index,path,given_label,mark,corrected_label\n"
    text += "0,a/1.png,cat,right,\n1,b/1.png,cat,right,\n"
    for paths in (["a/1.png", "1.png"], ["1.png", "1.png"], ["x/a/1.png", "b/1.png"]):
        with pytest.raises(ValueError, match="Sample 1 is .*, but 'b/1.png' in"):
            apply_corrections(["cat", "cat"], saved(text), paths=paths)


def test_leading_zeros_that_a_spreadsheet_removed(saved):
    path = saved(table((0, "7", "wrong", "12")))
    with pytest.raises(ValueError, match="labelled '007', not '7'.*leading zeros"):
        apply_corrections(["007", "12"], path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "lacks the columns 'index', 'given_label'.*it has none"),
        (table(header=HEADER[:-1]), "lacks the columns 'corrected_label'"),
        (table(header=[*HEADER[:-1], "mark"]), "lacks the columns 'corrected_label'"),
        (table(header=[*HEADER, "mark"]), r"several columns named \['mark'\]"),
        (table(*ROWS).encode("utf-16-le")[:-1], "is not text in UTF-8"),
        (table((0, "é", "right", "")).encode("cp1252"), "is not text in UTF-8"),
        (b"PK\x03\x04\xff\xfe xlsx", "exported as CSV"),
        (table() + "0,a,b.png,cat,dog,0.5,right,cat\r\n", "has 8 cells.*7 columns"),
        (table() + '0,"x"y,cat,dog,0.5,right,cat\r\n', "is no CSV"),
        ('"' + table().strip() + '"', "lacks the columns"),
    ],
)
def test_damaged_files(saved, text, message):
    with pytest.raises(ValueError, match=message):
        apply_corrections(Y, saved(text))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        apply_corrections(Y, tmp_path / "none.csv")


def test_neither_file_nor_table():
    with pytest.raises(TypeError, match="path of a CSV file or a DataFrame, not list"):
        apply_corrections(Y, [1, 2])


def test_missing_labels():
    with pytest.raises(ValueError, match="missing labels"):
        apply_corrections(["cat", None], frame())


def test_nullable_labels_are_what_they_are():
    y = pd.Series([True, False, True], dtype="boolean")
    row = {"index": [1], "given_label": [False], "mark": ["wrong"]}
    corrected, _ = apply_corrections(
        y, pd.DataFrame({**row, "corrected_label": [True]})
    )
    assert corrected.dtype == "boolean"
    assert corrected.tolist() == [True, True, True]


def test_verified_labels_are_those_that_were_decided(saved):
    rows = [
        (0, "cat", "right", ""),
        (1, "cat", "wrong", "dog"),
        (2, "dog", "unsure", ""),
        (3, "dog", "wrong", ""),
        (4, "cat", "", ""),
    ]
    y = ["cat", "cat", "dog", "dog", "cat", "cat"]
    expected = ["cat", "dog", None, None, None, None]
    found = verified_labels(y, saved(table(*rows)))
    assert found.dtype == object and found.tolist() == expected
    numbers = verified_labels([5, 7, 7], saved(table((1, "7", "wrong", "5"))))
    assert numbers.tolist() == [None, 5, None]
    with pytest.raises(ValueError, match="not those of y"):
        verified_labels(["dog", *y[1:]], saved(table(*rows)))
