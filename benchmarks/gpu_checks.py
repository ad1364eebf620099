"""Checks of what differs on a GPU: precision, repeatability, pickling, memory, speed.

``--device cpu`` runs those that need none, which tells whether the checks are right.
"""

from __future__ import annotations

import argparse
import gc
import io
import pickle
import time

import numpy as np
import torch
from sklearn.datasets import load_digits

from sklearn_turn import FeatureExtractor, TURNClassifier

digits = load_digits()
X, y = (digits.images[:512] / 16).astype(np.float32), digits.target[:512]


def fit(device: str) -> TURNClassifier:
    model = TURNClassifier(
        "letters", fft_epochs=2, augment=None, random_state=0, device=device
    )
    return model.fit(X, y)


def check(name: str, passed: bool, detail: object = "") -> None:
    print(f"{'ok  ' if passed else 'FAIL'} {name} {detail}")
    if not passed:
        raise SystemExit(1)


def check_features(device: str) -> None:
    def features(device: str, precision: str) -> np.ndarray:
        extract = FeatureExtractor("letters", device=device, precision=precision)
        return extract.fit_transform(X)

    exact = features(device, "float32")
    gap = np.abs(exact - features("cpu", "float32")).max() / np.abs(exact).max()
    check("float32 features agree with the CPU's", gap < 1e-2, f"{gap:.1e}")
    gap = np.abs(features(device, "bfloat16") - exact).max() / np.abs(exact).max()
    check("bfloat16 features are close to float32", gap < 5e-2, f"{gap:.1e}")


def check_fits(device: str) -> None:
    first, second = fit(device), fit(device)
    gap = np.abs(first.predict_proba(X) - second.predict_proba(X)).max()
    check("two fits are alike", gap < 1e-2, f"largest difference {gap:.1e}")
    check("it learns", first.score(X, y) > 0.9, f"{first.score(X, y):.3f}")

    stored = pickle.dumps(first)
    check("a pickle holds the weights once", len(stored) < 4e6, f"{len(stored)} bytes")
    buffer = io.BytesIO()
    torch.save(first.net_.module_.state_dict(), buffer)
    buffer.seek(0)
    moved = torch.load(buffer, map_location="cpu", weights_only=True)
    check(
        "weights move to the CPU", all(v.device.type == "cpu" for v in moved.values())
    )
    again = pickle.loads(stored)
    same = np.allclose(again.predict_proba(X), first.predict_proba(X), atol=1e-3)
    check("it predicts the same after pickling", same)


def check_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated()
    for _ in range(3):
        fit("cuda")
    gc.collect()
    grown = (torch.cuda.memory_allocated() - base) / 2**20
    check("memory is freed between fits", grown < 8, f"{grown:.1f} MiB more")


def time_features() -> None:
    big = np.random.RandomState(0).randint(0, 256, (16384, 32, 32, 3), dtype=np.uint8)
    extract = FeatureExtractor(
        "vit_base_patch16_224", pretrained=False, batch_size=256
    ).fit(big[:1])
    extract.transform(big[:512])
    start = time.perf_counter()
    extract.transform(big)
    seconds = time.perf_counter() - start
    print(f"ViT-B/16 features at 224 px: {len(big) / seconds:.0f} images/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    device = parser.parse_args().device
    if device == "cuda":
        check("a GPU is there", torch.cuda.is_available())
        print(torch.cuda.get_device_name(), torch.__version__)
    check_features(device)
    check_fits(device)
    if device == "cuda":
        check_memory()
        time_features()


if __name__ == "__main__":
    main()
