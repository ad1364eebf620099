"""What the library says while it works, and where it can be read."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys

import pytest
from support import tiny

from sklearn_turn import progress as module
from sklearn_turn.baselines import DivideMix, LinearProbing
from sklearn_turn.progress import Phase, progress, tell

LOGGER = logging.getLogger("sklearn_turn.somewhere")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def heard():
    """Lines that a program which has set up logging gets."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append((record.name, record.getMessage()))

    logger, handler = logging.getLogger("sklearn_turn"), Keep()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """What is shown on it; called by the test, as pytest sets stderr before that."""
    monkeypatch.setattr(module, "_SHORT", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def passed(clock, n_items, seconds, verbose=1, name="features", size=64):
    """Items passed on, one in so many seconds."""
    for _ in progress(range(n_items), name, verbose, count=lambda item: size):
        clock.now += seconds


def test_verbose_shows_lines_where_no_log_is_set_up(capsys):
    tell(LOGGER, "one line", verbose=1)
    tell(LOGGER, "never", verbose=0)
    assert capsys.readouterr() == ("", "one line\n")


def test_a_log_that_is_set_up_gets_each_line_once(heard, capsys):
    tell(LOGGER, "asked for", verbose=1)
    tell(LOGGER, "not asked for", verbose=0)
    assert heard == [
        ("sklearn_turn.somewhere", "asked for"),
        ("sklearn_turn.somewhere", "not asked for"),
    ]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("level", "handler_level"), [("WARNING", "NOTSET"), ("INFO", "WARNING")]
)
def test_verbose_is_not_silenced_by_a_log_of_warnings(level, handler_level, capsys):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(handler_level)
    logger = logging.Logger("of a program", level)
    logger.addHandler(handler)
    tell(logger, "asked for", verbose=1)
    assert written.getvalue() == ""
    assert capsys.readouterr().err == "asked for\n"


def test_lines_are_ten_percent_and_ten_seconds_apart(clock, capsys):
    passed(clock, n_items=100, seconds=2)  # 10 % take longer than 10 seconds
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "features: 10%, 32.0 samples/s, 0:03:00 left"
    assert [line.split(",")[0] for line in lines[:-1]] == [
        f"features: {share}%" for share in range(10, 100, 10)
    ]
    assert lines[-1] == "features: 6,400 samples in 0:03:20, 32.0 samples/s"
    passed(clock, n_items=100, seconds=0.25)  # 10 seconds take longer than 10 %
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:-1]] == [
        "features: 40%",
        "features: 80%",
    ]


def test_short_phases_are_not_told_of(clock, capsys):
    passed(clock, n_items=10, seconds=0.09)
    assert capsys.readouterr().err == ""


def test_nothing_is_said_without_verbose(clock, capsys):
    passed(clock, n_items=100, seconds=60, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_progress_without_verbose(clock, heard):
    passed(clock, n_items=2, seconds=60, verbose=0)
    assert heard == [
        ("sklearn_turn.progress", "features: 50%, 1.1 samples/s, 0:01:00 left"),
        ("sklearn_turn.progress", "features: 128 samples in 0:02:00, 1.1 samples/s"),
    ]


def test_without_a_length_only_the_end_is_told(clock, capsys):
    for _ in progress((i for i in range(3)), "losses", 1, count=lambda item: 5):
        clock.now += 30
    assert capsys.readouterr().err == "losses: 15 samples in 0:01:30, 0.2 samples/s\n"


def test_a_phase_that_failed_has_no_end(clock, capsys):
    with pytest.raises(ValueError, match="x"), Phase("features", 2, verbose=1):
        clock.now += 30
        raise ValueError("x")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_counts_samples_and_goes(monkeypatch):
    terminal = on_terminal(monkeypatch)
    for _ in progress(range(4), "features", 1, count=lambda item: 64):
        tell(LOGGER, "above the bar", verbose=1)
    shown = terminal.getvalue()
    assert re.search(r"features: +25%.* 64/256 \[.*samples/s\]", shown)
    assert shown.count("above the bar\n") == 4
    assert shown.endswith("\r")  # wiped


def test_one_bar_for_each_phase_of_a_fit(images, monkeypatch):
    terminal = on_terminal(monkeypatch)
    tiny(verbose=1).fit(images.X, images.y).predict(images.X)
    shown = re.findall(r"\r([^\r:]+): +\d+%\|", terminal.getvalue())
    assert list(dict.fromkeys(shown)) == [
        "features",
        "out-of-fold probes",
        "probe",
        "epoch 1 of 2",
        "cleansing for epoch 2",
        "epoch 2 of 2",
        "predict",
    ]


def test_lines_of_a_fit_where_there_is_no_terminal(images, capsys, monkeypatch):
    monkeypatch.setattr(module, "_SHORT", 0.0)
    LinearProbing("letters", lp_epochs=2, verbose=1).fit(images.X, images.y)
    out, err = capsys.readouterr()
    assert out == ""
    names = [line.split(":")[0] for line in err.splitlines()]
    assert names == ["features", "probe"]
    assert re.search(r"features: 60 samples in 0:00:\d\d, ", err)
    assert re.search(r"probe: 120 samples in 0:00:\d\d, ", err)  # two epochs


def test_methods_of_two_networks_say_what_is_clean(blobs, capsys, heard):
    DivideMix(lp_epochs=4, verbose=1, random_state=0).fit(blobs.X, blobs.y)
    said = [text for name, text in heard if name == "sklearn_turn.baselines.joint"]
    assert [text.split(":")[0] for text in said] == ["epoch 3", "epoch 4"]
    assert capsys.readouterr() == ("", "")


def test_loggers_are_named_after_modules(images, heard):
    tiny().fit(images.X, images.y)
    names = {name for name, text in heard if "are clean" in text}
    assert names == {"sklearn_turn.training.cleansing"}


def test_the_library_sets_up_no_log():
    """Without logging, verbose and torch: no handler but one that does nothing."""
    program = (
        "import logging, sklearn_turn; of = logging.getLogger; "
        "print(of('sklearn_turn').handlers, of().handlers)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[<NullHandler (NOTSET)>] []"
