"""Search for the settings of fine-tuning, with the engine of your choice.

Nothing here searches: scikit-learn, Optuna and Ray Tune do. This is what they are
given, the axes along which the paper tuned every backbone, and news of each epoch. See
"Searching" in the user guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

from scipy.stats import loguniform, uniform
from skorch.callbacks import Callback

from .backbones.names import BackboneLike, check_backbone
from .backbones.recipes import ALIASES, DEFAULT, converted_rate
from .training.net import history

__all__ = ["ReportEpoch", "space", "suggest"]

_OPTIMIZERS = ("adamw", "sgd")


def space(
    backbone: BackboneLike,
    *,
    engine: str = "scikit-learn",
    optimizer: str | None = None,
) -> dict[str, Any]:
    """The axes along which the paper tuned each backbone, as an engine takes them.

    Learning rate, weight decay, optimiser and batch size of fine-tuning (section 5.1),
    and the threshold tau. The paper's ranges are not available; these surround the
    backbone's own settings.

    Parameters
    ----------
    backbone : str, Module or callable
        As for :class:`~sklearn_turn.TURNClassifier`.
    engine : {"scikit-learn", "optuna", "ray"}, default="scikit-learn"
        Lists and SciPy's distributions, for ``RandomizedSearchCV``; Optuna's
        distributions, for ``OptunaSearchCV``, ``Study.ask`` and :func:`suggest`; or the
        search space of Ray Tune.
    optimizer : {"adamw", "sgd"}, default=None
        None searches over both, and so over all learning rates of either, most of
        which suit one only: with few trials, name one.

    Returns
    -------
    dict of str to distribution
        One entry per parameter:

        - ``fft_lr``, log-uniform: a factor of 10 to both sides of the backbone's own;
        - ``fft_weight_decay``, log-uniform from 1e-6 to 1e-2;
        - ``fft_optimizer``: the two, or the one that was named;
        - ``fft_batch_size``: 32, 64 or 128;
        - ``tau``, uniform from 0.5 to 0.95.

        It can be changed, and entries added.

    Raises
    ------
    ValueError
        For an unknown backbone, engine or optimiser.
    ImportError
        If the engine is not installed; the message says how to.

    See Also
    --------
    suggest : The parameters of one of Optuna's trials.

    Examples
    --------
    >>> from sklearn.model_selection import RandomizedSearchCV
    >>> from sklearn_turn import TURNClassifier
    >>> from sklearn_turn.search import space
    >>> axes = space("convnext_t", optimizer="adamw")
    >>> sorted(axes)
    ['fft_batch_size', 'fft_lr', 'fft_optimizer', 'fft_weight_decay', 'tau']
    >>> low, high = axes["fft_lr"].support()
    >>> print(f"{low:g} to {high:g}")
    1e-05 to 0.001
    >>> search = RandomizedSearchCV(
    ...     TURNClassifier("convnext_t", memory="features"), axes, n_iter=20, cv=3
    ... )
    """
    if engine not in _ENGINES:
        raise ValueError(
            f"Unknown engine {engine!r}. Use one of {', '.join(map(repr, _ENGINES))}."
        )
    if optimizer not in (*_OPTIMIZERS, None):
        raise ValueError(
            f"Unknown optimizer {optimizer!r}. Use 'adamw', 'sgd' or None for both."
        )
    axes = _ENGINES[engine]()
    optimizers = _OPTIMIZERS if optimizer is None else (optimizer,)
    rates = [_learning_rate(backbone, name) for name in optimizers]
    return {
        "fft_lr": axes.log_uniform(min(rates) / 10, max(rates) * 10),
        "fft_weight_decay": axes.log_uniform(1e-6, 1e-2),
        "fft_optimizer": axes.among(list(optimizers)),
        "fft_batch_size": axes.among([32, 64, 128]),
        "tau": axes.uniform(0.5, 0.95),
    }


def suggest(trial: Any, space: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one of Optuna's trials, for an objective function.

    Parameters
    ----------
    trial : optuna.trial.Trial
    space : mapping of str to optuna distribution
        As ``space(backbone, engine="optuna")`` returns.

    Returns
    -------
    dict
        What ``set_params`` of the estimator takes.

    Raises
    ------
    TypeError
        If the space is another engine's.
    ImportError
        If Optuna is not installed.

    Examples
    --------
    ::

        def objective(trial):
            clf = TURNClassifier("vit_b16", memory="features", random_state=0)
            clf.set_params(**suggest(trial, space("vit_b16", engine="optuna")))
            return clf.fit(paths, y).score(validation_paths, y_validation)
    """
    known = _optuna_distributions()
    values = {}
    for name, axis in space.items():
        if isinstance(axis, known.CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, axis.choices)
        elif isinstance(axis, known.FloatDistribution | known.IntDistribution):
            is_float = isinstance(axis, known.FloatDistribution)
            draw = trial.suggest_float if is_float else trial.suggest_int
            values[name] = draw(name, axis.low, axis.high, step=axis.step, log=axis.log)
        else:
            raise TypeError(
                f"{name!r} is {axis!r}, which is no distribution of Optuna's. Use "
                "space(backbone, engine='optuna')."
            )
    return values


