"""Directives for measured results: ``benchmark``, ``paper-reports``, ``other-reports``.

They are made whenever the documentation is, from the files under
``benchmarks/results``, by the code that writes the reports there. What has no result
is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CELLS = RESULTS / "cells"


class MarkdownDirective(SphinxDirective):
    """Parse Markdown where the directive stands."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse what :meth:`markdown` returns."""
        self.env.note_reread()  # results appear while the source stays the same
        document: Any = new_document(self.name, self.state.document.settings)
        MystParser().parse(self.markdown(self.arguments[0]), document)
        for table in document.findall(nodes.table):
            table["classes"].append("benchmark")
        here = Path(self.env.doc2path(self.env.docname)).parent
        for image in document.findall(nodes.image):
            image["uri"] = os.path.relpath(image["uri"], here)
        return list(document.children)

    def markdown(self, argument: str) -> str:
        """The text."""
        raise NotImplementedError


class Benchmark(MarkdownDirective):
    """A report by its name.

    ``real_noise/SIZE`` is made from single fits. Any other was written together with
    its JSON file, ``NAME.md`` beside ``NAME.json``, or is a file of notes.
    """

    def markdown(self, argument: str) -> str:
        """The report without its title."""
        kind, _, size = argument.partition("/")
        if kind == "real_noise":
            from benchmarks.real_noise import report

            return body_of(report(size))
        return body_of((RESULTS / f"{argument}.md").read_text(encoding="utf-8"))


class PaperReports(MarkdownDirective):
    """Every table and figure of the paper that has a result at a size; the claims."""

    def markdown(self, argument: str) -> str:
        """One section for each."""
        from benchmarks.paper.reports import EXPERIMENTS, write_report

        size = argument
        if not any((CELLS / size).rglob("*.json")):
            return "Nothing was measured at this size yet."
        root = self._folder_beside_cells()
        text, missing = [], []
        for name, experiment in EXPERIMENTS.items():
            heading = f"{spelled_out(name)}{experiment.title}"
            planned = list(experiment.cells(size))
            # The claims have no fits of their own.
            if planned and not any(cell.path_in(CELLS).exists() for cell in planned):
                missing.append(heading)
                continue
            body = body_of(write_report(name, size, root), heading_level=2)
            figures = root / "paper" / size
            body = body.replace(f"]({name}.svg)", f"]({figures / name}.svg)")
            text.append(f"# {heading}\n\n{body}")
        if missing:
            text.insert(0, f"No fit was measured yet of: {'; '.join(missing)}.")
        return "\n\n".join(text)

    def _folder_beside_cells(self) -> Path:
        """A folder in the build for reports, in which the cells are found."""
        folder = Path(self.env.doctreedir).resolve() / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "cells").is_symlink():
            (folder / "cells").symlink_to(CELLS, target_is_directory=True)
        return folder


class OtherReports(MarkdownDirective):
    """Reports that no page of a folder names: what was measured of late."""

    def markdown(self, argument: str) -> str:
        """One section for each."""
        pages = (Path(self.env.srcdir) / argument).glob("*.rst")
        reports = [
            (RESULTS / f"{name}.md").read_text("utf-8") for name in unnamed(pages)
        ]
        return "\n\n".join(reports) or "None."


def unnamed(pages: Iterable[Path]) -> list[str]:
    """Results for which no page has the directive ``benchmark``."""
    named = {
        name
        for page in pages
        for name in re.findall(r"(?m)^\.\. benchmark:: (\S+)", page.read_text("utf-8"))
    }
    written = {path.stem for path in RESULTS.glob("*.json")}
    return sorted(name for name in written - named if (RESULTS / f"{name}.md").exists())


def spelled_out(name: str) -> str:
    """``table2`` as "Table 2: ", ``fig3a`` as "Figure 3a: ", nothing for others."""
    kind, number = re.fullmatch(r"([a-z]+)(.*)", name).groups()
    kinds = {"table": "Table", "fig": "Figure"}
    return f"{kinds[kind]} {number}: " if kind in kinds else ""


def body_of(text: str, heading_level: int = 1) -> str:
    """A report without its title and without headings over empty tables.

    Parameters
    ----------
    text : str
        Markdown: one heading of the first level, others of the second.
    heading_level : int, default=1
        Of the latter in the result.
    """
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"(?m)^## .*\n\n\|.*\n\|[-| ]+\|\n(?!\|)", "", text)
    return re.sub(r"(?m)^##(?=#* )", "#" * heading_level, text)


def setup(app: Any) -> dict[str, Any]:
    """Add the directives, and what their tables look like."""
    app.add_directive("benchmark", Benchmark)
    app.add_directive("paper-reports", PaperReports)
    app.add_directive("other-reports", OtherReports)
    app.add_css_file("benchmarks.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
