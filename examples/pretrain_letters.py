"""Pre-train the small backbone that the demo fine-tunes.

The demo needs a backbone that has learned to see strokes but has never seen a
digit, and it must work offline. This script renders the letters A-Z and a-z in the
free fonts that come with matplotlib, distorts them (slant, stretch, bend, stroke
width, blur, low resolution, noise), and trains a tiny timm model to name them. The
classifier is then thrown away and the rest written as a safetensors file::

    python examples/pretrain_letters.py --out letters.safetensors

Digits are never rendered. A few letters do look like some (O and 0, l and 1), as
they would in any collection of text.

Load the result with ``timm.create_model(name, num_classes=0)`` and feed it three
equal channels normalised with mean 0.5 and standard deviation 0.5, the strokes
bright on a dark ground.
"""

from __future__ import annotations

import argparse
import string
import time
from pathlib import Path

import matplotlib
import numpy as np
import timm
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

# Fonts that map the letters to something else: brackets, symbols, placeholders.
SYMBOL_FONTS = {"cmex10", "cmsy10", "LastResortHE-Regular"}

# Upper and lower case have the same shape here, and the size is random: one class.
SAME_IN_BOTH_CASES = set("COSVWXZ")

CANVAS = 48  # side of the rendered letters, before they are brought to --size


def letter_fonts() -> list[Path]:
    """Find the fonts bundled with matplotlib that have every letter."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    wanted = {ord(letter) for letter in string.ascii_letters}
    return [
        path
        for path in sorted(folder.glob("*.ttf"))
        if path.stem not in SYMBOL_FONTS
        and wanted <= FT2Font(path).get_charmap().keys()
    ]


def render(letter: str, font: Path) -> np.ndarray:
    """Draw a letter, bright on dark, centred, as large as 7/8 of the canvas."""
    large = ImageFont.truetype(font, 3 * CANVAS)
    left, top, right, bottom = large.getbbox(letter)
    glyph = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(glyph).text((-left, -top), letter, fill=255, font=large)
    scale = 0.875 * CANVAS / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(
        glyph.resize((width, height)), ((CANVAS - width) // 2, (CANVAS - height) // 2)
    )
    return np.asarray(canvas, dtype=np.float32) / 255


def render_alphabet(fonts: list[Path]) -> tuple[Tensor, Tensor]:
    """Draw all letters in all fonts: images (n, 1, CANVAS, CANVAS) and classes."""
    letters = string.ascii_letters
    names = [c.upper() if c.upper() in SAME_IN_BOTH_CASES else c for c in letters]
    classes = sorted(set(names))
    images = [render(letter, font) for font in fonts for letter in letters]
    labels = [classes.index(name) for name in names] * len(fonts)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)


def uniform(n: int, low: float, high: float, *, generator: torch.Generator) -> Tensor:
    """Draw n numbers, shaped to multiply a batch of images."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def warp(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, slant, stretch, shift and bend each image differently."""
    n = len(x)

    def draw(low: float, high: float) -> Tensor:
        return uniform(n, low, high, generator=generator).view(n)

    angle, slant = draw(-0.3, 0.3), draw(-0.35, 0.35)
    cos, sin = angle.cos(), angle.sin()
    # The matrix maps output to input: dividing by less than one shrinks the letter.
    width, height = draw(0.65, 1.3), draw(0.75, 1.15)
    rows = [
        torch.stack([cos / width, (slant - sin) / width, draw(-0.15, 0.15)], dim=1),
        torch.stack([sin / height, cos / height, draw(-0.15, 0.15)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    # A smooth random displacement turns printed strokes into something less regular.
    bend = torch.randn(n, 2, 4, 4, generator=generator)
    bend = bend * uniform(n, 0.0, 0.12, generator=generator)
    bend = F.interpolate(bend, size=x.shape[-2:], mode="bicubic", align_corners=False)
    return F.grid_sample(x, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def restroke(x: Tensor, generator: torch.Generator) -> Tensor:
    """Make the strokes of a third of the images thicker, of another third thinner."""
    kind = torch.randint(3, (len(x), 1, 1, 1), generator=generator)
    thicker = F.max_pool2d(x, 3, stride=1, padding=1)
    thinner = -F.max_pool2d(-x, 3, stride=1, padding=1)
    return torch.where(kind == 0, thicker, torch.where(kind == 1, thinner, x))


def degrade(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Lower the resolution to 8 to `size` pixels, add noise, bring to `size`."""
    parts = []
    for part in x.chunk(4):  # the resolution is drawn per chunk: one resize for many
        choice = torch.randint(4, (), generator=generator)
        side = (8, 8, 12, size)[int(choice)]
        part = F.interpolate(part, size=(side, side), mode="area")
        # Bright strokes of varying strength: low resolution greys thin ones.
        peak = part.amax(dim=(2, 3), keepdim=True).clamp_min(0.1)
        part = part / peak * uniform(len(part), 0.7, 1.6, generator=generator)
        noise = torch.randn(part.shape, generator=generator)
        part = part + noise * uniform(len(part), 0.0, 0.12, generator=generator)
        parts.append(
            F.interpolate(
                part.clamp(0, 1), size=(size, size), mode="bilinear", antialias=True
            )
        )
    return torch.cat(parts)


def make_batch(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Distort a batch of clean letters and normalise it as the backbone expects."""
    x = degrade(restroke(warp(x, generator), generator), size, generator)
    return ((x - 0.5) / 0.5).expand(-1, 3, -1, -1)


def pretrain(args: argparse.Namespace) -> nn.Module:
    """Train the model with a classifier of letters on top; return the two as one."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    images, labels = render_alphabet(letter_fonts())
    model = timm.create_model(args.model, num_classes=int(labels.max()) + 1)
    model.train()
    n_steps = args.samples // args.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=args.lr, total_steps=args.epochs * n_steps, pct_start=0.1
    )
    start = time.perf_counter()
    for epoch in range(args.epochs):
        right = 0
        for _ in range(n_steps):
            drawn = torch.randint(len(images), (args.batch_size,), generator=generator)
            scores = model(make_batch(images[drawn], args.size, generator))
            # Smoothed, since distortion makes some letters impossible to tell apart.
            loss = F.cross_entropy(scores, labels[drawn], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            right += int((scores.argmax(1) == labels[drawn]).sum())
        accuracy = right / (n_steps * args.batch_size)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: accuracy {accuracy:.3f}, {seconds:.0f} s")
    return model


def save_backbone(model: nn.Module, name: str, out: Path, *, size: int) -> None:
    """Write all but the classifier, in half precision, and check that it loads."""
    backbone = timm.create_model(name, num_classes=0)
    trained = model.state_dict()
    weights = {key: trained[key] for key in backbone.state_dict()}
    for key, value in weights.items():
        if value.is_floating_point():
            weights[key] = value.half().contiguous()
    metadata = {
        "timm_name": name,
        "trained_on": "rendered letters",
        "input_size": f"3 {size} {size}",
        "mean": "0.5 0.5 0.5",
        "std": "0.5 0.5 0.5",
        "license": "BSD-3-Clause",
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, out, metadata=metadata)
    backbone.load_state_dict(load_file(out))
    print(f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Read the command line, train, write."""
    parser = argparse.ArgumentParser(
        description="Pre-train the demo's small backbone on rendered letters.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("letters.safetensors"))
    parser.add_argument("--model", default="test_convnext3", help="a timm model name")
    parser.add_argument("--size", type=int, default=32, help="image side in pixels")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=25_000, help="images per epoch")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = pretrain(args)
    save_backbone(model, args.model, args.out, size=args.size)


if __name__ == "__main__":
    main()
