"""Tables, figures and claims of the paper's comparison, from results alone."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from paper_support import CELL, result, write

from benchmarks.cells import Cell, at_best_rate
from benchmarks.paper import claims, plans
from benchmarks.paper.reports import EXPERIMENTS, write_report
from benchmarks.paper.scores import Results, Score, best_epoch


def points(path):
    """Marks of each series of a figure, by the groups of its SVG."""
    root = ElementTree.parse(path).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    return [len(group.findall(f"{svg}use")) for group in root.iter(f"{svg}g")]


def row_of(report, name):
    """Columns of the row that begins with a name."""
    (line,) = [x for x in report.splitlines() if x.startswith(f"| {name} |")]
    return [text.strip() for text in line.split("|")[2:-1]]


class TestReport:
    def test_means_spread_and_the_best(self, tmp_path):
        for seed, accuracy in enumerate([0.8, 0.85, 0.9]):
            write(tmp_path, replace(CELL, seed=seed), accuracy)
        write(tmp_path, replace(CELL, method="FFT-CE"), 0.7)
        report = write_report("table2", "smoke", tmp_path)
        assert row_of(report, "LP-CE") == ["**85.0 ± 5.0**", "–", "–", "–"]
        assert row_of(report, "FFT-CE")[0] == "70.0"
        assert "symmetric 0.6 (50 % wrong)" in report
        assert "LP-GCE" not in report
        assert (tmp_path / "paper/smoke/table2.md").read_text() == report

    def test_rates_are_chosen_without_test_labels(self, tmp_path):
        cell = replace(CELL, method="FFT-CE")
        write(tmp_path, cell, 0.9, noisy_validation=0.3)
        write(tmp_path, replace(cell, rate=1e-3), 0.6, noisy_validation=0.5)
        assert (
            row_of(write_report("table2", "smoke", tmp_path), "FFT-CE")[0] == "**60.0**"
        )
        only = [result(cell, 0.9), result(replace(cell, seed=1), 0.8)]
        assert at_best_rate(only) == only

    def test_the_papers_numbers_are_beside_ours_at_full_size(self, tmp_path):
        cell = Cell("full", "vit_b16", "symmetric 0.6", "FFT-CE", 0, data="cifar100")
        write(tmp_path, cell, 0.5)
        report = write_report("table2", "full", tmp_path)
        assert "| FFT-CE | **50.0** (88.45 ± 0.59) | – (62.31 ± 1.51) |" in report
        assert "(88.45" not in write_report("table2", "small", tmp_path)
        for name, number in [("table3", "70.28 / 70.28"), ("table4", "87.02 / 85.90")]:
            assert f"– ({number})" in write_report(name, "full", tmp_path)
        assert "– (83.33)" in write_report("table5", "full", tmp_path)

    def test_best_epoch_is_of_the_last_phase_and_of_all_test_images(self, tmp_path):
        history = [
            {"phase": "probe", "test_accuracy": 0.99},
            {"phase": "fine-tune", "test_accuracy": 0.8},
            {"phase": "fine-tune", "test_accuracy": 0.7},
        ]
        write(tmp_path, replace(CELL, noise="symmetric 0.9"), 0.7, history=history)
        report = write_report("table4", "smoke", tmp_path)
        assert row_of(report, "LP-CE") == ["**80.0 / 70.0**"]
        assert best_epoch({"n_curve": 5, "n_test": 9, "history": history}) is None

    def test_cost_is_relative_to_plain_fine_tuning(self, tmp_path):
        for cell in plans.table1("smoke"):
            seconds = {"FFT-CE": 20.0, "FFT-UNICON": 100.0}.get(cell.method, 1.0)
            write(tmp_path, cell, 0.5, cpu_seconds=seconds)
        row = row_of(write_report("table1", "smoke", tmp_path), "FFT-UNICON")
        assert row[1:4] == ["100.0", "5.00", f"{675.6 / 108.6:.2f}"]

    def test_sweep_shows_accuracy_and_purity(self, tmp_path):
        for i, cell in enumerate(plans.sweep("tau")("smoke")):
            write(tmp_path, cell, 0.5 + i / 100, flagged=0.6, recall=0.8 + i / 100)
        report = write_report("fig3c", "smoke", tmp_path)
        assert row_of(report, "0.3") == ["50.0", "75.0"]  # 0.1 of 0.4 kept are wrong
        assert points(tmp_path / "paper/smoke/fig3c.svg").count(6) == 2

    def test_embedding_is_drawn_by_class(self, tmp_path):
        (cell, _) = plans.figure2("smoke")
        embedding = {
            "labels": "0 0 0 1",
            "agreement": {"before": 0.9, "after": 0.25},
            "points": {"before": "0 0 1 1 2 2 9 9", "after": "0 0 9 9 8 8 1 1"},
        }
        write(tmp_path, cell, 0.5, embedding=embedding)
        report = write_report("fig2", "smoke", tmp_path)
        assert row_of(report, "letters") == ["90.0", "–", "25.0"]
        marks = points(tmp_path / "paper/smoke/fig2.svg")
        assert marks.count(3) == 2  # the first class, before and after

    @pytest.mark.parametrize("name", EXPERIMENTS)
    @pytest.mark.parametrize("size", plans.PLANS)
    def test_without_results(self, name, size, tmp_path):
        report = write_report(name, size, tmp_path)
        assert "nan" not in report
        assert ("Measured: 0 of" in report) == (name != "claims")
        assert (tmp_path / f"paper/{size}/{name}.svg").exists() == name.startswith(
            "fig"
        )


class TestClaims:
    def test_error_is_that_of_test_images_or_of_seeds(self):
        one = Score.of([result(CELL, 0.8)])
        assert one.error == pytest.approx(100 * (0.8 * 0.2 / 1000) ** 0.5)
        far = Score.of([result(CELL, 0.6), result(CELL, 0.8)])
        assert far.error == pytest.approx(100 * np.std([0.6, 0.8], ddof=1) / 2**0.5)
        near = Score.of([result(CELL, 0.8), result(CELL, 0.8)])
        assert near.error == pytest.approx(one.error / 2**0.5)

    @pytest.mark.parametrize(
        ("ours", "verdict"),
        [(0.85, claims.HOLDS), (0.82, claims.CHANCE), (0.7, claims.FAILS)],
    )
    def test_turn_against_the_best_other(self, ours, verdict, tmp_path):
        write(tmp_path, CELL, 0.3)
        write(tmp_path, replace(CELL, method="FFT-UNICON"), 0.8)
        write(tmp_path, replace(CELL, method="TURN"), ours)
        found = claims.best_of_all(Results("smoke", tmp_path / "cells"), "TURN")
        assert found.verdicts == [verdict]
        assert "FFT-UNICON: 80.0" in found.rows[0]

    def test_probing_or_tuning(self, tmp_path):
        accuracies = {  # noise -> LP, FFT, verdict
            "symmetric 0.9": (0.8, 0.5, claims.HOLDS),
            "symmetric 0.6": (0.8, 0.5, claims.FAILS),
            "none": (0.8, 0.9, claims.HOLDS),
            "asymmetric 0.4": (0.8, 0.9, None),
        }
        for noise, (probe, tuned, _) in accuracies.items():
            write(tmp_path, replace(CELL, noise=noise, method="LP-GCE"), probe)
            write(tmp_path, replace(CELL, noise=noise, method="FFT-GCE"), tuned)
        found = claims.probing_or_tuning(Results("smoke", tmp_path / "cells"))
        verdicts = {row[2]: row[-1] for row in found.rows}
        for noise, (*_, verdict) in accuracies.items():
            assert verdicts[noise] == (verdict or "–")
        assert len(found.verdicts) == 3

    def test_cleansing(self, tmp_path):
        found = {0: 0.9, None: 0.4, "once": 0.6, "epoch": 0.61}
        for cell in plans.table5("smoke"):
            options = dict(cell.options)
            kind = options.get("lp_epochs", options.get("cleansing", "epoch"))
            write(tmp_path, cell, found[kind])
        claim = claims.cleansing(Results("smoke", tmp_path / "cells"))
        assert claim.verdicts == [claims.CHANCE, claims.HOLDS]

    @pytest.mark.parametrize(
        ("last", "verdict"), [(0.83, claims.HOLDS), (0.9, claims.FAILS)]
    )
    def test_enough_epochs(self, last, verdict, tmp_path):
        for cell in plans.sweep("fft_epochs")("smoke"):
            longest = dict(cell.options).get("fft_epochs") == 8
            write(tmp_path, cell, last if longest else 0.8)
        results = Results("smoke", tmp_path / "cells")
        assert claims.enough(results, "fft_epochs", 5).verdicts == [verdict]

    @pytest.mark.parametrize(
        ("recall", "verdict"), [(0.95, claims.HOLDS), (0.5, claims.FAILS)]
    )
    def test_purer(self, recall, verdict, tmp_path):
        for cell in plans.sweep("tau")("smoke"):
            highest = dict(cell.options).get("tau") == 0.9
            write(tmp_path, cell, 0.5, flagged=0.5, recall=recall if highest else 0.8)
        assert claims.purer(Results("smoke", tmp_path / "cells")).verdicts == [verdict]

    @pytest.mark.parametrize(
        ("seconds", "verdict"), [(12.0, claims.HOLDS), (13.0, claims.FAILS)]
    )
    def test_cheaper(self, seconds, verdict, tmp_path):
        write(tmp_path, replace(CELL, method="TURN, paper"), 0.5, cpu_seconds=seconds)
        passes = {"forward_passes": 10.0, "training_passes": 20.0}
        other = replace(CELL, method="FFT-UNICON")
        write(tmp_path, other, 0.5, cpu_seconds=100.0, **passes)
        found = claims.cheaper(Results("smoke", tmp_path / "cells"))
        assert found.verdicts == [verdict]
        assert found.rows[0][4:6] == [f"{seconds / 100:.3f}", "0.100"]

    def test_report_names_all(self, tmp_path):
        write(tmp_path, CELL, 0.5)
        write(tmp_path, replace(CELL, method="TURN"), 0.6)
        report = claims.report(Results("smoke", tmp_path / "cells"))
        assert "| 2 | TURN: above every other method at every noise | holds" in report
        assert report.count("not measured") == 7
