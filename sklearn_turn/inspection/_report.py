"""One HTML file to review the suspects in: no network, any browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from numbers import Real
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _num_samples

from ..labels import check_labels
from ..pipelines import take_apart
from ..saving.files import write_text
from ._found import Found
from ._pictures import image_source
from ._report_data import report_data
from ._tables import check_not_empty
from ._thumbnails import thumbnails

_SCRIPTS = ("elements.js", "charts.js", "marks.js", "gallery.js", "main.js")


def export_report(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    path: str | os.PathLike[str],
    *,
    max_megabytes: float = 20,
) -> Path:
    """Write a page on which people review the labels that look wrong.

    One HTML file with all that belongs to it: it loads nothing, and opens in any
    browser of this decade. It shows the estimated noise, by class and by pair of
    classes, and every suspect with its given and its suggested label. Whoever looks at
    them marks each as right, wrong or unsure; the marks are kept in that browser and
    downloaded as a CSV file, which :func:`apply_corrections` reads.

    Parameters
    ----------
    estimator : classifier, Pipeline or search
        Fitted on ``X`` and ``y``, with cleansing: a TURNClassifier, another classifier
        of this library, a NoiseFilteredClassifier, a pipeline that ends with one, a
        search that found one; or a NoiseChannelFilter fitted to ``y``.
    X : images, file paths, a dataset or features
        As given to ``fit``. Features, and inputs other than images, are listed
        without pictures.
    y : array-like of shape (n_samples,)
        The given labels.
    path : path-like
        File to write, usually ending with ".html". One that exists is replaced, but
        only by a complete one.
    max_megabytes : float, default=20
        Size of the file, in 10^6 bytes. Pictures are made smaller, and those of the
        samples least likely to be wrong left out, until they fit; the page says how
        many. Text is never left out, some 120 bytes for each suspect.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it was fitted without cleansing or on other samples or labels, a label is
        the empty text, or ``max_megabytes`` is not positive.
    FileNotFoundError, IsADirectoryError
        If ``path`` is a folder, or in one that does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import NoiseFilteredClassifier
    >>> from sklearn_turn.inspection import export_report
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = NoiseFilteredClassifier().fit(X, y_noisy)
    >>> folder = tempfile.mkdtemp()
    >>> export_report(clf, X, y_noisy, folder + "/report.html").name
    'report.html'
    """
    target = _checked_path(path)
    if not (isinstance(max_megabytes, Real) and max_megabytes > 0):
        raise ValueError(f"max_megabytes must be positive, not {max_megabytes!r}.")
    found = Found.of(take_apart(estimator)[1])
    check_not_empty(found.classes)
    check_labels(y)
    labels = np.ravel(np.asarray(y))
    n = len(found.given)
    if len(labels) != n or not np.array_equal(labels, found.given):
        raise ValueError(
            f"y are not the {n} labels that the {type(found.estimator).__name__} was "
            "fitted with. Pass the labels and samples given to fit, in their order. Of "
            "new samples there is the table of label_issues(estimator, X, y), and a "
            "page with NoiseChannelFilter().fit(np.log(estimator.predict_proba(X)), y) "
            "as estimator."
        )
    source = image_source(X)
    n_samples = _num_samples(X if source is None else source)
    if n_samples != n:
        raise ValueError(
            f"X has {n_samples} samples, but there are {n} labels. Pass the samples "
            "and labels given to fit, in their order."
        )
    suspects = found.suspects()
    data = report_data(found, source, X, suspects)
    if source is not None:
        frame = len(_page(data).encode()) + 4 * len(suspects)  # quotes and commas
        room = int(1e6 * max_megabytes) - frame
        data["pictures"], data["pixels"] = thumbnails(source, suspects.tolist(), room)
    write_text(target, _page(data))
    return target


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder. Pass the file to write: "
            f"{str(target / 'report.html')!r}."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(target.parent)!r} to write {target.name!r} into. "
            "Make it first."
        )
    return target


def _page(data: dict[str, Any]) -> str:
    """The whole HTML document."""
    folder = files("sklearn_turn.inspection").joinpath("page")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    style = read("report.css")
    script = "\n".join(map(read, _SCRIPTS))
    # Nothing is loaded, and no script or style runs but these two.
    policy = (
        f"default-src 'none'; img-src data:; script-src {_hash(script)}; "
        f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    return Template(read("report.html")).substitute(
        title=html.escape(data["title"]),
        policy=html.escape(policy, quote=True),
        style=style,
        script=script,
        data=_json(data),
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON that stays JSON inside of a script element, whatever labels hold."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
