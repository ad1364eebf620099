"""Several processes against one: a feature pass, an epoch, and whether fits agree.

On a CPU each process has one core and one thread, on GPUs each has its own. First the
first process works alone, then all do, in turn and several times. Beside seconds of the
clock there are those of the core, which tell what others on the machine do not: the
slowest process's are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.common import save, table
from sklearn_turn import FeatureExtractor, TURNClassifier
from sklearn_turn.baselines import FullFineTuning

Times = dict[str, list[tuple[float, float]]]


def data(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of four classes, each with a colour of its own; a tenth mislabelled."""
    rng = np.random.RandomState(0)
    y = rng.randint(0, 4, n)
    X = rng.randint(0, 120, (n, size, size, 3))
    X += 30 * np.eye(4, 3, dtype=int)[y][:, None, None, :]
    wrong = rng.rand(n) < 0.1
    y[wrong] = (y[wrong] + 1) % 4
    return X.astype(np.uint8), y


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run by every process; what the first one returns counts."""
    rank, count = dist.get_rank(), dist.get_world_size()
    X, y = data(args.images, args.input_size)
    common = {
        "backbone": args.backbone,
        "pretrained": False,
        "input_size": args.input_size,
        "random_state": 0,
        "batch_size": args.batch_size,
    }

    def features(distributed: bool) -> Any:
        extract = FeatureExtractor(**common, distributed=distributed)
        return extract.fit_transform(X)

    def epoch(distributed: bool) -> Any:
        """Fine-tuning alone: no probe."""
        clf = FullFineTuning(
            **common,
            fft_epochs=1,
            fft_batch_size=args.fft_batch_size,
            augment=None,
            distributed=distributed,
        )
        return clf.fit(X, y)

    def fit(distributed: bool) -> Any:
        clf = TURNClassifier(
            **common, fft_epochs=2, augment=None, distributed=distributed
        )
        return clf.fit(X[: args.fitted], y[: args.fitted])

    times: Times = {}
    works = {"feature pass": features, "epoch of fine-tuning": epoch, "fit": fit}
    found: dict[str, Any] = {}
    for i in range(args.repeat):
        for name, work in works.items():
            if name == "fit" and i:
                continue  # it is there for what it finds
            alone = timed(work, False, f"{name}, one process", times, idle=rank > 0)
            found[name] = alone, timed(work, True, f"{name}, {count} processes", times)
    alone, joint = found["fit"]
    masks: list[Any] = [None] * count
    dist.all_gather_object(masks, joint.clean_mask_)
    if rank > 0:
        return {}
    seconds = {
        name: {"clock": min(t for t, _ in runs), "core": min(t for _, t in runs)}
        for name, runs in times.items()
    }
    gap = float(np.abs(np.subtract(*found["feature pass"])).max())
    return {
        "settings": {**vars(args), "worker": None, "processes": count},
        "seconds": seconds,
        "speed-up": {
            f"{name}, by the {by}": seconds[f"{name}, one process"][by]
            / seconds[f"{name}, {count} processes"][by]
            for name in works
            for by in ("clock", "core")
        },
        "largest difference of features": gap,
        "masks of all processes are equal": all((m == masks[0]).all() for m in masks),
        "labels judged otherwise than by one process": int(
            (masks[0] != alone.clean_mask_).sum()
        ),
        "load of the machine": os.getloadavg()[1],
    }


def timed(
    work: Any, distributed: bool, name: str, times: Times, idle: bool = False
) -> Any:
    """Note seconds of the clock, and most seconds of a core among the processes."""
    dist.barrier()
    clock, core = time.perf_counter(), time.process_time()
    result = None if idle else work(distributed)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    spent = torch.tensor([time.perf_counter() - clock, time.process_time() - core])
    if idle:
        spent.zero_()
    dist.all_reduce(spent, dist.ReduceOp.MAX)
    times.setdefault(name, []).append(tuple(spent.tolist()))
    return result


def worker(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        with contextlib.suppress(AttributeError, OSError):  # not on every system
            os.sched_setaffinity(0, {int(os.environ["LOCAL_RANK"])})
    warnings.simplefilter("ignore", UserWarning)
    gpus = torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    found = measure(args)
    dist.destroy_process_group()
    if found:
        report(found)


def report(found: dict[str, Any]) -> None:
    settings, seconds = found["settings"], found["seconds"]
    rows = [[k, f"{v['clock']:.2f}", f"{v['core']:.2f}"] for k, v in seconds.items()]
    text = "\n\n".join(
        [
            "# Several processes",
            f"{settings['images']} images through {settings['backbone']} at "
            f"{settings['input_size']} px, {settings['fitted']} of them in a fit with "
            "two epochs, most of whose time goes to the probes, which all processes "
            f"train. The best of {settings['repeat']} runs in turn, of the fit one, "
            "while the machine had other work, with a load of "
            f"{found['load of the machine']:.1f}.",
            table(["", "seconds of the clock", "of the busiest core"], rows),
            table(
                ["speed-up", ""],
                [[k, f"{v:.2f}"] for k, v in found["speed-up"].items()],
            ),
            f"Largest difference of features: "
            f"{found['largest difference of features']:.1e}. Masks of all processes "
            f"are equal: {found['masks of all processes are equal']}; labels judged "
            "otherwise than by one process: "
            f"{found['labels judged otherwise than by one process']}.",
        ]
    )
    save("two_processes", found, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--fft-batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--fitted", type=int, default=128, help="images of a fit")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += [f"--nproc-per-node={args.processes}", "-m", "benchmarks.two_processes"]
    subprocess.run([*launch, *sys.argv[1:], "--worker"], check=True)


if __name__ == "__main__":
    main()
