"""Python in the pages that neither doctest nor the build runs is Python at least.

It is about the reader's own files, or a large download.
"""

import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
BLOCK = re.compile(
    r"^( *)\.\. code-block:: python\n(?:\1 +:.*\n)*\n((?:\1 +.*\n|\n)+)", re.M
)


def blocks(text):
    return [textwrap.dedent(body) for _, body in BLOCK.findall(text)]


def test_blocks_are_found():
    page = (
        "a\n\n.. code-block:: python\n   :caption: x\n\n   if a:\n\n       b()\n\nc\n"
    )
    assert blocks(page) == ["if a:\n\n    b()\n\n"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_compiles(page):
    for i, block in enumerate(blocks(page.read_text(encoding="utf-8"))):
        compile(block, f"{page.name}, block {i}", "exec")


def test_pages_have_code():
    assert sum(len(blocks(page.read_text(encoding="utf-8"))) for page in PAGES) > 10
