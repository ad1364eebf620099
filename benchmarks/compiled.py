"""What ``compile=True`` gains in passes and training steps, and what it costs at first.

Seconds of the core, in turn and on the same images; the best of several runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, table
from sklearn_turn.backbones import Embedder, load_backbone, make_embedder
from sklearn_turn.inputs import as_source
from sklearn_turn.parameters import RunParameters
from sklearn_turn.training.device import Runtime
from sklearn_turn.training.inference import forward_all

Works = dict[str, Callable[[], Any]]


def works(embed: Embedder, images: np.ndarray, runtime: Runtime) -> Works:
    source = as_source(images)
    batch = source.load(range(runtime.batch_size)).to(runtime.device)

    def train() -> None:
        embed.train()
        embed(batch).square().mean().backward()
        embed.zero_grad(set_to_none=True)

    return {"pass": lambda: forward_all(embed, source, runtime), "step": train}


def seconds(work: Callable[[], Any]) -> float:
    # On a GPU by the clock: the core is idle.
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    runtime = Runtime.of(
        RunParameters(batch_size=args.batch_size, precision=args.precision)
    )
    shape = (args.n, args.input_size, args.input_size, 3)
    images = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    sides: dict[str, Works] = {}
    for name in ("plain", "compiled"):
        backbone = load_backbone(
            args.backbone, pretrained=False, input_size=args.input_size
        )
        embed = make_embedder(
            backbone, runtime.dtype, raw=False, compile=name == "compiled"
        )
        sides[name] = works(embed.to(runtime.device), images, runtime)
    clock = time.perf_counter()
    first = {work: seconds(sides["compiled"][work]) for work in ("pass", "step")}
    clock = time.perf_counter() - clock
    found: dict[str, dict[str, list[float]]] = {"pass": {}, "step": {}}
    for _ in range(args.repeat):
        for name, both in sides.items():
            for work, run in both.items():
                found[work].setdefault(name, []).append(seconds(run))
    best = {work: {k: min(v) for k, v in t.items()} for work, t in found.items()}
    speed_up = {work: t["plain"] / t["compiled"] for work, t in best.items()}
    text = "\n\n".join(
        [
            "# Compiled backbones",
            f"{args.backbone} at {args.input_size} px, {args.precision}: a pass of "
            f"{args.n} images, a training step of {args.batch_size}. The best of "
            f"{args.repeat} runs in turn; compiling took {clock:.0f} seconds of the "
            "clock.",
            table(
                ["", "plain (s)", "compiled (s)", "speed-up", "first run (s)"],
                [
                    [
                        work,
                        f"{best[work]['plain']:.3f}",
                        f"{best[work]['compiled']:.3f}",
                        f"{speed_up[work]:.2f}",
                        f"{first[work]:.0f}",
                    ]
                    for work in best
                ],
            ),
        ]
    )
    payload = {
        "settings": vars(args),
        "seconds": best,
        "speed-up": speed_up,
        "first run": first,
        "compiling, by the clock": clock,
    }
    save("compiled", payload, text)


if __name__ == "__main__":
    main()
