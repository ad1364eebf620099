"""Sums of a normalised loss that learns and a bounded one that withstands."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, expm1

from .base import SampleLoss, at_label, check_range, expectation, log_proba
from .entropy import LOG_ZERO

Term = Callable[..., Tensor]


def _ce(log_p: Tensor, q: float, a: float) -> Tensor:
    return -log_p


def _gce(log_p: Tensor, q: float, a: float) -> Tensor:
    return -expm1(q * log_p) / q if q else -log_p


def _mae(log_p: Tensor, q: float, a: float) -> Tensor:
    return -expm1(log_p)


def _rce(log_p: Tensor, q: float, a: float) -> Tensor:
    return LOG_ZERO * expm1(log_p)


def _agce(log_p: Tensor, q: float, a: float) -> Tensor:
    return ((a + 1) ** q - (a + log_p.exp()) ** q) / q


def _aul(log_p: Tensor, q: float, a: float) -> Tensor:
    return ((a - log_p.exp()) ** q - (a - 1) ** q) / q


def _ael(log_p: Tensor, q: float, a: float) -> Tensor:
    return (-log_p.exp() / a).exp()


#: Terms of a sum, by name: the first are normalised, the second as they are.
ACTIVE: dict[str, Term] = {"nce": _ce, "ngce": _gce}
PASSIVE: dict[str, Term] = {
    "rce": _rce,
    "mae": _mae,
    "agce": _agce,
    "aul": _aul,
    "ael": _ael,
}


class ActivePassiveLoss(SampleLoss):
    """An active and a passive loss of each sample, alpha * first + beta * second.

    An active loss asks for the probability of the label only, and learns well; divided
    by its sum over all labels k it also withstands wrong ones:

    - NCE = log p_y / sum_k log p_k
    - NGCE = (1 - p_y^q) / sum_k (1 - p_k^q)

    Alone such a loss underfits. A passive one pushes the other probabilities down:

    - MAE = 1 - p_y
    - RCE = -log(1e-4) (1 - p_y)

    or is asymmetric, and withstands label noise as long as the true label is the most
    frequent one:

    - AGCE = ((a + 1)^q - (a + p_y)^q) / q
    - AUL = ((a - p_y)^q - (a - 1)^q) / q
    - AEL = exp(-p_y / a)

    The loss of a soft label is the expectation over the label.

    Parameters
    ----------
    terms : str, default="nce+rce"
        "nce" or "ngce", a plus sign and "rce", "mae", "agce", "aul" or "ael".
    alpha, beta : float, default=1.0
        Weights of the two terms.
    q : float, default=0.7
        Exponent: of NGCE, in [0, 1] (0 is NCE); of AGCE and AUL, positive.
    a : float, default=6.0
        Of AGCE and AEL, positive; of AUL, greater than 1.

    Raises
    ------
    ValueError
        If there are no such terms, or a parameter is out of its range.

    Notes
    -----
    MAE is half the absolute error sum_k abs(p_k - y_k), as in the published code, so
    that published weights apply. That code bounds p by 1e-7 from below; here log p
    comes from the logits, and needs no bound.

    References
    ----------
    Ma, Huang, Wang, Romano, Erfani and Bailey, "Normalized Loss Functions for Deep
    Learning with Noisy Labels", ICML 2020, equations 3 and 10 (NCE, NGCE, MAE, RCE).

    Zhou, Liu, Jiang, Gao and Ji, "Asymmetric Loss Functions for Learning with Noisy
    Labels", ICML 2021, section 4 (AGCE, AUL, AEL).
    """

    may_collapse = True

    def __init__(
        self,
        terms: str = "nce+rce",
        alpha: float = 1.0,
        beta: float = 1.0,
        q: float = 0.7,
        a: float = 6.0,
    ):
        super().__init__()
        active, _, passive = terms.partition("+")
        if active not in ACTIVE or passive not in PASSIVE:
            raise ValueError(
                f"There is no loss {terms!r}. Join one of {', '.join(ACTIVE)} and one "
                f"of {', '.join(PASSIVE)} by a plus sign."
            )
        if active == "ngce":
            check_range(terms, "q", q, "in [0, 1]", ok=0 <= q <= 1)
        if passive in ("agce", "aul"):
            check_range(terms, "q", q, "> 0", ok=q > 0)
        if passive in ("agce", "ael"):
            check_range(terms, "a", a, "> 0", ok=a > 0)
        if passive == "aul":
            check_range(terms, "a", a, "> 1", ok=a > 1)
        self.terms, self.alpha, self.beta, self.q, self.a = terms, alpha, beta, q, a

    def extra_repr(self) -> str:
        return f"{self.terms!r}, alpha={self.alpha}, beta={self.beta}"

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        active, passive = self.terms.split("+")
        log_p = log_proba(logits)
        of_labels = ACTIVE[active](log_p, self.q, self.a)
        first = at_label(of_labels, target) / of_labels.sum(dim=1)

        def second(log_p: Tensor) -> Tensor:
            return PASSIVE[passive](log_p, self.q, self.a)

        return self.alpha * first + self.beta * expectation(second, log_p, target)
