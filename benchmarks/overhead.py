"""What the library costs over plain torch loops that train the same thing.

Feature pass, probe and fine-tuning apart: the same batches, transforms, precision and
optimisers, once through the library and once in a loop written for the comparison.
Each is timed in turn, several times, and the ratio of the medians is reported. Peak
memory is that of a fresh process per side.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import peak_memory_mb, save, table
from sklearn_turn.backbones import load_backbone, make_embedder
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.inputs import as_source
from sklearn_turn.losses import generalized_cross_entropy
from sklearn_turn.parameters import RunParameters
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.inference import forward_all

CLASSES = 10


def images(n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, (n, side, side, 3), dtype=np.uint8)
    return X, rng.randint(0, CLASSES, n)


def settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "backbone": args.backbone,
        "pretrained": False,
        "input_size": args.input_size,
        "crop_pct": 1.0,
        "random_state": 0,
    }


def embedder(args: argparse.Namespace) -> tuple[nn.Module, Runtime]:
    runtime = Runtime.of(RunParameters(batch_size=64, num_workers=0))
    backbone = load_backbone(
        args.backbone, pretrained=False, input_size=args.input_size, crop_pct=1.0
    )
    embed = make_embedder(backbone, runtime.dtype, raw=False, augment="light")
    return embed.to(runtime.device), runtime


def raw_batches(X: np.ndarray, indices: np.ndarray, size: int, device: Any) -> Any:
    for start in range(0, len(indices), size):
        batch = torch.from_numpy(X[indices[start : start + size]])
        yield start, batch.permute(0, 3, 1, 2).to(device)


def feature_pass(args: argparse.Namespace) -> tuple[Callable, Callable]:
    X, _ = images(args.n, 32)
    embed, runtime = embedder(args)
    source = as_source(X)

    def plain() -> torch.Tensor:
        embed.eval()
        out = torch.empty(len(X), embed.backbone_width)
        with torch.inference_mode():
            for start, batch in raw_batches(X, np.arange(len(X)), 64, runtime.device):
                out[start : start + 64] = embed(batch)
        return out

    return lambda: forward_all(embed, source, runtime), plain


def probe(args: argparse.Namespace) -> tuple[Callable, Callable]:
    n, width, epochs, size = 20 * args.n, 384, 20, 128
    rng = np.random.RandomState(0)
    X = rng.randn(n, width).astype(np.float32)
    y = rng.randint(0, CLASSES, n)
    model = LinearProbing(loss="gce", random_state=0)

    def plain() -> None:
        Z, t = torch.from_numpy(X), torch.from_numpy(y)
        mean, std = Z.mean(0), Z.std(0, correction=0)
        head = nn.Linear(width, CLASSES)
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=1e-3, weight_decay=0.0, fused=True
        )
        steps, step = epochs * math.ceil(n / size), 0
        for epoch in range(epochs):
            for rows in torch.randperm(n).split(size):
                for group in optimizer.param_groups:
                    group["lr"] = 5e-4 * (1 + math.cos(math.pi * step / steps))
                step += 1
                logits = head((Z[rows] - mean) / std)
                q = 0.0 if epoch < 2 else 0.7
                loss = generalized_cross_entropy(logits, t[rows], q).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

    return lambda: model.fit(X, y), plain


def fine_tuning(args: argparse.Namespace) -> tuple[Callable, Callable]:
    X, y = images(args.n, 32)
    epochs, size = 2, 64
    model = FullFineTuning(fft_epochs=epochs, fft_batch_size=size, **settings(args))

    def plain() -> None:
        embed, runtime = embedder(args)
        head = nn.Linear(embed.backbone_width, CLASSES)
        net = nn.Sequential(embed, head).to(runtime.device)
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=1e-4, weight_decay=1e-4, fused=True
        )
        t = torch.from_numpy(y).to(runtime.device)
        net.train()
        for _ in range(epochs):
            order = np.random.permutation(len(X))
            for start, batch in raw_batches(X, order, size, runtime.device):
                rows = torch.from_numpy(order[start : start + size])
                loss = nn.functional.cross_entropy(net(batch), t[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

    return lambda: model.fit(X, y), plain


PARTS = {"feature pass": feature_pass, "probe": probe, "fine-tuning": fine_tuning}


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    ours, plain = PARTS[name](args)
    ours(), plain()  # warm up
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(args.repeat):
        times["ours"].append(seconds(ours))
        times["plain"].append(seconds(plain))
    # Interference only ever adds time, so the fastest runs are compared as well.
    return {
        "part": name,
        "seconds": times,
        "ratio": statistics.median(times["ours"]) / statistics.median(times["plain"]),
        "ratio_of_fastest": min(times["ours"]) / min(times["plain"]),
        "peak_memory_mb": {
            side: peak_memory(name, side, args) for side in ("ours", "plain")
        },
    }


def peak_memory(name: str, side: str, args: argparse.Namespace) -> float:
    """Peak resident memory of a fresh process that runs one side once."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--only", name]
    command += ["--side", side]
    for option in ("n", "backbone", "input_size", "threads"):
        command += ["--" + option.replace("_", "-"), str(getattr(args, option))]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(out.stdout.splitlines()[-1])["peak_mb"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--side", choices=["ours", "plain"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.side:
        dict(zip(("ours", "plain"), PARTS[args.only](args), strict=True))[args.side]()
        print(json.dumps({"peak_mb": peak_memory_mb()}))
        return
    rows = [measure(name, args) for name in PARTS if args.only in (None, name)]
    body = [
        [
            r["part"],
            f"{statistics.median(r['seconds']['ours']):.2f}",
            f"{statistics.median(r['seconds']['plain']):.2f}",
            f"{r['ratio']:.2f}",
            f"{r['ratio_of_fastest']:.2f}",
            f"{r['peak_memory_mb']['ours'] / r['peak_memory_mb']['plain']:.2f}",
        ]
        for r in rows
    ]
    header = ["part", "ours (s)", "plain loop (s)", "ratio of medians"]
    text = (
        "# Overhead over plain torch loops\n\n"
        f"{args.n} images of 32 px at {args.input_size} px through {args.backbone}; "
        f"{20 * args.n} rows of 384 features for the probe; {args.repeat} repetitions "
        "in turn; peak resident memory of a fresh process per side.\n\n"
        + table([*header, "ratio of fastest", "ratio of peak memory"], body)
    )
    save("overhead", {"settings": vars(args), "parts": rows}, text)


if __name__ == "__main__":
    main()
