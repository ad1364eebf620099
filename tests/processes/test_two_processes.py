"""Two processes against one alone, over gloo."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes.scenarios import (
    ALIKE,
    AS_ONE,
    FAILED,
    REFUSED,
    fails_in_reading,
    few,
    killed,
    one_at_a_time,
    resumed,
    stops_one,
)

from sklearn_turn.exceptions import DistributedError

HERE = Path(__file__).parent

# Two imports of torch on a busy core; nothing waits for it if all is well.
PATIENCE = 500


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What both processes found in every scenario, by name and rank."""
    folder = tmp_path_factory.mktemp("pair")
    path = [str(HERE.parent), *filter(None, sys.path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    outputs = [folder / f"output_{rank}.txt" for rank in (0, 1)]
    with outputs[0].open("w") as first, outputs[1].open("w") as second:
        started = [
            subprocess.Popen(
                [sys.executable, HERE / "pair.py", str(rank), "2", folder],
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for rank, output in enumerate((first, second))
        ]
        try:
            codes = [process.wait(PATIENCE) for process in started]
        finally:
            for process in started:
                process.kill()
    told = "\n".join(output.read_text() for output in outputs)
    assert codes[1] == -9, told  # it kills itself, in the last scenario

    def found(scenario, rank):
        file = folder / f"{scenario.__name__}_{rank}.pickle"
        assert file.exists(), told
        return pickle.loads(file.read_bytes())

    found.output = [output.read_text() for output in outputs]
    found.folder = folder
    return found


def values(found, path=()):
    """Arrays and numbers of nested dicts and lists, with where they are."""
    if isinstance(found, dict):
        found = found.items()
    elif isinstance(found, list):
        found = enumerate(found)
    else:
        yield path, np.asarray(found)
        return
    for name, value in found:
        yield from values(value, (*path, name))


COUNTS = ("evaluated", "trained")


def assert_alike(first, second):
    """Bit for bit, but for who ran which samples."""
    for (path, a), (_, b) in zip(values(first), values(second), strict=True):
        if path[-1] not in COUNTS:
            np.testing.assert_array_equal(a, b, err_msg=str(path))


@pytest.mark.parametrize("scenario", AS_ONE, ids=lambda s: s.__name__)
def test_result_is_that_of_one_process(pair, scenario, tmp_path):
    both = [pair(scenario, rank) for rank in (0, 1)]
    alone = scenario(None, tmp_path)
    only = {"proba", "own"} & set(both[0])  # of the first process alone
    assert_alike({k: v for k, v in both[0].items() if k not in only}, both[1])
    for (path, a), (_, b) in zip(values(alone), values(both[0]), strict=True):
        if path[-1] in COUNTS:
            # None is lost, none is seen twice, but for what keeps an idle one in step.
            shares = [one[path[-1]] for one in both]
            idle = scenario is one_at_a_time and path[-1] == "trained"
            assert sum(shares) == a + a * idle
            assert min(shares) >= 0.4 * a or scenario is few
        elif a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=str(path))
        else:
            np.testing.assert_array_equal(a, b, err_msg=str(path))


@pytest.mark.parametrize("scenario", ALIKE, ids=lambda s: s.__name__)
def test_both_have_the_same_result(pair, scenario):
    assert_alike(pair(scenario, 0), pair(scenario, 1))


def test_a_fit_goes_on_with_the_same_bits(pair):
    found = pair(resumed, 0)
    assert_alike(found["through"], found["resumed"])
    # One epoch and a part were not done again.
    assert found["resumed"]["trained"] < found["through"]["trained"]
    written = {path.name for path in (pair.folder / "checkpoint of 0").iterdir()}
    assert written == {"fit.json", "epoch.safetensors", "features", "lock"}
    assert not (pair.folder / "checkpoint of 1").exists()


def test_the_first_process_prints(pair):
    assert "labels are clean" in pair.output[0]
    assert "labels are clean" not in pair.output[1]


@pytest.mark.parametrize("scenario", REFUSED, ids=lambda s: s.__name__)
def test_both_refuse(pair, scenario):
    messages = {
        "two_networks": "CoTeaching cannot be fine-tuned by several processes",
        "other_labels": "differs: labels",
        "other_length": "differs: number of samples, samples, labels",
        "other_images": "differs: samples",
        "other_parameters": "differs: lp_epochs",
        "other_network": "differs: network to go on from",
        "other_folder": "differs: checkpoint",
        "other_split": "splits differently in each process",
        "trained_criterion": "OwnParameter has parameters of its own",
        "summed_criterion": "CrossEntropyLoss sums over the batch",
    }
    for rank in (0, 1):
        error = pair(scenario, rank)
        assert isinstance(error, ValueError), error
        assert messages[scenario.__name__] in str(error)


@pytest.mark.parametrize("scenario", FAILED, ids=lambda s: s.__name__)
def test_an_error_of_one_ends_the_other(pair, scenario):
    failed = FAILED[scenario]
    own, other = pair(scenario, failed), pair(scenario, 1 - failed)
    assert isinstance(own, (MemoryError, ValueError)), own
    assert isinstance(other, DistributedError), other
    # What reads a checkpoint tells of its error before another is raised from that.
    told = "CodecError" if scenario is fails_in_reading else type(own).__name__
    assert f"Process {failed} of 2 failed: {told}" in str(other)


def test_stopping_in_one_process_only_ends_both(pair):
    for rank in (0, 1):
        error = pair(stops_one, rank)
        assert isinstance(error, DistributedError), error
        assert "let callbacks stop all or none" in str(error)


def test_a_killed_process_ends_the_other(pair):
    error = pair(killed, 0)
    assert isinstance(error, RuntimeError), error
    assert not (pair.folder / "killed_1.pickle").exists()
