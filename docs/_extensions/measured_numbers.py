"""The substitutions ``|caught|`` and its kin, and the directive ``measured``.

Single numbers within text, and small tables, are read from the files under
``benchmarks/results`` when the documentation is built: a number on the first page is
the one that was measured last.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from benchmarks.cells import draw_of
from benchmarks.paper.scores import Difference

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
FITS = RESULTS / "cells" / "small" / "vit_tiny_patch16_224"


def numbers() -> dict[str, str]:
    """Every substitution and its text."""
    audit = first(
        read("audit.json")["records"], noise="human, aggre", audit="sklearn-turn"
    )
    unnecessary = first(
        read("detection.json")["records"],
        set="CIFAR-10N, 10 classes",
        noise="none",
        method="channel",
    )
    labels, difference = gain()
    tuned = json.loads((FITS / "none-TURN-seed0.json").read_text("utf-8"))
    return {
        "caught": f"{100 * audit['first_100']:.0f} of 100",
        "caught-wrong": f"{100 * audit['wrong']:.0f}\N{NO-BREAK SPACE}%",
        "audit-seconds": f"{audit['seconds']:.1f}",
        "flagged-of-clean": (
            f"{averaged(unnecessary, 'flagged'):.1f}\N{NO-BREAK SPACE}%"
        ),
        "flagged-by-tuning": f"{100 * tuned['flagged']:.1f}\N{NO-BREAK SPACE}%",
        "gain": f"{difference.mean:+.1f} points",
        "gain-labels": labels,
        "gain-error": f"{difference.error:.1f}",
        "turn-accuracy": f"{difference.one.mean:.1f}\N{NO-BREAK SPACE}%",
        "plain-accuracy": f"{difference.other.mean:.1f}\N{NO-BREAK SPACE}%",
        "gain-seeds": number_of_seeds(difference.one.n_seeds),
    }


#: Fits to compare with plain fine-tuning, the first that is there; and what they are.
GAINS = {
    "aggre-TURN": "on such labels",
    "symmetric_0.6-TURN": "where 54\N{NO-BREAK SPACE}% of the labels were random",
    "aggre-TURN__paper": "by the paper's rule, on such labels",
}


def gain() -> tuple[str, Difference]:
    """What was compared, and how far TURN is above plain fine-tuning."""
    for fit, labels in GAINS.items():
        found = Difference.of(fits(fit), fits(f"{fit.partition('-')[0]}-FFT-CE"))
        if found:
            return labels, found
    raise FileNotFoundError(f"There is none of the fits {', '.join(GAINS)} in {FITS}.")


def number_of_seeds(n: int) -> str:
    """In words."""
    return "one seed" if n == 1 else f"{n} seeds"


def fits(method: str, ending: str = "-seed?") -> list[dict[str, Any]]:
    """Results of a method, named as its files are, with one for each seed."""
    paths = sorted(FITS.glob(f"{method}{ending}.json"))
    return [json.loads(path.read_text("utf-8")) for path in paths]


def read(path: str) -> Any:
    """The content of a JSON file of results."""
    return json.loads((RESULTS / path).read_text(encoding="utf-8"))


def first(records: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    """The record that has these values."""
    return next(
        record
        for record in records
        if all(record[key] == value for key, value in wanted.items())
    )


def accuracies(*methods: str) -> list[list[float]]:
    """Test accuracies (%) of fits, on the draws that all of them have."""
    by_draw = [{draw_of(r): 100 * r["accuracy"] for r in fits(m)} for m in methods]
    draws = sorted(set.intersection(*map(set, by_draw)))
    return [[values[draw] for draw in draws] for values in by_draw]


#: Sets of labels of the detection benchmark, and how the table calls them.
DETECTION = {
    "none": "clean",
    "human, aggre": "human, aggregated",
    "human, random1": "human, one annotator",
    "human, worse": "human, worst",
    "symmetric 0.4": "symmetric",
    "asymmetric 0.4": "asymmetric",
}
#: The same of the fits of probes.
FITTED = {
    "none": "right",
    "worse": "human",
    "symmetric_0.6": "symmetric",
    "asymmetric_0.4": "asymmetric",
}


def filters_table() -> list[list[str]]:
    """What mixture and channel flag, and how well."""
    rows = [
        [
            "labels (wrong)",
            "flagged: mixture",
            "flagged: channel",
            "F1: mixture, channel",
            "best F1",
        ]
    ]
    records = read("detection.json")["records"]
    for noise, name in DETECTION.items():
        mixture, channel = (
            first(records, set="CIFAR-10N, 10 classes", noise=noise, method=method)
            for method in ("mixture (TURN)", "channel")
        )
        wrong = averaged(channel, "wrong")
        rows.append(
            [
                f"{name} ({100 * wrong:.1f} %)",
                f"{averaged(mixture, 'flagged'):.1f} %",
                f"{averaged(channel, 'flagged'):.1f} %",
                f"{averaged(mixture, 'f1'):.2f}, {averaged(channel, 'f1'):.2f}",
                f"{averaged(channel, 'best_f1'):.2f}",
            ]
            if wrong
            else [
                f"{name} (0 %)",
                f"{averaged(mixture, 'flagged'):.1f} %",
                f"{averaged(channel, 'flagged'):.1f} %",
                "–",
                "–",
            ]
        )
    return rows


def averaged(record: dict[str, Any], key: str) -> float:
    """Mean over the seeds of a record."""
    return mean(run[key] for run in record["runs"])


def losses_table() -> list[list[str]]:
    """Test accuracy of linear probes by their loss, on draws that all of them have."""
    losses = ["ce", "gce", "sce", "elr", "nce+rce", "ngce+mae"]
    losses += ["nce+agce", "nce+aul", "nce+ael"]
    files = [f"LP-{loss.upper().replace('+', '_')}" for loss in losses]
    columns = [accuracies(*(f"{noise}-{file}" for file in files)) for noise in FITTED]
    header = [
        f"{FITTED[n]} ({len(c[0])})" for n, c in zip(FITTED, columns, strict=True)
    ]
    rows = zip(*columns, strict=True)
    return [
        ["``loss``", *header],
        *(
            [f'``"{loss}"``', *(f"{mean(s):.1f}" if s else "" for s in row)]
            for loss, row in zip(losses, rows, strict=True)
        ),
    ]


#: Columns of the table of fine-tuned networks: the end of a file's name, and a title.
TRAINED = {
    "LP-GCE": "linear probe",
    "FFT-CE": "plain fine-tuning",
    "TURN__paper": "mixture, the paper's rule",
    "TURN": "channel, hard (default)",
    "TURN-label_correctionsoft": "channel, soft",
}
#: Its rows.
TRAINED_ON = {
    "none": "right (0 %)",
    "aggre": "human (9 %)",
    "worse": "human (40 %)",
    "symmetric_0.6": "symmetric (54 %)",
    "asymmetric_0.4": "asymmetric (20 %)",
}


def training_table() -> list[list[str]]:
    """Test accuracy of whole fits, on the labels that the default was trained on."""
    rows = [["labels (wrong)", *TRAINED.values()]]
    for noise, name in TRAINED_ON.items():
        row = [name]
        drawn = {result["seed"]: draw_of(result) for result in fits(f"{noise}-TURN")}
        for method in TRAINED:
            method, _, options = method.partition("-label")
            ending = f"-seed?-label{options}" if options else "-seed?"
            found = fits(f"{noise}-{method}", ending)
            if any(draw_of(r) != drawn.get(r["seed"], draw_of(r)) for r in found):
                found = []
            several = f" ({len(found)})" if len(found) > 1 else ""
            values = [100 * result["accuracy"] for result in found]
            row.append(f"{mean(values):.1f}{several}" if values else "")
        rows.append(row)
    return rows


TABLES = {
    "filters": filters_table,
    "losses": losses_table,
    "training": training_table,
}


class Measured(SphinxDirective):
    """A small table by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse a list-table."""
        self.env.note_reread()  # results change while the source stays the same
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in TABLES[self.arguments[0]]():
            for i, cell in enumerate(row):
                lines.append(
                    f"   {'-' if i else '* -'} {cell}".replace("   -", "     -")
                )
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Any) -> dict[str, Any]:
    """Add the directive, and the substitutions to every page."""
    app.add_directive("measured", Measured)
    lines = [f".. |{name}| replace:: {text}" for name, text in numbers().items()]
    app.config.rst_prolog = "\n".join(["", *lines, ""])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
