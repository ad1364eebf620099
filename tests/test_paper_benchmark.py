"""The comparisons of the paper: cells, how they are measured and shared."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from paper_support import CELL, result, write
from sklearn.metrics import average_precision_score

from benchmarks import cells, data, detectors, measure, methods
from benchmarks.cells import Cell, finished, run, work
from benchmarks.common import counted_passes
from benchmarks.paper import plans, published
from benchmarks.paper.__main__ import main, parsed, selected
from benchmarks.paper.reports import EXPERIMENTS
from benchmarks.paper.scores import best_epoch, collapsed, purity
from sklearn_turn import baselines
from sklearn_turn.backbones.recipes import ALIASES
from sklearn_turn.baselines import LinearProbing

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def features(monkeypatch, tmp_path):
    """Features that are kept stay in the test's folder."""
    for module in (methods, data, measure):
        monkeypatch.setattr(module, "FEATURES", tmp_path / "features")


class TestCell:
    def test_files_of_earlier_results_keep_their_names(self):
        cell = Cell("small", "vit_tiny_patch16_224", "worse", "TURN, paper", 0)
        folder = Path("small/vit_tiny_patch16_224")
        assert cell.path_in(Path()) == folder / "worse-TURN__paper-seed0.json"
        with_rate = replace(cell, method="FFT-CE", rate=5e-5)
        assert with_rate.path_in(Path()) == folder / "worse-FFT-CE-seed0-5e-05.json"

    def test_survives_json(self):
        cell = replace(CELL, options=(("cleansing", None), ("tau", 0.3)), rate=1e-3)
        assert Cell.of(json.loads(json.dumps(cell.settings()))) == cell

    def test_order_of_options_does_not_matter(self):
        first, second = {"tau": 0.3, "q": 0.5}, {"q": 0.5, "tau": 0.3}
        settings = CELL.settings()
        assert Cell.of({**settings, "options": first}) == Cell.of(
            {**settings, "options": second}
        )

    def test_reads_results_from_before_there_were_options(self):
        old = {"size": "small", "backbone": "b", "noise": "worse", "method": "TURN"}
        cell = Cell.of({**old, "seed": 1, "rate": None, "accuracy": 0.5})
        assert cell == Cell("small", "b", "worse", "TURN", 1)

    @pytest.mark.parametrize("size", plans.PLANS)
    def test_each_has_a_file_of_its_own(self, size):
        planned = {c for e in EXPERIMENTS.values() for c in e.cells(size)}
        paths = {str(cell.path_in(Path())).lower() for cell in planned}
        assert len(paths) == len(planned) > 30


class TestPlans:
    def test_full_has_the_papers_cells(self):
        found = set(plans.table2("full"))
        for (backbone, noise, method), seed in zip(
            published.TABLE_2, [0, 1, 2] * 72, strict=True
        ):
            assert Cell("full", backbone, noise, method, seed, data="cifar100") in found
        in_table_3 = {(c.data, c.backbone, c.method) for c in plans.table3("full")}
        assert in_table_3 >= set(published.TABLE_3)
        in_table_4 = {(c.backbone, c.method) for c in plans.table4("full")}
        assert in_table_4 >= set(published.TABLE_4)
        backbones = {c.backbone for e in EXPERIMENTS.values() for c in e.cells("full")}
        assert backbones <= set(ALIASES)

    @pytest.mark.parametrize("size", ["few", "small"])
    def test_probes_of_three_seeds_come_first_and_no_method_is_missing(self, size):
        listed = list(plans.table2(size))
        probes = [cell for cell in listed if methods.is_probe(cell.method)]
        assert listed[: len(probes)] == probes
        assert {cell.seed for cell in probes} == {0, 1, 2}
        assert {cell.method for cell in listed} == set(methods.METHODS)

    @pytest.mark.parametrize("size", ["few", "small"])
    @pytest.mark.parametrize("name", ["fig3a", "fig3b", "fig3c"])
    def test_the_usual_value_of_a_sweep_is_shared_with_table_2(self, name, size):
        shared = set(EXPERIMENTS[name].cells(size)) & set(plans.table2(size))
        assert len(shared) == 1

    @pytest.mark.parametrize("name", methods.METHODS)
    def test_every_method_can_be_made(self, name):
        model = methods.make(name, "letters", Path("nowhere"), "digits")
        model._validate_params()
        assert (model.get_params()["memory"] is not None) == name.startswith("LP")


