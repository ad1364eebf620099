"""What each method costs: over the passes it makes, over those it needs, and memory.

Every call of a network that a fit makes is noted, and made again by a plain torch loop:
the same networks, batches, views and steps of the optimiser, without the library. The
passes that are needed follow from a method's definition and from what it selected.
Seconds are those that the process was given, which other load takes nothing of. Peak
memory is that of a fresh process for each method, beyond libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.common import peak_memory_mb, save, table
from benchmarks.methods import METHODS
from sklearn_turn import TURNClassifier, baselines
from sklearn_turn.backbones import BatchTransform, Embedder
from sklearn_turn.noise import symmetric
from sklearn_turn.training.modules import Classifier

CLASSES, SIDE, RATE = 10, 32, 0.3
NAMES = (
    *("LP-CE", "LP-FINE", "LP-CORES"),
    *("LP-CoTeaching", "LP-ELR+", "LP-DivideMix", "LP-UNICON"),
    *("FFT-CE", "FFT-FINE", "FFT-CORES"),
    *("FFT-CoTeaching", "FFT-ELR+", "FFT-DivideMix", "FFT-UNICON"),
    *("TURN, paper", "TURN"),
)
#: Methods with two networks, and the one that is compared with them in memory.
TWO, ONE = ("CoTeaching", "ELR+", "DivideMix", "UNICON"), "FFT-CE"


def images(n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise in a tint for each class, and labels of which some are wrong."""
    rng = np.random.RandomState(0)
    tints = rng.randint(64, 192, (CLASSES, 1, 1, 3))
    y = np.arange(n) % CLASSES
    X = (tints[y] + rng.randint(-64, 64, (n, SIDE, SIDE, 3))).astype(np.uint8)
    return X, symmetric(y, RATE, random_state=0)


def make(name: str, args: argparse.Namespace) -> Any:
    """An unfitted classifier of a backbone with random weights."""
    kind, parameters = METHODS[name]
    cls = {"TURNClassifier": TURNClassifier}.get(kind) or getattr(baselines, kind)
    shared = {
        "pretrained": False,
        "input_size": args.input_size,
        "fft_epochs": args.epochs,
        "fft_batch_size": args.batch_size,
        "num_workers": 0,
        "random_state": 0,
        "noise_rate": RATE,  # that of Co-teaching, which would cost an estimate
    }
    known = cls._get_param_names()
    mine = {key: value for key, value in shared.items() if key in known}
    return cls(args.backbone, **mine, **parameters)


class Call(NamedTuple):
    """One call of a part of a network.

    Attributes
    ----------
    part : {"views", "embed", "classify", "step"}
    owner : int
        Which of the parts of this kind, in the order they were met.
    n : int
        Images.
    training : bool
        With augmentation, or with gradients.
    """

    part: str
    owner: int = 0
    n: int = 0
    training: bool = False


@contextlib.contextmanager
def noted() -> Iterator[list[Call]]:
    """The calls that are made inside the block."""
    calls: list[Call] = []

    def note(cls: type, method: str, part: str) -> Any:
        original = getattr(cls, method)
        owners: list[Any] = []

        def noting(self: Any, batch: Any) -> Tensor:
            owner, trains = 0, torch.is_grad_enabled()
            if part == "views":  # by copies of one transform
                trains = self.training and self.augment is not None
            else:
                if not any(self is known for known in owners):
                    owners.append(self)
                owner = next(i for i, known in enumerate(owners) if known is self)
            output: Tensor = original(self, batch)
            calls.append(Call(part, owner, len(output), trains))
            return output

        return mock.patch.object(cls, method, noting)

    hook = register_optimizer_step_post_hook(lambda *_: calls.append(Call("step")))
    with (
        note(BatchTransform, "forward", "views"),
        note(Embedder, "embed_inputs", "embed"),
        note(Classifier, "classify", "classify"),
    ):
        yield calls
    hook.remove()


