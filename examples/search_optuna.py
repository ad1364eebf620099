"""Optuna: trials that are pruned epoch by epoch, or its search as an estimator.

python examples/search_optuna.py            # study.optimize, with pruning
python examples/search_optuna.py --cv       # OptunaSearchCV
"""

import argparse
import tempfile

import optuna
from optuna_integration import OptunaSearchCV, SkorchPruningCallback
from sklearn.datasets import load_digits
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit

from sklearn_turn import TURNClassifier
from sklearn_turn.noise import symmetric
from sklearn_turn.search import space, suggest


def tune(X, y, memory, n_trials=6, backbone="letters"):
    """A study in which each trial is one fit, scored on a fifth of the samples."""

    def objective(trial):
        followed = [
            EpochScoring("accuracy", name="valid_acc", lower_is_better=False),
            SkorchPruningCallback(trial, "valid_acc"),
        ]
        clf = TURNClassifier(
            backbone,
            augment=None,  # a mirrored digit is no digit
            fft_epochs=3,
            memory=memory,
            random_state=0,
            fft_params={
                "train_split": ValidSplit(5, stratified=True),
                "callbacks": followed,
            },
        )
        clf.set_params(**suggest(trial, space(backbone, engine="optuna")))
        clf.fit(X, y)
        return clf.history_[-1]["valid_acc"]

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    study.optimize(objective, n_trials=n_trials)
    return study


def search(X, y, memory, n_trials=4, backbone="letters"):
    """An estimator that is its own best candidate, as scikit-learn's searches are."""
    model = TURNClassifier(
        backbone, augment=None, fft_epochs=1, memory=memory, random_state=0
    )
    axes = space(backbone, engine="optuna", optimizer="adamw")
    return OptunaSearchCV(model, axes, cv=2, n_trials=n_trials, random_state=0).fit(
        X, y
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cv", action="store_true")
    args = parser.parse_args()
    digits = load_digits(n_class=3)
    X, y = digits.images / 16, symmetric(digits.target, 0.3, random_state=0)
    with tempfile.TemporaryDirectory() as memory:
        if args.cv:
            found = search(X, y, memory)
            print(f"{found.best_score_:.1%} of noisy labels: {found.best_params_}")
        else:
            study = tune(X, y, memory)
            pruned = [t for t in study.trials if t.state.name == "PRUNED"]
            print(f"{len(pruned)} of {len(study.trials)} trials were pruned")
            print(f"{study.best_value:.1%} of noisy labels: {study.best_params}")


if __name__ == "__main__":
    main()
