"""Feature pass and one fit over folders of many small files, in bounded memory.

Each size runs in a fresh process, which reports its peak memory; the growth from the
smallest to the largest is what scales with the number of images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import peak_memory_mb, save, table
from sklearn_turn import TURNClassifier
from sklearn_turn.datasets import load_image_folder

CLASSES = 10


def write_folder(root: Path, n: int, side: int) -> None:
    """Write n JPEG files in one subfolder per class; each class has its own tint."""
    rng = np.random.RandomState(0)
    tints = rng.randint(64, 192, (CLASSES, 1, 1, 3))
    for code in range(CLASSES):
        (root / f"class{code}").mkdir(parents=True)
    for i in range(n):
        code = i % CLASSES
        pixels = tints[code] + rng.randint(-64, 64, (side, side, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(
            root / f"class{code}" / f"{i:07}.jpg"
        )


def one_fit(root: Path, memory: Path) -> dict[str, float]:
    warnings.simplefilter("ignore", UserWarning)
    start = time.perf_counter()
    data = load_image_folder(root)
    listed = time.perf_counter()
    y = data.target
    rng = np.random.RandomState(0)
    wrong = rng.rand(len(y)) < 0.2
    y = np.where(wrong, rng.randint(0, CLASSES, len(y)), y)
    model = TURNClassifier(
        "letters", lp_epochs=5, fft_epochs=1, memory=str(memory), random_state=0
    ).fit(data.data, y)
    return {
        "n": len(y),
        "listing_s": listed - start,
        "fit_s": time.perf_counter() - listed,
        "n_train": model.history_[-1]["n_train"],
        "peak_mb": peak_memory_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--run", type=Path, nargs=2, help="internal: folder, memory")
    args = parser.parse_args()
    if args.run:
        print(json.dumps(one_fit(*args.run)))
        return
    rows = []
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            write_folder(root / "images", n, args.side)
            command = [sys.executable, "-m", "benchmarks.scale", "--run"]
            command += [str(root / "images"), str(root / "memory")]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(out.stdout.splitlines()[-1]))
            stored = sum(f.stat().st_size for f in (root / "memory").rglob("*.sqlite3"))
            rows[-1]["cache_mb"] = stored / 2**20
            print(rows[-1], flush=True)
    growth = rows[-1]["peak_mb"] - rows[0]["peak_mb"]
    per_image = 2**20 * growth / (rows[-1]["n"] - rows[0]["n"])
    header = ["images", "listing (s)", "fit (s)", "trained on", "peak memory (MB)"]
    body = [
        [
            r["n"],
            f"{r['listing_s']:.1f}",
            f"{r['fit_s']:.0f}",
            r["n_train"],
            f"{r['peak_mb']:.0f}",
            f"{r['cache_mb']:.0f}",
        ]
        for r in rows
    ]
    text = (
        "# Many small files\n\n"
        f"JPEG files of {args.side} px, the small backbone that ships with the package "
        "(128 features), 5 epochs of probing and 1 of fine-tuning, features cached on "
        "disk; a fresh process per size.\n\n"
        + table([*header, "cache (MB)"], body)
        + f"\n\nPeak memory grows by {growth:.0f} MB, {per_image:.0f} bytes per image."
    )
    save("scale", {"rows": rows}, text)


if __name__ == "__main__":
    main()