class PlainLoop:
    """The noted calls again, by torch alone.

    Parameters
    ----------
    calls : list of Call
    model : classifier
        The fitted one: its networks are copied, so that they are the same.
    X : ndarray of uint8
    """

    def __init__(self, calls: list[Call], model: Any, X: NDArray[np.uint8]):
        self.calls = calls
        module = model.net_.module_
        first = getattr(module, "members", [module])[0]
        self.raw = torch.from_numpy(X).permute(0, 3, 1, 2)

        def copies(part: str, original: nn.Module) -> list[nn.Module]:
            n = 1 + max((c.owner for c in calls if c.part == part), default=-1)
            return [copy.deepcopy(original) for _ in range(n)]

        self.embeds: list[Any] = copies("embed", first.embed)
        width = first.head.in_features
        self.heads = copies("classify", nn.Linear(width, CLASSES))
        self.features = torch.randn(len(X), width)
        self.inputs = torch.randn(256, 3, *[first.embed.transform.input_size] * 2)
        self.y = torch.randint(CLASSES, (256,))
        trained = [p for c in self._trained(calls) for p in c.parameters()]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def _trained(self, calls: list[Call]) -> list[nn.Module]:
        parts = {"embed": self.embeds, "classify": self.heads}
        found = {(c.part, c.owner) for c in calls if c.training and c.part != "views"}
        return [parts[part][owner] for part, owner in sorted(found)]

    def run(self) -> None:
        """Make every call in order."""
        features, waits = self.features, False
        for call in self.calls:
            if waits and call.part != "classify":  # of a loss on features
                features.square().mean().backward()
                waits = False
            if call.part == "step":
                self.optimizer.step()
                self.optimizer.zero_grad()
            elif call.part == "views":
                transform = self.embeds[0].transform.train(call.training)
                transform(self.raw[: call.n])
            else:
                with torch.set_grad_enabled(call.training):
                    if call.part == "embed":
                        embed = self.embeds[call.owner].train(call.training)
                        features = embed.embed_inputs(self.inputs[: call.n])
                        waits = call.training
                        continue
                    rows = features if len(features) == call.n else self.features
                    logits = self.heads[call.owner](rows[: call.n].float())
                    if call.training:
                        cross_entropy(logits, self.y[: call.n]).backward()
                    waits, features = False, self.features


def passes(calls: list[Call], n: int) -> tuple[float, float]:
    """Images through a backbone without and with gradients, relative to all."""
    seen = [(c.training, c.n) for c in calls if c.part == "embed"]
    forward, training = (sum(m for t, m in seen if t is on) for on in (False, True))
    return forward / n, training / n


