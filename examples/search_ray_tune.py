"""Ray Tune, as in the paper: trials side by side, the poor ones stopped early.

python examples/search_ray_tune.py
"""

import tempfile

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit

from sklearn_turn import TURNClassifier
from sklearn_turn.noise import symmetric
from sklearn_turn.search import ReportEpoch, space

EPOCHS = 3


def trial(config, X, y, memory, backbone):
    """One fit, scored after each epoch on a fifth of the samples."""
    clf = TURNClassifier(
        backbone,
        augment=None,  # a mirrored digit is no digit
        fft_epochs=EPOCHS,
        memory=memory,
        random_state=0,
        fft_params={
            "train_split": ValidSplit(5, stratified=True),
            "callbacks": [
                EpochScoring("accuracy", name="valid_acc", lower_is_better=False),
                ReportEpoch(tune.report),
            ],
        },
    )
    clf.set_params(**config).fit(X, y)


def search(X, y, memory, results, n_trials=6, backbone="letters"):
    """The trials and what they reported; both folders are absolute paths."""
    data = {"X": X, "y": y, "memory": memory, "backbone": backbone}
    trainable = tune.with_parameters(trial, **data)
    # {"cpu": 4, "gpu": 1} on a machine with GPUs; without "gpu" a trial has none.
    trainable = tune.with_resources(trainable, {"cpu": 1})
    tuner = tune.Tuner(
        trainable,
        param_space=space(backbone, engine="ray"),
        tune_config=tune.TuneConfig(
            metric="valid_acc",
            mode="max",
            num_samples=n_trials,
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=2),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=results, verbose=0),
    )
    return tuner.fit()


def main():
    digits = load_digits(n_class=3)
    X, y = digits.images / 16, symmetric(digits.target, 0.3, random_state=0)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as memory, tempfile.TemporaryDirectory() as out:
        found = search(X, y, memory, out)
        epochs = [result.metrics["epoch"] for result in found]
        print(f"epochs of the trials: {epochs}")
        best = found.get_best_result()
        print(f"{best.metrics['valid_acc']:.1%} of noisy labels: {best.config}")
    ray.shutdown()


if __name__ == "__main__":
    main()