class TestPublished:
    def test_turn_is_the_best_of_each_column(self):
        for backbone, noise, method in published.TABLE_2:
            value, best = (
                float(published.TABLE_2[backbone, noise, m].split("±")[0])
                for m in (method, "TURN, paper")
            )
            assert value <= best

    def test_tables_are_complete(self):
        assert len(published.TABLE_2) == 6 * 4 * 9
        assert len(published.TABLE_3) == 2 * 5 * 9
        assert len(published.TABLE_4) == 2 * 9
        assert len(published.TABLE_5) == 2 * 4

    def test_examples_from_the_corners(self):
        assert published.TABLE_2["vit_b16", "symmetric 0.6", "FFT-CE"] == "88.45±0.59"
        last = published.TABLE_2["resnet50", "instance cheng 0.4", "TURN, paper"]
        assert last == "69.78±0.76"
        assert published.TABLE_3["webvision", "resnet50", "FFT-GCE"] == "77.04/70.92"
        assert published.TABLE_4["vit_l16", "LP-CE"] == "81.20/60.77"


class TestRun:
    @pytest.fixture
    def counted(self, monkeypatch):
        """A fit that takes no time, and the cells it was asked for."""
        asked = []

        def fake(cell, folder):
            asked.append(cell)
            return result(cell, 0.5)

        monkeypatch.setattr(measure, "measure", fake)
        return asked

    def test_measures_what_has_no_result(self, counted, tmp_path):
        for _ in range(2):
            work(CELL, tmp_path, tmp_path)
        assert counted == [CELL]
        assert finished("smoke", tmp_path) == {CELL: result(CELL, 0.5)}
        assert [p.suffix for p in tmp_path.rglob("*.*")] == [".json"]

    def test_leaves_alone_what_another_process_measures(self, counted, tmp_path):
        claim = CELL.path_in(tmp_path).with_suffix(".claim")
        claim.parent.mkdir(parents=True)
        with open(claim, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            work(CELL, tmp_path, tmp_path)
            assert not counted
        work(CELL, tmp_path, tmp_path)  # the claim of a killed process holds nothing
        assert counted == [CELL]

    def test_a_failure_leaves_nothing(self, monkeypatch, tmp_path, capsys):
        def fail(cell, folder):
            raise RuntimeError("out of luck")

        monkeypatch.setattr(measure, "measure", fail)
        with pytest.raises(SystemExit):
            work(CELL, tmp_path, tmp_path)
        assert "out of luck" in capsys.readouterr().err
        assert not list(tmp_path.rglob("*.*"))

    def test_processes(self, tmp_path, monkeypatch, capfd):
        """Real ones: a fit, a failure, and again."""
        monkeypatch.setenv("HOME", str(tmp_path))  # for what they keep
        bad = replace(CELL, options=(("q", -1.0),))
        assert run([bad, CELL], tmp_path, tmp_path) == 1
        before = CELL.path_in(tmp_path).stat().st_mtime_ns
        assert run([CELL], tmp_path, tmp_path) == 0
        assert CELL.path_in(tmp_path).stat().st_mtime_ns == before
        out, err = capfd.readouterr()
        assert "q0: FAILED" not in out and "q-1.0: FAILED" in out
        assert "InvalidParameterError" in err
        found = CELL.result(tmp_path)
        assert found["accuracy"] > 0.7
        assert len(found["history"]) == found["parameters"]["lp_epochs"]


FITTED = replace(
    CELL,
    method="TURN, paper",
    options=(("fft_epochs", 2), ("lp_epochs", 3)),
    observed="embedding",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("features")
        for module in (methods, data, measure):
            patch.setattr(module, "FEATURES", folder)
        return measure.measure(FITTED, folder)


class TestMeasure:
    def test_is_the_fit_itself(self, measured, tmp_path):
        """Noting a curve changes neither the model nor what is counted."""
        images = data.load(tmp_path, "smoke", FITTED.noise, 0, "digits")
        model = methods.make("TURN, paper", "letters", tmp_path, "digits")
        model.set_params(random_state=0, lp_epochs=3, fft_epochs=2)
        with counted_passes() as passes:
            model.fit(images.X, images.y)
        assert measured["forward_passes"] == passes.forward / len(images.y)
        assert measured["training_passes"] == passes.training / len(images.y)
        assert measured["accuracy"] == model.score(images.X_test, images.y_test)
        for ours, plain in zip(measured["history"], model.history_, strict=True):
            assert ours["train_loss"] == plain["train_loss"]
        wrong = images.y != images.y_clean
        assert measured["noise_rate"] == wrong.mean()
        assert measured["precision"] == wrong[~model.clean_mask_].mean()
        assert purity(measured) == pytest.approx(1 - wrong[model.clean_mask_].mean())

    def test_passes_of_mixed_images_count(self, tmp_path):
        """They go past the transform; ELR+ trains two networks on nothing else."""
        images = data.load(tmp_path, "smoke", "none", 0, "digits")
        model = methods.make("FFT-ELR+", "letters", tmp_path, "digits")
        model.set_params(fft_epochs=1, fft_warmup_epochs=0)
        with counted_passes() as passes:
            model.fit(images.X[:48], images.y[:48])
        assert passes.training == 2 * 48

    def test_curve_ends_at_the_accuracy(self, measured):
        curve = [row["test_accuracy"] for row in measured["history"]]
        assert len(curve) == 5
        assert curve[-1] == pytest.approx(measured["accuracy"])
        assert best_epoch(measured) == max(curve[3:])

    def test_flags_nothing(self):
        """Which is a result, and counts in a mean over seeds."""
        y_clean = np.array([0, 0, 1, 1])
        images = SimpleNamespace(y=np.array([0, 0, 1, 0]), y_clean=y_clean)
        model = SimpleNamespace(
            clean_mask_=np.ones(4, bool), clean_proba_=np.array([1, 0.9, 0.9, 0.85])
        )
        found = measure._detection(model, images)
        ranks = {"average_precision": 1.0, "auroc": 1.0, "best_f1": 1.0}
        assert found == {"flagged": 0.0, "recall": 0.0, **ranks}
        model.noise_filter_ = SimpleNamespace(noise_rate_=0.1)
        assert measure._detection(model, images)["estimated_rate"] == 0.1
        model.cleansing = None  # then it did not look
        assert measure._detection(model, images) == {}

    def test_notes_time_memory_and_settings(self, measured):
        assert measured["seconds"] > 0 and measured["cpu_seconds"] > 0
        assert 100 < measured["peak_memory_mb"] < 100_000
        assert measured["parameters"]["tau"] == 0.6
        assert measured["probe_criterion"] == "GCELoss"
        assert measured["dtype"] == "float32"
        assert "commit" in measured["machine"]
        assert Cell.of(json.loads(json.dumps(measured, default=cells._plain)))

    def test_notes_the_loss_a_probe_ended_with(self, monkeypatch, tmp_path):
        class Collapsed(LinearProbing):
            """Asked for one loss, trained by another."""

            def fit(self, X, y):
                asked, self.loss = self.loss, "ce"
                super().fit(X, y)
                self.loss = asked
                return self

        cell = replace(CELL, method="LP-GCE", options=(("lp_epochs", 3),))
        assert not collapsed(measure.measure(cell, tmp_path))
        monkeypatch.setattr(baselines, "LinearProbing", Collapsed)
        assert collapsed(measure.measure(cell, tmp_path))

    def test_embedding_is_of_test_images(self, measured):
        found = measured["embedding"]
        n_points = len(found["labels"].split())
        assert n_points == 600
        for text in found["points"].values():
            assert len(text.split()) == 2 * n_points

    def test_ways_to_find_wrong_labels_ask_the_fitted_network(
        self, monkeypatch, tmp_path
    ):
        said = {}

        def cleanlab(proba, y):  # which may not be installed
            said["labels"] = y
            return {"flags": np.zeros(len(y), bool), "quality": proba[:, 0]}

        monkeypatch.setattr(detectors, "_cleanlab", cleanlab)
        cell = replace(FITTED, observed="detection")
        measured = measure.measure(cell, tmp_path)
        images = data.load(tmp_path, "smoke", cell.noise, 0, "digits")
        model = methods.make("TURN, paper", "letters", tmp_path, "digits")
        model.set_params(random_state=0, lp_epochs=3, fft_epochs=2)
        model.fit(images.X, images.y)
        wrong = images.y != images.y_clean
        given = np.searchsorted(model.classes_, images.y)
        np.testing.assert_array_equal(said["labels"], given)
        confidence = model.predict_proba(images.X)[np.arange(len(given)), given]
        by_rank = average_precision_score(wrong, -confidence)
        found = measured["detection"]
        assert found["small loss, rate known"]["average_precision"] == pytest.approx(
            by_rank, abs=1e-6
        )
        own = found["TURNClassifier()"]
        for key in ("precision", "recall"):
            assert own[key] == pytest.approx(measured[key])
        assert own["flagged"] == pytest.approx(100 * measured["flagged"])
        assert own["noise_rate"] == measured["estimated_rate"]
        # A probe on what was kept, on features of the network that was fine-tuned.
        assert own["accuracy"] == pytest.approx(100 * measured["accuracy"], abs=15)

    def test_official_splits(self, monkeypatch, tmp_path):
        """The data of the full size, a few images of each."""
        rng = np.random.RandomState(0)

        def few(home, subset="train"):
            assert home is None
            n = 40 if subset == "train" else 20
            images = rng.randint(256, size=(n, 32, 32, 3)).astype(np.uint8)
            return SimpleNamespace(data=images, target=np.arange(n) % 4)

        for name in ("fetch_cifar100", "load_clothing1m", "load_webvision"):
            monkeypatch.setattr(data.datasets, name, few)
        planned = {
            (c.data, c.noise) for e in EXPERIMENTS.values() for c in e.cells("full")
        }
        assert len(planned) == 7
        for name, noise in planned:
            images = data.load(tmp_path, "full", noise, 0, name)
            assert (len(images.y), len(images.y_test), len(images.y_valid)) == (
                40,
                20,
                0,
            )
            assert (images.y_clean is None) == (noise == "own")
        cell = Cell("full", "letters", "own", "LP-CE", 0, data="webvision")
        found = measure.measure(cell, tmp_path)
        assert found["noisy_validation"] is None and found["noise_rate"] is None
        assert found["n_curve"] == 20


class TestPeakMemory:
    PEAK = "from benchmarks.common import peak_memory_mb as p; print(p())"

    def peaks(self, code):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [float(line) for line in done.stdout.splitlines()]

    def test_grows_with_what_is_held_and_does_not_fall(self):
        hold = "import numpy; a = numpy.ones(2**25); del a"
        before, after = self.peaks(f"{self.PEAK}; {hold}; print(p())")
        assert 256 <= after - before + 1 < 300

    def test_a_process_has_none_of_that_of_its_parent(self):
        """The system's own account begins at the peak of who started the process."""
        (alone,) = self.peaks(self.PEAK)
        (child,) = self.peaks(
            "import subprocess, sys; held = bytearray(b'x') * 2**30; "
            f"subprocess.run([sys.executable, '-c', {self.PEAK!r}])"
        )
        assert child < alone + 100 < 2**10

    def test_is_what_every_benchmark_asks(self):
        asking = [
            path.name
            for path in (ROOT / "benchmarks").rglob("*.py")
            if "ru_maxrss" in path.read_text() or "VmHWM" in path.read_text()
        ]
        assert asking == ["common.py"]


class TestCommand:
    def test_filters_seeds_and_rates(self):
        arguments = "table2 --size small --backbones vit* --noises worse --seeds 2"
        args = parsed([*arguments.split(), "--methods", "LP-CE", "FFT-[CG]*"])
        found = selected(args)
        assert {cell.method for cell in found} >= {"LP-CE", "FFT-CE", "FFT-CORES"}
        assert {cell.seed for cell in found} == {0, 1}
        assert {cell.noise for cell in found} == {"worse"}
        args = parsed([*arguments.split(), "--methods", "*-CE", "--rates", "0.1"])
        rates = [(cell.method, cell.rate) for cell in selected(args) if not cell.seed]
        assert rates == [("LP-CE", None), ("FFT-CE", None), ("FFT-CE", 0.1)]

    def test_needs_no_torch_to_list_and_report(self, tmp_path):
        write(tmp_path, CELL, 0.5)
        code = (
            "import sys; from benchmarks.paper.__main__ import main\n"
            f"status = main(['all', '--results', {str(tmp_path)!r}, *sys.argv[1:]])\n"
            "assert 'torch' not in sys.modules\n"
            "sys.exit(status)"
        )
        for option in ("--list", "--report"):
            done = subprocess.run(
                [sys.executable, "-c", code, option],
                cwd=ROOT,
                env={**os.environ, "MPLBACKEND": "agg"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            if option == "--list":
                listed = done.stdout.splitlines()
                assert "done smoke/digits/letters/symmetric_0.6-LP-CE-seed0" in listed
                assert sum(line.startswith("done") for line in listed) == 1
        assert (tmp_path / "paper/smoke/claims.md").exists()

    def test_a_list_that_is_cut_short_is_no_error(self):
        """As by ``| head``; the rest of a long list finds no reader."""
        command = [sys.executable, "-m", "benchmarks.paper", "table2", "--list"]
        command += ["--size", "small"]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as listing:
            assert listing.stdout.readline()
            listing.stdout.close()
            assert listing.stderr.read() == ""

    def test_status_tells_of_failures(self, monkeypatch, tmp_path):
        monkeypatch.setattr("benchmarks.paper.__main__.run", lambda *args: 2)
        assert main(["table5", "--results", str(tmp_path)]) == 1
