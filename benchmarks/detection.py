"""Which labels are wrong: filters compared on features, at many noise levels.

On frozen features of two sets: CIFAR-10 images with human label noise (CIFAR-10N)
through a ViT-Ti at 224 px, and features of 100 classes with 40 samples each, drawn with
the class geometry measured on the first. With ``--tuned`` on features of the images by
networks that were fine-tuned on the same labels: one cell per fit
(:mod:`benchmarks.cells`), so that a run that was stopped goes on. Every filter is given
what it asks for and never the noise rate; clean labels are used to score only.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cells import Cell, finished, run
from benchmarks.common import RESULTS, save, table
from benchmarks.detectors import detect
from benchmarks.label_sets import BACKBONE, ManyClasses, cifar_of, of_frozen

Record = dict[str, Any]

COLUMNS = {
    "flagged": "flagged (%)",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "best_f1": "best F1",
    "average_precision": "AP",
    "auroc": "AUROC",
    "noise_rate": "estimated rate",
    "accuracy": "test accuracy (%)",
}
TUNED = "CIFAR-10N, 10 classes, after fine-tuning"
#: Noise after fine-tuning, as :mod:`benchmarks.noises` has it.
NOISES = [
    *("none", "aggre", "random1", "worse"),
    *(f"symmetric {rate}" for rate in ("0.02", "0.05", "0.4", "0.6", "0.8")),
    *("asymmetric 0.2", "asymmetric 0.4", "instance cheng 0.3", "instance xia 0.3"),
]


def measure(data: Any, seeds: int) -> list[Record]:
    records: dict[tuple[str, str], Record] = {}
    for seed in range(seeds):
        for label, y in data.noises(seed):
            seen = of_frozen(data, y, seed)
            wrong = float(np.mean(y != data.y))
            add(records, data.name, label, seed, wrong, detect(seen, seed))
        print(f"{data.name}: seed {seed} done", flush=True)
    return list(records.values())


def add(
    records: dict[tuple[str, str], Record],
    name: str,
    noise: str,
    seed: int,
    wrong: float,
    scores: dict[str, dict[str, float]],
) -> None:
    """Note what each method scored, beside other seeds of the same noise."""
    for method, row in scores.items():
        new: Record = {"set": name, "noise": noise, "method": method, "runs": []}
        record = records.setdefault((noise, method), new)
        record["runs"].append({"seed": seed, "wrong": wrong, **row})


def cells_tuned(seeds: int) -> list[Cell]:
    """The fits whose networks are asked."""
    return [
        Cell("small", BACKBONE, noise, "TURN", seed, observed="detection")
        for seed in range(seeds)
        for noise in NOISES
    ]


def records_tuned() -> list[Record]:
    """Of all cells that have a result."""
    records: dict[tuple[str, str], Record] = {}
    found = [(c, r) for c, r in finished("small").items() if c.observed == "detection"]
    for cell, result in sorted(found, key=lambda pair: NOISES.index(pair[0].noise)):
        wrong, scores = result["noise_rate"], result["detection"]
        add(records, TUNED, cell.noise, cell.seed, wrong, scores)
    return list(records.values())


ON_FROZEN = (
    "Mean over {seeds} seeds (draw of the noise, folds, probe; human labels do not "
    "change). No method is told the noise rate, but for the first. Best F1 is what any "
    "threshold on the method's score could reach. Test accuracy is that of a probe "
    "trained again on what is not flagged, on 1,500 images. Symmetric noise has the "
    "true class among its draws; asymmetric noise of the 100 classes goes to the "
    "nearest one. cleanlab has out-of-fold probabilities of a logistic regression "
    "(C = 1, not tuned; with the same human labels the same in every seed), or those "
    "of the probes that the channel has. The channel was designed on such images with "
    "their clean labels at hand."
)
ON_TUNED = (
    "Images, noise and random state as in the comparison of methods under noise, by "
    "the network that the default `TURNClassifier()` fine-tuned on these labels "
    "(seeds: {seeds}). Small loss and the mixture have the network's own losses, the "
    "others probes on its features; the last row is what the classifier itself ended "
    "with, by the mean of the probes of all epochs. One network for all compared: what "
    "Algorithm 1 would have trained by the mixture is another one. Columns as on "
    "frozen features; test accuracy is on 3,000 images."
)


def report(records: list[Record], args: argparse.Namespace) -> str:
    intro = ON_FROZEN.format(seeds=args.seeds)
    title = "# Detection of wrong labels on frozen features\n"
    return "\n".join([title, intro, *tables(records)])


def report_tuned() -> str:
    """Of all results there are."""
    title = "# Detection of wrong labels after fine-tuning\n"
    records = records_tuned()
    seeds = sorted({len(record["runs"]) for record in records})
    shown = dict.fromkeys([*seeds[:1], *seeds[-1:]])
    intro = ON_TUNED.format(seeds=" to ".join(map(str, shown)))
    return "\n".join([title, intro, *tables(records)])


def tables(records: list[Record]) -> list[str]:
    """One per set, with the mean over seeds of each column."""
    text = []
    for name in dict.fromkeys(r["set"] for r in records):
        text.append(f"\n## {name}\n")
        body = []
        for r in [r for r in records if r["set"] == name]:
            mean = {
                # None is no number, as JSON has it.
                key: np.array([run[key] for run in r["runs"]], dtype=float).mean()
                for key in (*COLUMNS, "wrong")
            }
            cells = [
                "–"
                if np.isnan(mean[key])
                else f"{mean[key]:.{1 if '%' in head else 3}f}"
                for key, head in COLUMNS.items()
            ]
            body.append([f"{r['noise']} ({mean['wrong']:.3f})", r["method"], *cells])
        text.append(table(["noise (true rate)", "method", *COLUMNS.values()], body))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with data and weights")
    parser.add_argument("--n", type=int, default=3000, help="training images")
    parser.add_argument("--seeds", type=int, help="default: 5, and 1 of what is tuned")
    parser.add_argument("--tuned", action="store_true", help="after fine-tuning")
    parser.add_argument("--report", action="store_true", help="of --tuned: tables only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if args.tuned:
        if not args.report:
            run(cells_tuned(args.seeds or 1), args.folder)
        text = report_tuned()
        (RESULTS / "detection_tuned.md").write_text(text + "\n")
        print(text)
        return
    args.seeds = args.seeds or 5
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", UserWarning)  # of small classes
    cifar = cifar_of(args.folder, args.n)
    records: list[Record] = []
    for data in (cifar, ManyClasses(cifar)):
        records += measure(data, args.seeds)
        settings = {"n": args.n, "seeds": args.seeds}
        payload = {"settings": settings, "records": records}
        save("detection", payload, report(records, args), show=False)
    print(report(records, args))


if __name__ == "__main__":
    main()