def needed(name: str, model: Any, n: int) -> tuple[float, float]:
    """Passes by definition, given what was selected; as :func:`passes`."""
    if name.startswith("LP"):
        return 1.0, 0.0
    rows = [row for row in model.history_ if row["phase"] == "fine-tune"]
    if name.startswith("TURN"):  # features, then losses before each epoch but the first
        return float(len(rows)), sum(row["n_train"] for row in rows) / n
    kept = [sum(row["kept"]) / n for row in rows if "kept" in row]
    full, selected = len(rows) - len(kept), sum(kept)
    if name in ("FFT-CE", "FFT-FINE", "FFT-CORES"):
        return float(len(kept)), full + selected
    if name == "FFT-CoTeaching":
        return 2.0 * len(rows), 2 * sum(1 - row["forget_rate"] for row in rows)
    if name == "FFT-ELR+":
        return 2.0 * len(rows), 2.0 * len(rows)
    # Two networks. A step has two views of as many others as of selected samples; the
    # network itself predicts the former, both the latter. Then all are learned, and by
    # UNICON two views of the others once more.
    views = 6 if name == "FFT-UNICON" else 4
    return 2 * len(kept) + 12 * selected, 2 * full + 2 * views * selected


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One method: fit and plain loop in turn, several times."""
    X, y = images(args.n)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for repeat in range(args.repeat + 1):  # the first warms up
        start = time.process_time()
        if repeat:
            make(name, args).fit(X, y)
            times["ours"].append(time.process_time() - start)
        else:
            with noted() as calls:
                model = make(name, args).fit(X, y)
            plain = PlainLoop(calls, model, X)
        start = time.process_time()
        plain.run()
        if repeat:
            times["plain"].append(time.process_time() - start)
    forward, training = passes(calls, args.n)
    least = needed(name, model, args.n)
    return {
        "method": name,
        "seconds": times,
        "ratio": min(times["ours"]) / min(times["plain"]),
        "forward_passes": forward,
        "training_passes": training,
        "needed": least,
        "work": (forward + 3 * training) / (least[0] + 3 * least[1]),
        "more_mb": None if name.startswith("LP") else memory(name, args),
    }


def memory(name: str, args: argparse.Namespace) -> float:
    """MiB that a fit takes beyond libraries, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.methods_cost", "--run", name]
    for option in ("n", "epochs", "backbone", "input_size", "batch_size", "threads"):
        command += ["--" + option.replace("_", "-"), str(getattr(args, option))]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(out.stdout.splitlines()[-1]))


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """Tables of all methods, and of TURN against those with two networks."""
    by_name = {r["method"]: r for r in records}
    least = {name: min(r["seconds"]["ours"]) for name, r in by_name.items()}
    body = []
    for name, r in by_name.items():
        cells = [f"{least[name]:.2f}", f"{min(r['seconds']['plain']):.2f}"]
        cells += [f"{r['ratio']:.2f}", f"{r['forward_passes']:.2f}"]
        cells += [f"{r['training_passes']:.2f}", f"{r['work']:.2f}"]
        cells += ["–" if r["more_mb"] is None else f"{r['more_mb']:.0f}"]
        body.append([name, *cells])
    header = ["method", "seconds", "plain loop (s)", "ratio", "forward passes"]
    header += ["training passes", "work over what is needed", "MB more"]
    text = [
        "# What the methods cost\n",
        f"{args.n} images of {SIDE} px at {args.input_size} px through "
        f"{args.backbone} with random weights, {CLASSES} classes, {RATE:.0%} of the "
        f"labels wrong, {args.epochs} epochs of fine-tuning with batches of "
        f"{args.batch_size}, threads: {args.threads}. Seconds are those of the "
        f"quickest fit ({args.repeat} tried), in turn with plain loops that make the "
        "same calls of networks. LP: probes on features, with the pass that computes "
        "them. Passes are over all images; work counts a training pass as three. "
        "Memory is that of a fresh process that fits once, beyond libraries.\n",
        table(header, body),
        "\n## Two networks against one\n",
    ]
    two = [name for name in by_name if name.removeprefix("FFT-") in TWO]
    if ONE in by_name and two:
        of_one = by_name[ONE]["more_mb"]
        rows = [[name, f"{by_name[name]['more_mb'] / of_one:.2f}"] for name in two]
        text.append(table(["peak memory", f"relative to {ONE}"], rows))
    text.append("\n## TURN against methods with two networks, same epochs\n")
    turns = [name for name in by_name if name.startswith("TURN")]
    rivals = [name for name in ("FFT-UNICON", "FFT-DivideMix") if name in by_name]
    rows = [
        [name, rival, f"{least[name] / least[rival]:.3f}"]
        for name in turns
        for rival in rivals
    ]
    text.append(table(["method", "against", "seconds"], rows))
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--backbone", default="mobilenetv3_small_050")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--run", help="internal: the memory of one method")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", UserWarning)
    if args.run:
        X, y = images(args.n)
        before = peak_memory_mb()
        make(args.run, args).fit(X, y)
        print(peak_memory_mb() - before)
        return
    records = []
    for name in args.methods:
        records.append(measure(name, args))
        print(name, f"{records[-1]['ratio']:.2f}", flush=True)
    save(
        "methods_cost",
        {"settings": vars(args), "methods": records},
        report(records, args),
    )


if __name__ == "__main__":
    main()
