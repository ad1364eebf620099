"""What methods cost: noted calls, the plain loop that repeats them, what is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.common import counted_passes
from benchmarks.methods_cost import (
    ONE,
    PlainLoop,
    images,
    make,
    needed,
    noted,
    passes,
    report,
)

ARGS = SimpleNamespace(
    backbone="letters",
    input_size=None,
    n=64,
    epochs=3,
    batch_size=16,
    threads=1,
    repeat=1,
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_turn.exceptions.CleansingWarning",
    "ignore::sklearn_turn.exceptions.CollapsedProbeWarning",
)


@pytest.mark.parametrize(
    "name",
    [
        *("LP-FINE", "FFT-CE", "FFT-FINE", "FFT-CORES", "FFT-CoTeaching"),
        *("FFT-ELR+", "FFT-DivideMix", "FFT-UNICON", "TURN, paper"),
    ],
)
def test_the_plain_loop_repeats_the_passes_and_few_are_not_needed(name):
    X, y = images(ARGS.n)
    with counted_passes() as of_fit, noted() as calls:
        model = make(name, ARGS).fit(X, y)
    found = (of_fit.forward / ARGS.n, of_fit.training / ARGS.n)
    assert passes(calls, ARGS.n) == found
    with counted_passes() as of_loop:
        PlainLoop(calls, model, X).run()
    assert (of_loop.forward, of_loop.training) == (of_fit.forward, of_fit.training)
    forward, training = needed(name, model, ARGS.n)
    # Nothing less but what rounding takes; of more only whole batches, and two images
    # that show divergence.
    more = {"FFT-DivideMix": 0.6, "FFT-UNICON": 0.6}.get(name, 0.3)
    assert 0 <= found[0] - forward <= 2 / ARGS.n + more * forward
    assert -0.02 * training <= found[1] - training <= more * training


def test_report_compares_with_one_network_and_with_two():
    def record(name, seconds, megabytes):
        times = {"ours": [seconds, 99.0], "plain": [seconds / 1.05, 98.0]}
        numbers = ("forward_passes", "training_passes", "work", "ratio")
        return {
            "method": name,
            "seconds": times,
            "more_mb": megabytes,
            **dict.fromkeys(numbers, 1.0),
        }

    text = report(
        [
            record(ONE, 2.0, 100.0),
            record("FFT-UNICON", 20.0, 180.0),
            record("TURN, paper", 2.0, 110.0),
            record("LP-CE", 1.0, None),
        ],
        ARGS,
    )
    assert "| FFT-UNICON | 1.80 |" in text
    assert "| TURN, paper | FFT-UNICON | 0.100 |" in text
