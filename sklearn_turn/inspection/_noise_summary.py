"""How much noise there is, and between which classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..labels import log_frequencies
from ..pipelines import take_apart
from ._found import Found, filter_of
from ._tables import import_pandas, labels_as_text
from ._transition import estimated_transitions

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

# Of the normal distribution, for intervals of 95 %.
_Z = 1.959964
# Of the information on the noise rate. Where all labels look right alike, none seems to
# be known of the rate, though it is next to nothing.
_MOST_MISSING = 0.95
_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class NoiseSummary:
    """How many labels are wrong, and which classes are confused.

    Made by :func:`noise_summary`; printing it shows the main numbers.

    Attributes
    ----------
    n_samples : int
        Samples that could be read.
    n_label_issues : int
        Labels that look wrong.
    noise_rate : float
        Estimated share of wrong labels.
    interval : tuple of float
        Its lower and upper end: 95 %, if the probabilities are right; NaN for methods
        without probabilities. See the Notes of :func:`noise_summary`.
    agreement : float or None
        Share of the given labels that the model predicts, where the filter tells it.
    per_class : DataFrame
        One row per class: ``n_samples`` given this label, ``n_label_issues`` among
        them, ``noise_rate`` with ``lower`` and ``upper`` end, and ``n_suggested``, the
        samples that should have this label. Rates of a label never given are NaN.
    transition_matrix : DataFrame
        Share of the samples of each class, by row, that are given each label.
    confused_pairs : DataFrame
        ``given_label``, ``suggested_label``, ``n_samples``, and ``share`` of the
        samples given this label; the most frequent pair first.
    """

    n_samples: int
    n_label_issues: int
    noise_rate: float
    interval: tuple[float, float]
    agreement: float | None
    per_class: pd.DataFrame
    transition_matrix: pd.DataFrame
    confused_pairs: pd.DataFrame

    def __repr__(self) -> str:
        low, high = self.interval
        sure = (
            "its scores are no probabilities, so that nobody knows how sure this is"
            if np.isnan(low)
            else f"{low:.1%} to {high:.1%} if the model's probabilities are right"
        )
        lines = [
            f"{self.n_label_issues} of {self.n_samples} labels look wrong",
            f"estimated share of wrong labels: {self.noise_rate:.1%} ({sure})",
        ]
        if not self.n_label_issues and self.noise_rate < 0.01 and high > 0.05:
            lines.append(
                f"none is flagged, but up to {high:.0%} may be wrong: too few samples, "
                "or too poor predictions, to tell"
            )
        if self.noise_rate >= 0.01:
            lines.append(
                "there may be more: mistakes that depend on the sample, as people make "
                "them, are partly learned by models"
            )
        if self.agreement is not None:
            lines.append(
                f"the model predicts {self.agreement:.0%} of the given labels; the "
                "others are wrong, or the model is"
            )
        counts = self.per_class["n_samples"].to_numpy()
        codes = np.repeat(np.arange(len(counts)), counts)
        if log_frequencies(codes, len(counts)) is not None:
            lines.append(
                "some labels are far more frequent than others: that a rare one was "
                "often missed may not show"
            )
        pairs = self.confused_pairs
        if len(pairs):
            lines.append("given label -> suggested label: samples")
        lines += [
            f"  {row.given_label} -> {row.suggested_label}: {row.n_samples}"
            for row in pairs.head(_SHOWN).itertuples()
        ]
        if len(pairs) > _SHOWN:
            lines.append(f"  and {len(pairs) - _SHOWN} more pairs")
        return "\n".join(lines)


def noise_summary(estimator: Any) -> NoiseSummary:
    r"""How many of the labels given to ``fit`` are wrong, and which are confused.

    Parameters
    ----------
    estimator : classifier, Pipeline or search
        Fitted, with cleansing: a TURNClassifier, a NoiseFilteredClassifier, another
        classifier that selects labels, a pipeline that ends with one, or a search that
        found one; or a NoiseChannelFilter.

    Returns
    -------
    NoiseSummary

    Raises
    ------
    ImportError
        If pandas is not installed.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it has not looked for wrong labels.

    Notes
    -----
    With q_i the probability that label i is right, the number of wrong labels has a
    Poisson binomial distribution with mean :math:`\sum_i (1 - q_i)` and variance
    :math:`\sum_i q_i (1 - q_i)`. The rate r behind these probabilities was estimated
    from the same samples, which widens the interval by :math:`1/\sqrt{1 - \lambda}`;
    :math:`\lambda`, the mean of :math:`q_i (1 - q_i)` divided by r (1 - r), is the
    share of the information on r that is missing [1]_, counted up to 0.95. The interval
    of a channel that found the rate, before fine-tuning or now, also holds its
    ``noise_rate_interval_``, for which the temperature is not taken for known either.

    The interval covers what the predictions leave open, not what the classifier has
    wrong: of predictions that are not calibrated, the true rate lies outside in more
    than 5 % of the cases. The rate is too low
    where a classifier has learned the wrong labels: mistakes that depend on the image,
    as people make them, are partly learned by any. That of the mixture, which parts
    easy from hard samples where all labels are right, too, is no estimate at low noise.
    The scores by which CORES, ELRPlus and UNICON select are no probabilities. Their
    rate is the share of labels they do not select, or what their filter says of it, and
    there is no interval.

    The transition matrix is the one the filter estimated, or else counted from
    suggested and given labels. The pairs are counted.

    References
    ----------
    .. [1] Orchard and Woodbury, "A missing information principle: theory and
       applications", Proc. 6th Berkeley Symposium, 1972.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import NoiseFilteredClassifier
    >>> from sklearn_turn.inspection import noise_summary
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.7)
    >>> y_noisy = symmetric(y, 0.2, random_state=0)
    >>> clf = NoiseFilteredClassifier(noise_filter="channel", cv=5).fit(X, y_noisy)
    >>> found = noise_summary(clf)
    >>> bool(abs(found.noise_rate - 0.2) < 0.03)
    True
    >>> found.n_label_issues, len(found.confused_pairs)
    (62, 6)
    """
    pd = import_pandas()
    _, classifier = take_apart(estimator)
    found = Found.of(classifier)
    classes = pd.Index(labels_as_text(found.classes), name="label")
    n, used = len(classes), found.used
    given = found.codes(found.given[used])
    suggested = found.codes(found.suggested[used])
    issue = found.is_issue[used]
    rate, *interval = overall_rate(found)
    rates, lowers, uppers = rates_of_classes(found)
    return NoiseSummary(
        n_samples=len(given),
        n_label_issues=int(issue.sum()),
        noise_rate=rate,
        interval=(interval[0], interval[1]),
        agreement=getattr(filter_of(found.estimator), "agreement_", None),
        per_class=pd.DataFrame(
            {
                "n_samples": np.bincount(given, minlength=n),
                "n_label_issues": np.bincount(given[issue], minlength=n),
                "noise_rate": rates,
                "lower": lowers,
                "upper": uppers,
                "n_suggested": np.bincount(suggested, minlength=n),
            },
            index=classes,
        ),
        transition_matrix=pd.DataFrame(
            estimated_transitions(classifier),
            index=classes.rename("true"),
            columns=classes.rename("given"),
        ),
        confused_pairs=_pairs(pd, given, suggested, classes),
    )


def overall_rate(found: Found) -> tuple[float, float, float]:
    """Share of wrong labels, and the ends of its interval; NaN where none is known."""
    n_used = int(found.used.sum())
    rate, low, high = (
        float(v[0]) for v in _noise_rates(found, np.zeros(n_used, np.intp), 1)
    )
    fitted = filter_of(found.estimator)
    if found.scores_only:
        return float(getattr(fitted, "noise_rate_", rate)), low, high
    # The channel's own, which does not take its temperature for known.
    least, most = getattr(fitted, "noise_rate_interval_", (rate, rate))
    return rate, min(low, least), max(high, most)


def rates_of_classes(found: Found) -> tuple[Floats, Floats, Floats]:
    """Of each given class the share of wrong labels, and the ends of its interval."""
    given = found.codes(found.given[found.used])
    return _noise_rates(found, given, len(found.classes))


def _noise_rates(
    found: Found, groups: NDArray[np.intp], n_groups: int
) -> tuple[Floats, Floats, Floats]:
    """Share of wrong labels in each group of the used samples, and of its interval."""
    if found.scores_only:
        issues = np.bincount(
            groups, weights=found.is_issue[found.used], minlength=n_groups
        )
        with np.errstate(invalid="ignore"):
            shares = issues / np.bincount(groups, minlength=n_groups)
        unknown = np.full(n_groups, np.nan)
        return shares, unknown, unknown
    quality = found.quality[found.used]
    variances = quality * (1 - quality)
    rate = 1 - quality.mean()
    missing = variances.mean() / (rate * (1 - rate)) if 0 < rate < 1 else 0.0
    missing = min(missing, _MOST_MISSING)
    size = np.bincount(groups, minlength=n_groups)
    variance = np.bincount(groups, weights=variances, minlength=n_groups)
    with np.errstate(invalid="ignore"):
        rates = np.bincount(groups, weights=1 - quality, minlength=n_groups) / size
        half = _Z * np.sqrt(np.maximum(variance, 0) / (1 - missing)) / size
    return rates, np.maximum(rates - half, 0.0), np.minimum(rates + half, 1.0)


def _pairs(
    pd: Any, given: NDArray[np.intp], suggested: NDArray[np.intp], classes: Any
) -> pd.DataFrame:
    n = len(classes)
    counts = np.bincount(given * n + suggested, minlength=n * n).reshape(n, n)
    sizes = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    rows, columns = np.nonzero(counts)
    order = np.argsort(-counts[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    number = counts[rows, columns]
    return pd.DataFrame(
        {
            "given_label": classes[rows].to_numpy(),
            "suggested_label": classes[columns].to_numpy(),
            "n_samples": number,
            "share": number / sizes[rows],
        }
    )
