"""Digits with 40 % wrong labels: linear probing, plain fine-tuning and TURN.

Needs no network: scikit-learn's digits, and a small backbone that this project
trained on rendered letters (examples/pretrain_letters.py), never on digits.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_turn import TURNClassifier
from sklearn_turn.baselines import FullFineTuning, LinearProbing
from sklearn_turn.noise import symmetric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # the network is too small to gain from more

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)  # (n, 8, 8) in [0, 1]
    X, X_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.5, stratify=digits.target, random_state=0
    )
    y_noisy = symmetric(y, args.noise, random_state=args.seed)
    is_wrong = y_noisy != y
    print(f"{len(X)} training digits, {is_wrong.sum()} with a wrong label\n")

    # In float32 every processor prints much the same.
    common = {"backbone": "letters", "precision": "float32", "random_state": args.seed}
    # Mirrored digits are no digits, so nothing is augmented.
    fine_tuning = {**common, "fft_batch_size": 32, "augment": None}
    methods = {
        "linear probing": LinearProbing(**common),
        "plain fine-tuning": FullFineTuning(**fine_tuning),
        "TURN": TURNClassifier(**fine_tuning),
    }
    header = f"{'':20}{'test accuracy':>14}{'seconds':>9}"
    print(f"{header}{'found: precision':>18}{'recall':>8}")
    for name, model in methods.items():
        start = time.perf_counter()
        model.fit(X, y_noisy)
        seconds = time.perf_counter() - start
        row = f"{name:20}{model.score(X_test, y_test):14.1%}{seconds:9.1f}"
        if hasattr(model, "clean_mask_"):
            found = ~model.clean_mask_
            precision = is_wrong[found].mean()
            recall = found[is_wrong].mean()
            row += f"{precision:18.1%}{recall:8.1%}"
        print(row)

    from sklearn_turn.inspection import LossMixtureDisplay

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "loss_mixture.png"
    losses = methods["TURN"].losses_
    display = LossMixtureDisplay.from_predictions(losses, y_noisy, is_wrong=is_wrong)
    display.figure_.savefig(path, dpi=120)
    print(f"\nLosses and fitted mixture: {path}")


if __name__ == "__main__":
    main()