class ReportEpoch(Callback):
    """skorch callback that passes on the numbers of each epoch as it ends.

    With it an engine follows a fit, and may stop it early. It goes into ``fft_params``,
    where ``train_split`` adds a loss on held-out samples to the numbers, and skorch's
    ``EpochScoring`` any score, if it stands before this one. For Optuna there is
    ``SkorchPruningCallback`` in ``optuna-integration``.

    Parameters
    ----------
    report : callable
        Called with a dict of str to float: the numbers that ``history_`` will hold of
        the epoch; after a warm start ``epoch`` counts those of this fit alone. What it
        raises ends the fit. ``ray.tune.report`` will do, or ``mlflow.log_metrics``.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import TURNClassifier
    >>> from sklearn_turn.search import ReportEpoch
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> seen = []
    >>> fft_params = {"callbacks": [ReportEpoch(seen.append)]}
    >>> clf = TURNClassifier(fft_params=fft_params, random_state=0).fit(X, y)
    >>> [numbers["epoch"] for numbers in seen]
    [1.0, 2.0, 3.0, 4.0]
    """

    def __init__(self, report: Callable[[dict[str, float]], Any]):
        self.report = report

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        record = history({"fine-tune": net})[-1]
        self.report({k: float(v) for k, v in record.items() if isinstance(v, Real)})


def _learning_rate(backbone: BackboneLike, optimizer: str) -> float:
    """The backbone's own, converted to another optimiser where need be."""
    check_backbone(backbone)
    recipe = ALIASES.get(backbone, DEFAULT) if isinstance(backbone, str) else DEFAULT
    return converted_rate(recipe.lr, recipe.optimizer, optimizer)


class _Axes(NamedTuple):
    """The distributions of an engine."""

    among: Callable[[list[Any]], Any]
    uniform: Callable[[float, float], Any]
    log_uniform: Callable[[float, float], Any]


def _of_scikit_learn() -> _Axes:
    return _Axes(list, lambda low, high: uniform(low, high - low), loguniform)


def _of_optuna() -> _Axes:
    known = _optuna_distributions()
    log_uniform = partial(known.FloatDistribution, log=True)
    return _Axes(known.CategoricalDistribution, known.FloatDistribution, log_uniform)


def _optuna_distributions() -> Any:
    try:
        from optuna import distributions
    except ImportError as error:
        raise _missing("optuna") from error
    return distributions


def _of_ray() -> _Axes:
    try:
        from ray import tune
    except ImportError as error:
        raise _missing("ray") from error
    return _Axes(tune.choice, tune.uniform, tune.loguniform)


def _missing(engine: str) -> ImportError:
    return ImportError(
        f"A search space of {engine} needs {engine}: "
        f"pip install 'sklearn-turn[{engine}]'."
    )


_ENGINES = {"scikit-learn": _of_scikit_learn, "optuna": _of_optuna, "ray": _of_ray}
