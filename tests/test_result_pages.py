"""Pages of results and of the paper show what is there; links are for the build."""

import importlib
import json
import re
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from paper_support import write

from benchmarks.paper.plans import sweep

ROOT = Path(__file__).parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"


def quotations():
    """Every literalinclude: page, file, and its options."""
    pattern = re.compile(r"^( *)\.\. literalinclude:: (\S+)\n((?:\1   :.*\n)*)", re.M)
    for page in sorted(DOCS.glob("*.rst")):
        for _, name, lines in pattern.findall(page.read_text("utf-8") + "\n"):
            options = dict(re.findall(r":([\w-]+): ?(.*)", lines))
            yield page, (page.parent / name).resolve(), options


@pytest.mark.parametrize(
    ("page", "path", "options"),
    [pytest.param(*q, id=f"{q[0].stem}-{q[1].name}") for q in quotations()],
)
def test_quoted_code_is_there(page, path, options):
    text = path.read_text("utf-8")
    if "pyobject" in options:
        *_, name = options["pyobject"].split(".")
        assert re.search(rf"(?m)^ *(def|class) {name}\b", text), options
    start = 0
    for option in ("start-at", "end-at", "end-before"):
        if option in options:
            start = text.find(options[option], start)
            assert start >= 0, f"{page.name}: {options[option]!r} is not in {path.name}"


def test_every_line_of_the_algorithm_is_quoted():
    """From features to the training on the clean subset, in the paper's order."""
    quoted = [path.name for page, path, _ in quotations() if page.stem == "paper"]
    assert quoted == [
        *("task.py", "turn.py", "entropy.py"),
        *("turn.py", "cleansing.py", "gmm.py", "draw.py", "steps.py"),
    ]


@pytest.mark.parametrize("name", ["any_classifier", "audit", "detection"])
def test_reports_say_what_their_results_say(name):
    found = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    module = importlib.import_module(f"benchmarks.{name}")
    text = module.report(found["records"], Namespace(**found["settings"]))
    assert (RESULTS / f"{name}.md").read_text("utf-8").startswith(text)


def test_the_report_after_fine_tuning_says_what_its_cells_say():
    module = importlib.import_module("benchmarks.detection")
    written = (RESULTS / "detection_tuned.md").read_text("utf-8")
    assert written == module.report_tuned() + "\n"


def test_results_are_json_that_every_reader_takes():
    """Python would also read NaN, which others do not know."""
    found = []
    for path in RESULTS.rglob("*.json"):
        json.loads(path.read_text("utf-8"), parse_constant=found.append)
        assert not found, f"{path} holds {found[0]}"


class TestDirectives:
    @pytest.fixture
    def reports(self, monkeypatch):
        pytest.importorskip("sphinx")
        pytest.importorskip("myst_parser")
        monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
        yield importlib.import_module("benchmark_reports")
        sys.modules.pop("benchmark_reports", None)

    def test_body_has_no_title_and_no_empty_table(self, reports):
        text = (
            "# Title\n\nText.\n\n## Empty\n\n| a | b |\n| --- | --- |\n\n"
            "## Full\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
        )
        assert reports.body_of(text) == (
            "\nText.\n\n\n# Full\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
        )
        assert "\n## Full" in reports.body_of(text, heading_level=2)

    @pytest.mark.parametrize(
        ("name", "words"),
        [("table2", "Table 2: "), ("fig3a", "Figure 3a: "), ("claims", "")],
    )
    def test_names_spelled_out(self, reports, name, words):
        assert reports.spelled_out(name) == words

    def test_reports_that_no_page_names(self, reports, tmp_path, monkeypatch):
        monkeypatch.setattr(reports, "RESULTS", tmp_path)
        for name in ("old.json", "old.md", "new.json", "new.md", "unwritten.json"):
            (tmp_path / name).touch()
        page = tmp_path / "page.rst"
        page.write_text("Title\n\n.. benchmark:: old\n")
        assert reports.unnamed([page]) == ["new"]

    @pytest.mark.filterwarnings("default")  # of Sphinx and its extensions
    def test_pages_hold_tables_and_figures(self, reports, tmp_path, monkeypatch):
        """A page of all directives, built: what was measured is on it, as HTML."""
        from sphinx.application import Sphinx

        results, source = tmp_path / "results", tmp_path / "source"
        cell = next(iter(sweep("tau")("smoke")))
        write(results, cell, 0.75, flagged=0.5, recall=0.8)
        for name in ("named", "other"):
            text = f"# Title of {name}\n\n| {name} |\n| --- |\n| 1 |\n"
            (results / f"{name}.md").write_text(text)
            (results / f"{name}.json").touch()
        monkeypatch.setattr(reports, "RESULTS", results)
        monkeypatch.setattr(reports, "CELLS", results / "cells")
        source.mkdir()
        directives = ("benchmark:: named", "paper-reports:: smoke", "other-reports:: .")
        sections = [f"Part {d[0]}\n------\n\n.. {d}\n" for d in directives]
        page = "\n".join(["Page", "====", "", *sections])
        (source / "index.rst").write_text(page + "\n.. paper-reports:: full\n")
        (source / "_static").mkdir()
        (source / "_static" / "benchmarks.css").touch()
        app = Sphinx(
            source,
            None,
            tmp_path / "html",
            tmp_path / "trees",
            "html",
            confoverrides={
                "extensions": ["myst_parser", "benchmark_reports"],
                "html_theme": "basic",
                "html_static_path": ["_static"],
            },
            status=None,
            warning=None,
            warningiserror=True,
        )
        app.build()
        html = (tmp_path / "html" / "index.html").read_text("utf-8")
        assert html.count('class="benchmark') >= 4
        assert "Figure 3c: Threshold of cleansing" in html and "75.0" in html
        assert "Title of named" not in html and "Title of other" in html
        assert "No fit was measured yet of: Table 1: " in html
        assert "Nothing was measured at this size yet." in html
        (figure,) = re.findall(r'src="(_images/fig3c[^"]*)"', html)
        assert "<svg" in (tmp_path / "html" / figure).read_text("utf-8")
