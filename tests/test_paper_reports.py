"""Tables, figures and claims of the paper's comparison, from results alone."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.testing import assert_allclose
from paper_support import CELL, result, write

from benchmarks.cells import Cell, at_best_rate, on_same_draws
from benchmarks.paper import claims, plans
from benchmarks.paper.reports import EXPERIMENTS, write_report
from benchmarks.paper.scores import Difference, Results, Score, best_epoch, collapsed


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

    def test_a_rate_that_shares_no_draw_with_the_default_is_not_chosen(self):
        other = replace(CELL, seed=1, rate=1e-4)
        usual = [result(CELL, 0.9, noisy_validation=0.3)]
        for tuned in (
            result(other, 0.6, noisy_validation=0.9),
            result(replace(other, seed=0), 0.6, noisy_validation=0.9, noise_rate=0.4),
            result(replace(other, seed=0), 0.6, noisy_validation=None),
        ):
            assert at_best_rate([tuned, *usual]) == usual
        # A third rate without a seed of theirs does not hinder the comparison.
        far = result(replace(CELL, seed=2, rate=1e-3), 0.5)
        better = result(replace(other, seed=0), 0.6, noisy_validation=0.4)
        assert at_best_rate([far, *usual, better]) == [better]

    def test_columns_of_several_draws_are_marked_and_have_no_best(self, tmp_path):
        write(tmp_path, CELL, 0.8)
        write(tmp_path, replace(CELL, seed=1), 0.8, noise_rate=0.51)
        assert "†" not in write_report("table2", "smoke", tmp_path)
        write(tmp_path, replace(CELL, method="FFT-CE"), 0.7, noise_rate=0.49)
        report = write_report("table2", "smoke", tmp_path)
        assert "symmetric 0.6 (50 % wrong) † |" in report and "**" not in report
        assert report.count("†") == 2  # the column and what is said about it

    def test_probes_that_collapsed_are_marked(self, tmp_path):
        by_entropy = {"probe_criterion": "CrossEntropyLoss"}
        write(tmp_path, CELL, 0.8, parameters={"loss": "ce"}, **by_entropy)
        cell = replace(CELL, method="LP-GCE")
        write(tmp_path, cell, 0.7, parameters={"loss": "gce"}, **by_entropy)
        report = write_report("table2", "smoke", tmp_path)
        assert row_of(report, "LP-GCE")[0] == "70.0 ‡"
        assert report.count("‡") == 2
        kept = {"parameters": {"loss": "gce"}, "probe_criterion": "GCELoss"}
        assert not collapsed(result(cell, 0.7, **kept))
        assert not collapsed(result(cell, 0.7, parameters={"loss": "gce"}))

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
    def test_error_is_that_of_test_images_and_of_seeds(self):
        one = Score.of([result(CELL, 0.8)])
        assert one.error == pytest.approx(100 * (0.8 * 0.2 / 1000) ** 0.5)
        values = [0.6, 0.7, 0.8]
        far = Score.of([result(CELL, value) for value in values])
        # From a table of Student's t: 4.303 with two degrees of freedom.
        seeds = 0.1 / 3**0.5 * 4.303 / 2
        assert far.error == pytest.approx(
            100 * np.hypot((0.7 * 0.3 / 1000) ** 0.5, seeds), rel=1e-3
        )
        near = Score.of([result(CELL, 0.8), result(CELL, 0.8)])
        assert near.error == pytest.approx(one.error)  # the same images

    def test_only_equal_draws_are_compared(self):
        ours, theirs = result(CELL, 0.8), result(replace(CELL, method="FFT-CE"), 0.5)
        assert on_same_draws([ours], [theirs]) == [(ours, theirs)]
        for other in (
            {**theirs, "seed": 1},
            {**theirs, "noise_rate": 0.51},
            # Asymmetric noise has the same rate in every draw; the date tells.
            {**theirs, "machine": {**theirs["machine"], "date": "2026-11-28"}},
        ):
            assert on_same_draws([ours], [other]) == []
            assert Difference.of([ours], [other]) is None
        dates = [{"machine": {"date": f"2026-11-{day}"}} for day in (25, 30)]
        human = [{**ours, **date, "noise": "worse"} for date in dates]
        assert len(on_same_draws(human[:1], human[1:])) == 1

    def test_a_difference_is_of_pairs(self):
        """Seeds differ by much more than the methods do."""
        ours = [result(replace(CELL, seed=i), a) for i, a in enumerate([0.6, 0.7, 0.8])]
        theirs = [{**r, "accuracy": r["accuracy"] - 0.05} for r in reversed(ours)]
        found = Difference.of(ours, theirs)
        p, q = 0.7, 0.65
        images = ((p * (1 - p) + q * (1 - q)) / 1000) ** 0.5
        assert_allclose([found.mean, found.error], [5.0, 100 * images])
        far = Difference.of(ours[1:], [{**theirs[0], "accuracy": 0.3}, theirs[1]])
        p, q = 0.75, 0.475
        images = ((p * (1 - p) + q * (1 - q)) / 1000) ** 0.5
        seeds = (0.5 - 0.05) / 2 * 12.706 / 2  # t with one degree of freedom
        expected = [27.5, 100 * np.hypot(images, seeds)]
        assert_allclose([far.mean, far.error], expected, rtol=1e-4)
        assert Difference.of(ours, theirs[:1]).one.mean == pytest.approx(80.0)

    @pytest.mark.parametrize(
        ("ours", "verdict"),
        [(0.85, claims.HOLDS), (0.82, claims.CHANCE), (0.7, claims.FAILS)],
    )
    def test_turn_against_the_best_other(self, ours, verdict, tmp_path):
        write(tmp_path, replace(CELL, method="FFT-CE"), 0.3)
        write(tmp_path, replace(CELL, method="FFT-UNICON"), 0.8)
        write(tmp_path, replace(CELL, method="TURN"), ours)
        found = claims.best_of_all(Results("smoke", tmp_path / "cells"), "TURN")
        assert found.verdicts == [verdict]
        assert "FFT-UNICON: 80.0" in found.rows[0]
        assert "2 of 30" in found.rows[0]

    def test_no_verdict_on_turn_without_plain_fine_tuning(self, tmp_path):
        write(tmp_path, CELL, 0.3)
        write(tmp_path, replace(CELL, method="TURN"), 0.9)
        # Of another seed, it is none to compare with.
        write(tmp_path, replace(CELL, method="FFT-CE", seed=1), 0.5)
        results = Results("smoke", tmp_path / "cells")
        found = claims.best_of_all(results, "TURN")
        assert found.verdict == "not measured"
        assert found.rows[0][-2:] == ["1 of 30", "–"]
        assert "| LP-CE: 30.0 |" in claims.report(results)

    def test_one_that_is_above_turn_refutes_it_without_plain_fine_tuning(
        self, tmp_path
    ):
        write(tmp_path, CELL, 0.9)
        write(tmp_path, replace(CELL, method="TURN"), 0.3)
        found = claims.best_of_all(Results("smoke", tmp_path / "cells"), "TURN")
        assert found.verdicts == [claims.FAILS]
        assert found.rows[0][-2:] == ["1 of 30", claims.FAILS]

    def test_turn_and_others_are_compared_on_the_seeds_of_both(self, tmp_path):
        write(tmp_path, replace(CELL, method="TURN"), 0.69)
        write(tmp_path, replace(CELL, method="FFT-CE"), 0.5)
        for seed, accuracy in enumerate([0.76, 0.62, 0.61]):
            cell = replace(CELL, method="LP-UNICON", seed=seed)
            write(tmp_path, cell, accuracy)
        found = claims.best_of_all(Results("smoke", tmp_path / "cells"), "TURN")
        assert found.verdicts == [claims.FAILS]
        assert found.rows[0][4:7] == ["LP-UNICON: 76.0", "-7.0", 1]

    def test_probing_or_tuning(self, tmp_path):
        accuracies = {  # noise -> LP, FFT, verdict
            "symmetric 0.9": (0.8, 0.5, claims.HOLDS),
            "symmetric 0.6": (0.8, 0.5, claims.FAILS),
            "aggre": (0.8, 0.9, claims.HOLDS),
            "none": (0.8, 0.9, None),  # is no noise
            "asymmetric 0.4": (0.8, 0.9, None),
        }
        heavy = ["symmetric 0.9"]
        for noise, (probe, tuned, _) in accuracies.items():
            write(tmp_path, replace(CELL, noise=noise, method="LP-GCE"), probe)
            write(tmp_path, replace(CELL, noise=noise, method="FFT-GCE"), tuned)
        results = Results("smoke", tmp_path / "cells")
        expected = {noise: verdict for noise, (*_, verdict) in accuracies.items()}
        for strength in ("heavy", "light"):
            found = claims.probing_or_tuning(results, strength)
            assert {row[2]: row[-1] for row in found.rows} == {
                noise: verdict
                for noise, verdict in expected.items()
                if verdict and (noise in heavy) == (strength == "heavy")
            }
            assert len(found.verdicts) == len(found.rows)

    def test_half_a_claim_is_none(self, tmp_path):
        """What is said of light noise says nothing of heavy noise."""
        for method, accuracy in (("LP-CE", 0.8), ("FFT-CE", 0.9)):
            write(tmp_path, replace(CELL, noise="aggre", method=method), accuracy)
        report = claims.report(Results("smoke", tmp_path / "cells"))
        assert "from 0.8) | not measured |" in report
        assert "aggre) | holds (1 of 1) |" in report

    def test_cleansing(self, tmp_path):
        found = {0: 0.9, None: 0.4, "once": 0.6, "epoch": 0.61}
        for cell in plans.table5("smoke"):
            options = dict(cell.options)
            kind = options.get("lp_epochs", options.get("cleansing", "epoch"))
            write(tmp_path, cell, found[kind])
        claim = claims.cleansing(Results("smoke", tmp_path / "cells"))
        assert claim.verdicts == [claims.CHANCE, claims.HOLDS]

    @pytest.mark.parametrize(
        ("last", "verdict"),
        [(0.83, claims.CHANCE), (0.9, claims.FAILS), (0.7, claims.HOLDS)],
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
        assert found.rows[0][5:7] == [f"{seconds / 100:.3f}", "0.100"]
        # Of the default the paper says nothing.
        write(tmp_path, replace(CELL, method="TURN"), 0.5, cpu_seconds=40.0)
        found = claims.cheaper(Results("smoke", tmp_path / "cells"))
        assert found.verdicts == [verdict]
        assert found.rows[1][3:6] == ["TURN", "FFT-UNICON", "0.400"]

    def test_times_of_different_machines_are_not_compared(self, tmp_path):
        machine = {"gpu": "a wheel", "processor": "abacus"}
        cells = {cell.method: cell for cell in plans.table1("smoke")}
        write(tmp_path, cells["TURN, paper"], 0.5, machine=machine)
        for method in ("FFT-UNICON", "FFT-CE"):
            write(tmp_path, cells[method], 0.5)
        results = Results("smoke", tmp_path / "cells")
        found = claims.cheaper(results)
        assert found.verdict == "not measured" and not found.rows
        relative = row_of(write_report("table1", "smoke", tmp_path), "TURN, paper")[2]
        assert relative == "–"
        # Nor in other precisions.
        write(tmp_path, cells["TURN, paper"], 0.5, dtype="bfloat16")
        results = Results("smoke", tmp_path / "cells")
        assert results.relative_time(cells["TURN, paper"], cells["FFT-CE"]) is None

    def test_report_names_all(self, tmp_path):
        write(tmp_path, replace(CELL, method="FFT-CE"), 0.5)
        write(tmp_path, replace(CELL, method="TURN"), 0.6)
        report = claims.report(Results("smoke", tmp_path / "cells"))
        assert (
            "| 2 | TURN: above every other method measured (1 of 4 backbones and "
            "noises); not the paper's | holds"
        ) in report
        assert report.count("not measured") == 8
