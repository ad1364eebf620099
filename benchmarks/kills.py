"""Fits that are killed at random moments, and gone on with.

``python -m benchmarks.kills``: the default method on scikit-learn's digits with the
backbone that ships with the package. Each trial kills a fit (SIGKILL) at a moment drawn
evenly from its length, starts it again and compares predictions with those of a fit
that nothing stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.common import save, table
from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import Embedder
from sklearn_turn.noise import symmetric
from sklearn_turn.saving.checkpoint import EpochCheckpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--n", type=int, default=1500, help="images")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    # Processes fork from one that has imported all and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.common", "sklearn_turn.turn"])

    def start(name: str, checkpoint: Path | None) -> Any:
        process = context.Process(target=fit, args=(args.n, checkpoint, folder / name))
        process.start()
        return process

    def run(name: str, checkpoint: Path | None) -> dict[str, Any]:
        process = start(name, checkpoint)
        process.join()
        assert process.exitcode == 0
        return dict(np.load(folder / f"{name}.npz"))

    def passes(name: str) -> NDArray[np.float64]:
        return np.fromfile(folder / name, dtype=np.int64) / args.n

    whole, kept = run("whole", None), run("kept", folder / "of kept")
    rng = np.random.RandomState(0)
    trials = []
    for k in range(args.kills):
        there, killed, resumed = folder / f"fit{k}", f"killed{k}", f"resumed{k}"
        while True:
            process = start(killed, there)
            while not (folder / killed).exists():
                time.sleep(0.001)
            time.sleep(rng.uniform(0, float(kept["seconds"])))
            process.kill()
            process.join()
            if process.exitcode:
                break
            # It had ended before, and would count as gone on with.
            shutil.rmtree(there)
            (folder / killed).unlink()
        proba = run(resumed, there)["proba"]
        lost = passes(killed) + passes(resumed) - passes("whole")
        trials.append(
            {
                "done_when_killed": passes(killed).tolist(),
                "lost": lost.tolist(),
                "equal_bits": bool((proba == whole["proba"]).all()),
            }
        )
        print(k + 1, trials[-1], flush=True)
        shutil.rmtree(there)
    shutil.rmtree(folder)
    lost = np.array([trial["lost"] for trial in trials])
    share = float(kept["writing"] / kept["seconds"])
    n_equal = sum(trial["equal_bits"] for trial in trials)
    rows = [
        ["ended with the same bits", f"{n_equal} of {len(trials)}"],
        *(
            [f"passes {what} done twice: mean, most", _mean_and_most(lost[:, i])]
            for i, what in enumerate(["without gradients", "of training"])
        ),
        ["share of a fit that goes into checkpoints", f"{100 * share:.1f} %"],
    ]
    save(
        "kills",
        {"n": args.n, "share_of_seconds": share, "trials": trials},
        "# Fits that are killed and gone on with\n\n"
        f'{args.n} digits, the backbone "letters" (340,000 parameters), four epochs. '
        "Each trial is a fit that is killed at a moment drawn evenly from its length, "
        "and called again. Passes are of the backbone over all images; an epoch has "
        "one of training and one without gradients.\n\n" + table(["", ""], rows),
    )


def _mean_and_most(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.2f}, {values.max():.2f}"


def fit(n: int, folder: Path | None, out: Path) -> None:
    """One fit; writes predictions and seconds, and counts passes as it goes."""
    torch.set_num_threads(1)
    digits = load_digits()
    X, y = digits.images[:n] / 16, symmetric(digits.target[:n], 0.3, random_state=0)
    clf = TURNClassifier("letters", augment=None, random_state=0, checkpoint=folder)
    # In a file, so that they outlive the process.
    counts = np.memmap(out, dtype=np.int64, mode="w+", shape=2)
    writing = [0.0]
    embed, on_epoch_end = Embedder.embed_inputs, EpochCheckpoint.on_epoch_end

    def counted(self: Embedder, images: torch.Tensor) -> torch.Tensor:
        found = embed(self, images)
        counts[int(self.training and torch.is_grad_enabled())] += len(images)
        return found

    def timed(*args: Any, **kwargs: Any) -> None:
        start = time.monotonic()
        on_epoch_end(*args, **kwargs)
        writing[0] += time.monotonic() - start

    start = time.monotonic()
    with (
        mock.patch.object(EpochCheckpoint, "on_epoch_end", timed),
        mock.patch.object(Embedder, "embed_inputs", counted),
    ):
        clf.fit(X, y)
    seconds = time.monotonic() - start
    proba = clf.predict_proba(X)
    np.savez(f"{out}.npz", proba=proba, seconds=seconds, writing=writing[0])


if __name__ == "__main__":
    main()
