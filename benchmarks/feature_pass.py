"""The feature pass against its bounds, and what the cache saves.

Throughput from in-memory uint8 images is compared with the bare backbone on tensors
that are ready on the device; throughput from JPEG files with the slower of decoding
alone and forward alone. Backbone passes of a grid search are counted, and a second fit
with a warm cache is timed against the first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV

from benchmarks.common import counted_passes, save, table
from sklearn_turn import TURNClassifier
from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.inputs import as_source
from sklearn_turn.parameters import RunParameters
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.inference import forward_all

BATCH = 64


def rates(sides: dict[str, Callable[[], Any]], n: int, repeat: int) -> dict[str, float]:
    """Images per second of each side, run in turn; the median."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(repeat):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: n / statistics.median(t) for name, t in times.items()}


def throughput(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    runtime = Runtime.of(RunParameters(batch_size=BATCH, num_workers="auto"))
    backbone = load_backbone(
        args.backbone, pretrained=False, input_size=args.input_size
    )
    embed = make_embedder(backbone, runtime.dtype, raw=False).to(runtime.device).eval()
    rng = np.random.RandomState(0)
    small = rng.randint(0, 256, (args.n, 32, 32, 3), dtype=np.uint8)
    paths = []
    for i in range(args.n):
        coarse = rng.randint(0, 256, (8, 8, 3), dtype=np.uint8)
        paths.append(str(folder / f"{i}.jpg"))
        Image.fromarray(coarse).resize((256, 256)).save(paths[-1], quality=90)
    files = as_source(paths).sized_for(embed.transform.resized)
    ready = torch.randn(BATCH, 3, backbone.input_size, backbone.input_size).to(
        runtime.device, memory_format=torch.channels_last
    )

    def bare() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(
                runtime.device.type, runtime.dtype, enabled=runtime.dtype is not None
            ),
        ):
            for start in range(0, args.n, BATCH):
                embed.backbone(ready[: min(BATCH, args.n - start)])

    def decode() -> None:
        for start in range(0, args.n, BATCH):
            files.load(range(start, min(start + BATCH, args.n)))

    sides = {
        "bare forward": bare,
        "in-memory images": lambda: forward_all(embed, as_source(small), runtime),
        "decoding JPEG files": decode,
        "JPEG files": lambda: forward_all(embed, files, runtime),
    }
    return rates(sides, args.n, args.repeat)


def cache_savings(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, (args.n, 32, 32, 3), dtype=np.uint8)
    y = rng.randint(0, 4, args.n)
    model = TURNClassifier(
        args.backbone,
        pretrained=False,
        input_size=args.input_size,
        fft_epochs=0,
        memory=str(folder / "fit"),
        random_state=0,
    )
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        model.fit(X, y)
        seconds.append(time.perf_counter() - start)
    small = X[:200]
    search = GridSearchCV(
        model.set_params(memory=str(folder / "search")),
        {"tau": [0.5, 0.6, 0.7], "lp_epochs": [2, 5, 10]},
        cv=5,
    )
    with counted_passes() as passes:
        search.fit(small, y[:200])
    return {
        "first fit (s)": seconds[0],
        "second fit (s)": seconds[1],
        "backbone passes per image of a 3 x 3 grid in 5 folds": passes.forward / 200,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # random labels give poor mixtures
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rate = throughput(args, folder)
        saved = cache_savings(args, folder)
    slower = min(rate["bare forward"], rate["decoding JPEG files"])
    # On a CPU decoding and forward share the cores: they add up.
    together = 1 / (1 / rate["bare forward"] + 1 / rate["decoding JPEG files"])
    ratios = {
        "in-memory images / bare forward": rate["in-memory images"]
        / rate["bare forward"],
        "JPEG files / slower of decoding and forward": rate["JPEG files"] / slower,
        "JPEG files / both on the same cores": rate["JPEG files"] / together,
        "second fit / first fit, seconds": saved["second fit (s)"]
        / saved["first fit (s)"],
    }
    text = "\n\n".join(
        [
            "# Feature pass and cache",
            f"{args.n} images through {args.backbone} at {args.input_size} px; JPEG "
            f"files of 256 px; medians of {args.repeat} runs in turn.",
            table(["", "images/s"], [[k, f"{v:.0f}"] for k, v in rate.items()]),
            table(["ratio", ""], [[k, f"{v:.2f}"] for k, v in ratios.items()]),
            table(["cache", ""], [[k, f"{v:.2f}"] for k, v in saved.items()]),
        ]
    )
    save("feature_pass", {"rate": rate, "ratios": ratios, "cache": saved}, text)


if __name__ == "__main__":
    main()
