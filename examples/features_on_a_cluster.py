"""Features of many files on a cluster, into one store; then a fit that reads them.

    python examples/features_on_a_cluster.py dask
    python examples/features_on_a_cluster.py ray

The features stay in the store: no worker sends any back. What was computed when a
worker dies is kept, and running the script again computes only the rest.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from sklearn_turn import FeatureExtractor, TURNClassifier


def store_features(paths, backbone, memory):
    """What a worker does with its part of the files."""
    FeatureExtractor(backbone, memory=memory).fit_transform(paths)


def with_dask(paths, backbone, memory, client, n_parts=8):
    parts = [part.tolist() for part in np.array_split(paths, n_parts)]
    done = client.map(store_features, parts, backbone=backbone, memory=memory)
    client.gather(done)


class StoreFeatures:
    """The same for Ray Data; the backbone is loaded once per worker."""

    def __init__(self, example, backbone, memory):
        self.extract = FeatureExtractor(backbone, memory=memory).fit([example])

    def __call__(self, batch):
        self.extract.transform(batch["path"].tolist())
        return {"stored": np.array([len(batch["path"])])}


def with_ray(paths, backbone, memory, n_workers=2):
    import ray

    rows = ray.data.from_items([{"path": path} for path in paths])
    stored = rows.map_batches(
        StoreFeatures,
        fn_constructor_args=(paths[0], backbone, memory),
        batch_size=64,
        concurrency=n_workers,
        num_cpus=1,  # num_gpus=1 on machines with GPUs
    )
    assert stored.sum("stored") == len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["dask", "ray"])
    args = parser.parse_args()
    digits = load_digits(n_class=5)
    with tempfile.TemporaryDirectory() as folder:
        # On several machines: paths that all of them see, and so is the store's.
        paths = [str(Path(folder, f"{i}.png")) for i in range(len(digits.images))]
        for path, image in zip(paths, digits.images, strict=True):
            Image.fromarray((image * 15).astype(np.uint8)).save(path)
        memory = str(Path(folder, "features"))
        if args.engine == "dask":
            from dask.distributed import Client, LocalCluster

            with (
                LocalCluster(
                    2, threads_per_worker=1, dashboard_address=None
                ) as cluster,
                Client(cluster) as client,
            ):
                with_dask(paths, "letters", memory, client)
        else:
            import ray

            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            with_ray(paths, "letters", memory)
            ray.shutdown()
        clf = TURNClassifier("letters", fft_epochs=0, memory=memory, random_state=0)
        clf.fit(paths, digits.target)
        print(f"{(~clf.clean_mask_).sum()} of {len(paths)} labels look wrong")


if __name__ == "__main__":
    main()
