"""Checks that need a CUDA device: precision, repeatability, pickling, memory."""

from __future__ import annotations

import gc
import io
import pickle
import time

import numpy as np
import torch

from sklearn_turn import FeatureExtractor, TURNClassifier

rng = np.random.RandomState(0)
X = rng.randint(0, 256, (512, 32, 32, 3), dtype=np.uint8)
y = np.arange(512) % 4
X[np.arange(512), :, :, 0] = (60 * y)[:, None, None]  # something to learn


def fit(**options: object) -> TURNClassifier:
    model = TURNClassifier("letters", fft_epochs=2, random_state=0, **options)
    return model.fit(X, y)


def check(name: str, passed: bool, detail: object = "") -> None:
    print(f"{'ok  ' if passed else 'FAIL'} {name} {detail}")
    if not passed:
        raise SystemExit(1)


def main() -> None:
    check("a GPU is there", torch.cuda.is_available())
    print(torch.cuda.get_device_name(), torch.__version__)

    on_gpu = FeatureExtractor("letters", precision="float32").fit_transform(X)
    on_cpu = FeatureExtractor("letters", device="cpu", precision="float32")
    gap = np.abs(on_gpu - on_cpu.fit_transform(X)).max() / np.abs(on_gpu).max()
    check("float32 features agree with the CPU's", gap < 1e-2, f"{gap:.1e}")
    rough = FeatureExtractor("letters", precision="bfloat16").fit_transform(X)
    gap = np.abs(rough - on_gpu).max() / np.abs(on_gpu).max()
    check("bfloat16 features are close to float32", gap < 5e-2, f"{gap:.1e}")

    first, second = fit(), fit()
    gap = np.abs(first.predict_proba(X) - second.predict_proba(X)).max()
    check("two fits are alike", gap < 1e-2, f"largest difference {gap:.1e}")
    check("it learns", first.score(X, y) > 0.9, f"{first.score(X, y):.3f}")

    stored = pickle.dumps(first)
    check("a pickle holds the weights once", len(stored) < 4e6, f"{len(stored)} bytes")
    state = first.net_.module_.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    moved = torch.load(buffer, map_location="cpu", weights_only=True)
    check(
        "weights move to the CPU", all(v.device.type == "cpu" for v in moved.values())
    )
    again = pickle.loads(stored)
    same = np.allclose(again.predict_proba(X), first.predict_proba(X), atol=1e-3)
    check("it predicts the same after pickling", same)

    del first, second, again, state, moved
    gc.collect()
    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated()
    for _ in range(3):
        fit()
    gc.collect()
    grown = (torch.cuda.memory_allocated() - base) / 2**20
    check("memory is freed between fits", grown < 8, f"{grown:.1f} MiB more")

    big = rng.randint(0, 256, (16384, 32, 32, 3), dtype=np.uint8)
    extract = FeatureExtractor(
        "vit_base_patch16_224", pretrained=False, batch_size=256
    ).fit(big[:1])
    extract.transform(big[:512])
    start = time.perf_counter()
    extract.transform(big)
    seconds = time.perf_counter() - start
    print(f"ViT-B/16 features at 224 px: {len(big) / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
