"""Peak memory of a fit on uint8 images in memory, against the array itself.

Each fit runs in a fresh process; what a fit on a handful of images needs (the
libraries, the model) is subtracted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings

import numpy as np

from benchmarks.common import peak_memory_mb, save, table
from sklearn_turn import TURNClassifier

SIDE = 64


def peak_mb(n: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", "--run", str(n)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(out.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=40_000)
    parser.add_argument("--run", type=int, help="internal: fit on this many images")
    args = parser.parse_args()
    if args.run:
        warnings.simplefilter("ignore", UserWarning)
        rng = np.random.RandomState(0)
        X = np.empty((args.run, SIDE, SIDE, 3), dtype=np.uint8)
        for image in X:
            image[:] = rng.randint(0, 256, 3)
        y = rng.randint(0, 4, len(X))
        TURNClassifier("letters", lp_epochs=2, fft_epochs=1, random_state=0).fit(X, y)
        print(peak_memory_mb())
        return
    few, many = peak_mb(256), peak_mb(args.n)
    array = args.n * SIDE * SIDE * 3 / 2**20
    rows = [
        ["array of images", f"{array:.0f}"],
        ["peak of a fit on 256 images", f"{few:.0f}"],
        [f"peak of a fit on {args.n} images", f"{many:.0f}"],
    ]
    ratio = many / (array + few)
    text = (
        f"# Memory\n\n{args.n} uint8 images of {SIDE} px, one round of TURN with the "
        f"small backbone that ships with the package.\n\n{table(['', 'MB'], rows)}\n\n"
        f"Peak over array plus model and libraries: {ratio:.2f}; growth over the "
        f"array: {(many - few) / array:.2f}."
    )
    numbers = {"array_mb": array, "few_mb": few, "many_mb": many, "ratio": ratio}
    save("memory", numbers, text)


if __name__ == "__main__":
    main()
