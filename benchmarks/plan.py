"""What one image costs, and what a fit of millions of photos will take.

Every cost is measured here, on photos of 500 pixels and features of the size of
ViT-B/16. The plan adds them up for a number of images, classes, decoding processes and
GPUs. Without a GPU, the backbone's rates on one must be given; the defaults are those
timm publishes for ViT-B/16 at 224 pixels on an RTX 3090 under automatic mixed precision
(``results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv`` and
``results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv`` in
huggingface/pytorch-image-models).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.common import save, table
from sklearn_turn import GMMNoiseFilter
from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.baselines import LinearProbing
from sklearn_turn.datasets import load_image_folder
from sklearn_turn.features import FeatureMemory
from sklearn_turn.features.store import FeatureCache
from sklearn_turn.inputs import as_source
from sklearn_turn.parameters import RunParameters
from sklearn_turn.training.device import Runtime

WIDTH, BATCH = 768, 64


def each(run: Callable[[], Any], n: int, repeat: int = 3) -> float:
    """Median seconds per item of a call that handles n of them."""
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / n


def write_photos(folder: Path, n: int) -> list[str]:
    """Crops of two real photos as JPEG files of 500 x 375 pixels, quality 90."""
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.RandomState(0)
    (folder / "class0").mkdir(parents=True)
    paths = []
    for i in range(n):
        left, top = rng.randint(0, 140), rng.randint(0, 52)
        crop = photos[i % 2].crop((left, top, left + 500, top + 375))
        paths.append(str(folder / "class0" / f"{i}.jpg"))
        crop.save(paths[-1], quality=90)
    return paths


def file_costs(folder: Path, n: int) -> dict[str, float]:
    paths = write_photos(folder, n)
    source = as_source(paths)
    source = source.sized_for(224)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    costs = {
        "list a folder": each(lambda: load_image_folder(folder), n),
        "look at a file's header": each(lambda: source.problems(decode=False), n),
        "decode a photo, one core": each(lambda: source.load(range(n)), n),
        "key of a file": each(lambda: source.keys(range(n)), n),
    }
    torch.set_num_threads(threads)
    return costs


def cache_costs(folder: Path, n: int) -> dict[str, float]:
    rows = np.random.RandomState(0).randn(n, WIDTH).astype(np.float32)
    cache = FeatureCache(
        FeatureMemory(folder, dtype="float16"),
        identity={},
        probe=np.zeros((2, WIDTH), np.float32),
        width=WIDTH,
    )
    times, out = [], np.empty_like(rows)
    for repeat in range(3):
        keys = [f"{repeat} {i}".encode() for i in range(n)]
        start = time.perf_counter()
        for block in range(0, n, 1024):
            cache.write(keys[block : block + 1024], rows[block : block + 1024])
        times.append(time.perf_counter() - start)
    return {
        "write a feature": statistics.median(times) / n,
        "read a feature": each(lambda: cache.read(keys, out), n),
    }


def network_costs(args: argparse.Namespace) -> dict[str, float]:
    runtime = Runtime.of(RunParameters(batch_size=BATCH, num_workers=0))
    backbone = load_backbone("vit_base_patch16_224", pretrained=False)
    embed = make_embedder(backbone, runtime.dtype, raw=False, augment="light")
    embed = embed.to(runtime.device)
    size = BATCH if runtime.device.type == "cuda" else 16
    photos = torch.randint(0, 256, (size, 3, 375, 500), dtype=torch.uint8)
    photos = photos.to(runtime.device)
    optimizer = torch.optim.AdamW(embed.parameters(), lr=1e-4, fused=True)

    def forward() -> None:
        embed.eval()
        with torch.inference_mode():
            embed(photos)

    def train() -> None:
        embed.train()
        embed(photos).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    where = "this GPU" if runtime.device.type == "cuda" else "this CPU"
    return {
        f"forward, {where}": each(forward, size),
        f"training step, {where}": each(train, size),
    }


def head_costs(args: argparse.Namespace) -> dict[str, float]:
    n = 20_000
    rng = np.random.RandomState(0)
    y = rng.randint(0, args.classes, n)
    rows = rng.randn(n, WIDTH).astype(np.float32)
    probe = LinearProbing(lp_epochs=2, random_state=0)
    few = 1000  # images per class decide the cost of a mixture, not their number
    labels = np.repeat(np.arange(100), few)
    losses = np.abs(rng.randn(len(labels), 1)) + 3 * rng.randint(
        2, size=(len(labels), 1)
    )
    return {
        "probe, one epoch": each(lambda: probe.fit(rows, y), 2 * n, repeat=1),
        "mixtures": each(lambda: GMMNoiseFilter().fit(losses, labels), len(labels)),
    }


def plan(costs: dict[str, float], args: argparse.Namespace) -> dict[str, float]:
    """Hours of each part of a fit on ``args.gpus`` GPUs."""
    decode = costs["decode a photo, one core"] / args.workers
    gpu = "forward, this GPU" in costs
    forward = costs["forward, this GPU"] if gpu else 1 / args.forward_rate
    training = costs["training step, this GPU"] if gpu else 1 / args.training_rate
    reading, clean = max(decode, forward), args.clean
    per_image = {
        "listing, headers, keys": costs["list a folder"]
        + costs["look at a file's header"]
        + costs["key of a file"],
        # Every GPU brings its own decoding processes.
        "features (1 pass)": reading / args.gpus + costs["write a feature"],
        "probe (20 epochs)": 20 * costs["probe, one epoch"],
        "losses (3 passes)": 3 * reading,
        "mixtures (4 times)": 4 * costs["mixtures"],
        "training (4 epochs on the clean)": 4 * clean * max(decode, training),
    }
    hours = {part: args.images * cost / 3600 for part, cost in per_image.items()}
    return {**hours, "together": sum(hours.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2_400_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--clean", type=float, default=0.6, help="part trained on")
    parser.add_argument("--workers", type=int, default=8, help="decoders per GPU")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--forward-rate", type=float, default=1571)
    parser.add_argument("--training-rate", type=float, default=393)
    parser.add_argument("--n", type=int, default=512, help="photos measured")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        costs = {
            **file_costs(Path(name) / "photos", args.n),
            **cache_costs(Path(name) / "cache", 16384),
            **network_costs(args),
            **head_costs(args),
        }
    counts = args.gpus
    plans = {}
    for args.gpus in counts:
        plans[f"{args.gpus} GPU" + "s" * (args.gpus > 1)] = plan(costs, args)
    micro = [[part, f"{1e6 * cost:.1f}"] for part, cost in costs.items()]
    hours = [
        [part, *(f"{hours[part]:.2f}" for hours in plans.values())]
        for part in next(iter(plans.values()))
    ]
    rates = (
        "The backbone's rates are measured."
        if torch.cuda.is_available()
        else f"The backbone's rates on a GPU are not measured: {args.forward_rate:g} "
        f"images/s forward and {args.training_rate:g} in training, which timm "
        "publishes for ViT-B/16 on an RTX 3090."
    )
    text = (
        "# Costs per image, and the plan for WebVision\n\n"
        f"JPEG photos of 500 x 375 px, ViT-B/16 at 224 px, {args.classes} classes.\n\n"
        + table(["measured", "microseconds per image"], micro)
        + f"\n\n{args.images:,} images, {args.clean:.0%} of them clean, "
        f"{args.workers} decoding processes for every GPU. Features are computed on "
        f"every GPU at once, the rest on one. {rates}\n\n"
        + table(["hours", *plans], hours)
    )
    settings = {**vars(args), "gpus": counts, "cores": os.cpu_count()}
    save("plan", {"settings": settings, "costs": costs, "hours": plans}, text)


if __name__ == "__main__":
    main()
