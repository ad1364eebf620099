"""TURN and plain training on CIFAR-10 images with human label noise (CIFAR-10N).

Reads image files, labels.csv and backbone weights from a folder, see the README of
the benchmarks for its layout. Learning rates of fine-tuning are chosen per method on
noisy labels of images held out from training; the clean labels are used once, for the
numbers reported.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import counted_passes, save, table
from sklearn.base import clone

from sklearn_turn import TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing

# Images for training, held-out noisy validation and clean test; input side; seeds.
SIZES = {
    "smoke": {"train": 300, "valid": 150, "test": 300, "input_size": 64, "seeds": 1},
    "quick": {"train": 400, "valid": 400, "test": 800, "input_size": 96, "seeds": 3},
    "medium": {"train": 800, "valid": 1000, "test": 1000, "input_size": 96, "seeds": 3},
    "full": {
        "train": 10000,
        "valid": 2000,
        "test": 3000,
        "input_size": 224,
        "seeds": 3,
    },
}
BACKBONES = {
    "vit_tiny_patch16_224": "vit_tiny_patch16_224.safetensors",
    "mobilenetv2_100": "mobilenetv2_100.safetensors",
}


def methods(common: dict[str, Any]) -> dict[str, Any]:
    """Name -> unfitted classifier; all share backbone, input size and device."""
    return {
        "linear probing, CE": LinearProbing(loss="ce", **common),
        "linear probing, GCE": LinearProbing(loss="gce", **common),
        "fine-tuning, CE": FullFineTuning(loss="ce", **common),
        "fine-tuning, GCE": FullFineTuning(loss="gce", **common),
        "TURN": TURNClassifier(**common),
    }


def variants(common: dict[str, Any]) -> dict[str, Any]:
    """TURN with one default changed at a time."""
    changes = {
        "TURN": {},
        "TURN, balance=None": {"balance": None},
        "TURN, fft_epochs=10": {"fft_epochs": 10},
        "TURN, fft_epochs=10, balance=None": {"fft_epochs": 10, "balance": None},
        "TURN, tau=0.5": {"tau": 0.5},
        "TURN, batches of 8": {"fft_batch_size": 8},
    }
    return {k: TURNClassifier(**common, **v) for k, v in changes.items()}


class Data:
    """Paths and labels, drawn anew for each seed."""

    def __init__(self, root: Path, noise: str, size: dict[str, int]):
        with open(root / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.root, self.noise, self.size = root, noise, size
        self.train = [row for row in rows if row["split"] == "train"]
        self.test = [row for row in rows if row["split"] == "test"]

    def draw(self, seed: int) -> dict[str, Any]:
        """Paths and labels of one seed: train and valid are disjoint."""
        rng = np.random.RandomState(seed)
        order = rng.permutation(len(self.train))
        n, v, t = (self.size[k] for k in ("train", "valid", "test"))
        train = [self.train[i] for i in order[:n]]
        valid = [self.train[i] for i in order[n : n + v]]
        test = [self.test[i] for i in rng.permutation(len(self.test))[:t]]

        def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
            return np.array([row[name] for row in rows])

        def paths(rows: list[dict[str, str]]) -> list[str]:
            return [str(self.root / row["path"]) for row in rows]

        return {
            "X": paths(train),
            "y": column(train, self.noise),
            "y_clean": column(train, "clean"),
            "X_valid": paths(valid),
            "y_valid_noisy": column(valid, self.noise),
            "X_test": paths(test),
            "y_test": column(test, "clean"),
        }


def fit(model: Any, data: dict[str, Any], seed: int) -> tuple[Any, dict[str, Any]]:
    """Fit a copy once; report its cost and the labels found, not its accuracy."""
    model = clone(model).set_params(random_state=seed)
    with counted_passes() as passes:
        start = time.perf_counter()
        model.fit(data["X"], data["y"])
        seconds = time.perf_counter() - start
    n = len(data["y"])
    row = {
        "seconds": seconds,
        "forward_passes": passes.forward / n,
        "training_passes": passes.training / n,
    }
    if hasattr(model, "clean_mask_"):
        wrong, found = data["y"] != data["y_clean"], ~model.clean_mask_
        row["noise_precision"] = float(wrong[found].mean()) if found.any() else 0.0
        row["noise_recall"] = float(found[wrong].mean())
    return model, row


def measure(
    model: Any, draws: list[dict[str, Any]], rates: Sequence[float | None]
) -> dict[str, Any]:
    """Fit to every draw, and test on clean labels.

    With several rates, at the one with the best mean accuracy on held-out *noisy*
    labels; clean labels are touched after the choice, and only for the chosen rate.
    """
    best, tuning = None, {}
    rates = rates if hasattr(model, "fft_lr") else (None,)
    for lr in rates:
        if lr is not None:
            model.set_params(fft_lr=lr)
        fitted = [fit(model, data, seed) for seed, data in enumerate(draws)]
        valid = [
            clf.score(data["X_valid"], data["y_valid_noisy"])
            for (clf, _), data in zip(fitted, draws, strict=True)
        ]
        if lr is not None:
            tuning[f"{lr:g}"] = valid
            print(f"  {type(model).__name__} at {lr:g}: {np.mean(valid):.3f}")
        if best is None or np.mean(valid) > np.mean(best[0]):
            best = valid, fitted, lr
    assert best is not None
    valid, fitted, lr = best
    runs = []
    for i, ((clf, row), data) in enumerate(zip(fitted, draws, strict=True)):
        accuracy = clf.score(data["X_test"], data["y_test"])
        noisy = {"noisy_validation_accuracy": valid[i]}
        runs.append({"seed": i, "accuracy": accuracy, **noisy, **row})
    chosen = {"fft_lr": lr, "tuning": tuning} if lr is not None else {}
    return {**chosen, "runs": runs}


def run(args: argparse.Namespace, root: Path) -> None:
    size = SIZES[args.size]
    records: list[dict[str, Any]] = []
    text = "Nothing was asked for."
    started = time.perf_counter()
    for name in args.backbones:
        common = {
            "backbone": name,
            "pretrained": str(args.folder / BACKBONES[name]),
            "input_size": size["input_size"],
            "crop_pct": 1.0,
        }
        for noise in args.noise:
            source = Data(root, noise, size)
            draws = [source.draw(seed) for seed in range(size["seeds"])]
            rate = np.mean([np.mean(d["y"] != d["y_clean"]) for d in draws])
            candidates = variants(common) if args.variants else methods(common)
            for label, model in candidates.items():
                if args.methods and not any(m in label for m in args.methods):
                    continue
                record = {
                    "backbone": name,
                    "noise": noise,
                    "noise_rate": float(rate),
                    "method": label,
                    **measure(model, draws, args.rates or [None]),
                }
                records.append(record)
                print(f"{name} {noise} {label}: {summary(record)}", flush=True)
                # After every method: a run that is stopped leaves what it measured.
                text = report(args, records, time.perf_counter() - started)
    print(text)


def summary(record: dict[str, Any]) -> list[str]:
    """Cells of one table row: mean and standard deviation over seeds."""

    def cell(key: str, scale: float = 1.0, digits: int = 1) -> str:
        values = [scale * run[key] for run in record["runs"] if key in run]
        if not values:
            return "–"
        text = f"{np.mean(values):.{digits}f}"
        return text + (f" ± {np.std(values):.{digits}f}" if len(values) > 1 else "")

    cells = [
        cell("accuracy", 100),
        cell("seconds", digits=0),
        f"{cell('forward_passes', digits=2)}".split(" ±")[0],
        f"{cell('training_passes', digits=2)}".split(" ±")[0],
        cell("noise_precision", 100),
        cell("noise_recall", 100),
        cell("noisy_validation_accuracy", 100),
    ]
    return [*cells, f"{record['fft_lr']:g}" if "fft_lr" in record else "–"]


def report(
    args: argparse.Namespace, records: list[dict[str, Any]], seconds: float
) -> str:
    """Write the results so far, and return the tables."""
    size = SIZES[args.size]
    asked = {"variants": args.variants, "tuned": args.rates}
    kinds = [name for name, used in asked.items() if used]
    file = "_".join(["real_noise", args.size, *kinds])
    text = [
        f"# Human label noise, {args.size} size{', '.join(['', *kinds])}\n",
        f"{size['train']} training images from files at {size['input_size']} px, "
        f"{size['test']} test images with clean labels, mean ± standard deviation "
        f"over {size['seeds']} seeds (other images, other random state). Passes are "
        "backbone passes over the training set. Precision and recall are those of the "
        f"labels flagged. The whole run took {seconds / 60:.0f} minutes. Learning "
        "rates of fine-tuning: "
        + (
            f"per method the best of {', '.join(f'{lr:g}' for lr in args.rates)} "
            f"by the mean accuracy on {size['valid']} held-out noisy labels over the "
            "seeds."
            if args.rates
            else "the library's default, the same for all."
        )
        + " What was tried besides is in real_noise_notes.md.",
    ]
    for name in dict.fromkeys(r["backbone"] for r in records):
        for noise in dict.fromkeys(r["noise"] for r in records):
            rows = [r for r in records if (r["backbone"], r["noise"]) == (name, noise)]
            rate = f"{100 * rows[0]['noise_rate']:.1f} % wrong"
            text.append(f'\n## {name}, labels "{noise}" ({rate})\n')
            header = ["method", "test accuracy (%)", "seconds", "forward passes"]
            header += ["training passes", "noise precision (%)", "noise recall (%)"]
            header += ["noisy validation (%)"] + ["learning rate"] * bool(args.rates)
            body = [[r["method"], *summary(r)][: len(header)] for r in rows]
            text.append(table(header, body))
            if any("tuning" in r for r in rows):
                text.append("\nAccuracy on noisy validation labels (%), by rate:\n")
                text.append(tuning_table(rows, args.rates))
    payload = {"size": args.size, **size, "seconds": seconds, "records": records}
    save(file, payload, "\n".join(text), show=False)
    return "\n".join(text)


def tuning_table(rows: list[dict[str, Any]], rates: Sequence[float]) -> str:
    """Noisy validation accuracy of every candidate."""
    body = []
    for row in rows:
        tried = [100 * np.array(scores) for scores in row.get("tuning", {}).values()]
        if tried:
            cells = [f"{scores.mean():.1f} ± {scores.std():.1f}" for scores in tried]
            body.append([row["method"], *cells])
    return table(["method", *(f"{lr:g}" for lr in rates)], body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--noise", nargs="+", default=["worse"])
    parser.add_argument("--methods", nargs="+", help="parts of method names")
    parser.add_argument("--rates", type=float, nargs="+", help="choose among these")
    parser.add_argument("--variants", action="store_true", help="TURN's defaults")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    archive = args.folder / "cifar10n.zip"
    if not archive.exists():
        parser.error(f"{archive} not found; it holds labels.csv and the images.")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)
        root = next(Path(folder).rglob("labels.csv")).parent
        run(args, root)


if __name__ == "__main__":
    main()
