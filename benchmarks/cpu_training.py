"""Training throughput on a CPU: float32, plain bfloat16 autocast, and the library's.

Autocast alone trains many backbones no faster than float32, because the backward pass
of fused attention and of grouped convolutions in bfloat16 is slow. The library leaves
those two out.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import torch

from benchmarks.common import save, table
from sklearn_turn.backbones import embedder, load_backbone, make_embedder

# Backbone, input side, batch size.
CASES = [
    ("vit_base_patch16_224", 224, 8),
    ("convnext_tiny", 224, 16),
    ("resnet50", 224, 16),
    ("vit_tiny_patch16_224", 224, 64),
    ("mobilenetv2_100", 224, 32),
    ("vit_tiny_patch16_224", 96, 16),
    ("mobilenetv2_100", 96, 16),
]


def plain_autocast(device: str, dtype: torch.dtype | None, *, training: bool):
    """What the library would do if it did nothing about it."""
    return torch.autocast(device, dtype, enabled=dtype is not None)


SIDES = {
    "float32": (None, plain_autocast),
    "plain autocast": (torch.bfloat16, plain_autocast),
    "library": (torch.bfloat16, embedder.autocast),
}


def steps(name: str, side: int, size: int) -> dict:
    """A training step of each side, all on the same batch."""
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8)

    def make(dtype, autocast):
        backbone = load_backbone(name, pretrained=False, input_size=side, crop_pct=1.0)
        embed = make_embedder(backbone, dtype, raw=False, augment="light")
        optimizer = torch.optim.AdamW(embed.parameters(), lr=1e-4, fused=True)
        embed.train()

        def step():
            with mock.patch.object(embedder, "autocast", autocast):
                embed(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return {label: make(*options) for label, options in SIDES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records, rows = [], []
    for name, side, size in CASES:
        seconds = {label: [] for label in SIDES}
        for step in (todo := steps(name, side, size)).values():
            step()
        for _ in range(args.repeat):
            for label, step in todo.items():
                start = time.perf_counter()
                step()
                seconds[label].append(time.perf_counter() - start)
        rate = {label: size / min(times) for label, times in seconds.items()}
        case = {"backbone": name, "input_size": side, "batch_size": size}
        records.append({**case, "seconds": seconds, "images_per_second": rate})
        ours = rate["library"]
        ratios = [ours / rate["float32"], ours / rate["plain autocast"]]
        rows.append(
            [name, side, size]
            + [f"{r:.1f}" for r in rate.values()]
            + [f"{r:.2f}" for r in ratios]
        )
        print(rows[-1], flush=True)
    text = (
        "# Training on a CPU\n\n"
        "Images per second of a whole training step (forward, backward, optimiser), "
        f"fastest of {args.repeat} steps in turn; random weights.\n\n"
    )
    header = ["backbone", "pixels", "batch", *SIDES]
    header += ["library / float32", "library / plain autocast"]
    amx = torch.cpu._is_amx_tile_supported()
    bf16 = torch.cpu._is_avx512_bf16_supported()
    kind = "amx" if amx else "avx512_bf16" if bf16 else "plain"
    save(f"cpu_training_{kind}", {"cases": records}, text + table(header, rows))


if __name__ == "__main__":
    main()
