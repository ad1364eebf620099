"""The README's Python snippets run, in order, as one program."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def snippets():
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_snippets_run(tmp_path, monkeypatch, capsys):
    """The first is for the reader's own files and a large download; it must compile."""
    first, *others = snippets()
    compile(first, "README.md", "exec")
    assert len(others) >= 3
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for snippet in others:
        exec(compile(snippet, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    counts = re.search(r"(\d+) labels flagged, (\d+) wrong", printed)
    flagged, wrong = map(int, counts.groups())
    assert 0.8 * wrong < flagged < 1.25 * wrong
    recovered = re.search(r"([\d.]+) of the true labels recovered", printed)
    assert float(recovered.group(1)) > 0.85


def test_first_snippet_on_small_data(tmp_path):
    """The same lines, with the backbone that ships with the package."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = np.array([str(tmp_path / f"{i}.png") for i in range(24)])
    for path in paths:
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    snippet = snippets()[0].replace('"vit_b16"', '"letters"')
    assert '"letters"' in snippet
    namespace = {
        "paths": paths,
        "new_paths": paths[:3],
        "y_noisy": np.repeat(["cat", "dog"], 12),
    }
    exec(snippet, namespace)
    assert set(namespace["flagged"]) <= set(paths)
