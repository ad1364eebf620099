"""The tables, figures and claims by name, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.paper import claims, figures, plans, tables
from benchmarks.paper.scores import Results, machines


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes
    ----------
    title : str
    cells : callable
        From the name of a size to its cells.
    table : callable
        From results to Markdown.
    figure : callable or None
        From results and the path of an SVG file, which it writes, to Markdown.
    """

    title: str
    cells: Callable[[str], Iterable[Cell]]
    table: Callable[[Results], str] | None = None
    figure: Callable[[Results, Path], str] | None = None


EXPERIMENTS = {
    "table1": Experiment("Cost of fine-tuning", plans.table1, tables.table1),
    "table2": Experiment("Test accuracy (%)", plans.table2, tables.table2),
    "table3": Experiment(
        "Test accuracy (%) under errors of people", plans.table3, tables.table3
    ),
    "table4": Experiment(
        "Test accuracy (%) of larger backbones", plans.table4, tables.table4
    ),
    "table5": Experiment("Test accuracy (%) by component", plans.table5, tables.table5),
    "fig2": Experiment(
        "Features before and after fine-tuning", plans.figure2, figure=figures.figure2
    ),
    "fig3a": Experiment(
        "Epochs of linear probing",
        plans.sweep("lp_epochs"),
        figure=figures.sweep("lp_epochs"),
    ),
    "fig3b": Experiment(
        "Epochs of full fine-tuning",
        plans.sweep("fft_epochs"),
        figure=figures.sweep("fft_epochs"),
    ),
    "fig3c": Experiment(
        "Threshold of cleansing", plans.sweep("tau"), figure=figures.sweep("tau")
    ),
    "fig3d": Experiment(
        "Accuracy against time", plans.figure3d, figure=figures.figure3d
    ),
    "claims": Experiment("The paper's claims", lambda size: (), claims.report),
}

NOTES = {
    "smoke": "600 of scikit-learn's digits and a small backbone that knows letters: "
    "this shows that everything runs, not which method is good.",
    "few": "600 CIFAR-10 images as JPEG files, fed at 224 px, 1500 test images with "
    "clean labels: so few that methods with two networks can be run on a CPU.",
    "small": "3000 CIFAR-10 images as JPEG files, fed at 224 px, 3000 test images with "
    "clean labels. Instance noise (xia, cheng) is drawn from features of ViT-Ti, a "
    "backbone that is compared.",
    "full": "The data and backbones of the paper; its own numbers in brackets.",
}


_PARAMETERS = (
    "Every method has its default parameters in this library, mostly those published "
    "for CIFAR, whatever the noise. Some are published with others for other noise: "
    "DivideMix with `lambda_u` near 0 for little noise, where it is 25 here."
)


def write_report(name: str, size: str, root: Path) -> str:
    """Write the table or figure, from results alone; return its Markdown."""
    experiment, results = EXPERIMENTS[name], Results(size, root / "cells")
    folder = root / "paper" / size
    folder.mkdir(parents=True, exist_ok=True)
    text = [f"# {experiment.title}: {name}, {size}\n", f"{NOTES[size]} {_PARAMETERS}"]
    cells = list(dict.fromkeys(experiment.cells(size)))
    if cells:
        done = [cell for cell in cells if cell.path_in(root / "cells").exists()]
        text.append(
            f"Measured: {len(done)} of {len(cells)} fits. Mean ± standard deviation "
            "where there are several seeds."
        )
    text.append("")
    if experiment.figure is not None:
        numbers = experiment.figure(results, folder / f"{name}.svg")
        text += [f"![{experiment.title}]({name}.svg)\n", numbers]
    elif experiment.table is not None:
        text.append(experiment.table(results))
    found = [result for cell in cells for result in results.of(cell)]
    if found:
        text.append(f"\nMachines: {machines(found)}.")
    report = "\n".join(text) + "\n"
    (folder / f"{name}.md").write_text(report)
    return report
