"""One grid search on three engines: joblib's own processes, Dask and Ray.

    python examples/search_engines.py loky
    python examples/search_engines.py dask
    python examples/search_engines.py ray

Only the lines that start the workers differ. They share one feature cache: each image
passes through the backbone once, whatever the folds, candidates and workers.
"""

import argparse
import contextlib
import tempfile
import time

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_turn import TURNClassifier
from sklearn_turn.noise import symmetric


@contextlib.contextmanager
def on_loky(n_workers):
    with joblib.parallel_config("loky", n_jobs=n_workers):
        yield


@contextlib.contextmanager
def on_dask(n_workers):
    from dask.distributed import Client, LocalCluster

    # Client("tcp://scheduler:8786") for a cluster that runs already.
    options = {"n_workers": n_workers, "threads_per_worker": 1}
    with (
        LocalCluster(**options, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextlib.contextmanager
def on_ray(n_workers):
    import ray
    from ray.util.joblib import register_ray

    # ray.init("auto") for a cluster that runs already.
    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=n_workers):
            yield
    finally:
        ray.shutdown()


ENGINES = {"loky": on_loky, "dask": on_dask, "ray": on_ray}


def search(X, y, memory, backbone="letters"):
    """Search on the engine of the surrounding block, or in this process."""
    model = TURNClassifier(
        backbone, noise_filter="gmm", fft_epochs=0, memory=memory, random_state=0
    )
    grid = {"tau": [0.5, 0.8], "lp_epochs": [5, 20]}
    return GridSearchCV(model, grid, cv=3).fit(X, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    digits = load_digits(n_class=5)
    X = digits.images / 16
    y = symmetric(digits.target, 0.3, random_state=0)
    # Absolute, and for several machines on a disk that all of them see.
    with tempfile.TemporaryDirectory() as memory:
        with ENGINES[args.engine](args.workers):
            start = time.perf_counter()
            found = search(X, y, memory)
        print(
            f"{args.engine}: {time.perf_counter() - start:.1f} s, {found.best_params_}"
        )


if __name__ == "__main__":
    main()
