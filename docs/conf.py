"""Sphinx configuration; `make docs` builds with warnings as errors."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import sklearn_turn

project = "sklearn-turn"
author = "The sklearn-turn developers"
copyright = f"2026, {author}"
release = version = sklearn_turn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "code"
toc_object_entries_show_parents = "hide"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give the types
autodoc_inherit_docstrings = False  # skorch's hooks say nothing new here
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "sklearn-turn"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f4e79",
        "color-brand-content": "#1f6aa5",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7fb2e5",
        "color-brand-content": "#7fb2e5",
    },
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
    path = pathlib.Path(__file__).parent / "backbones_table.inc"
    path.write_text("\n".join(lines) + "\n")


write_backbones_table()
