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

    # Dark cats and bright dogs: four labels are wrong, and plainly so.
    rng = np.random.default_rng(0)
    y_true = np.repeat(["cat", "dog"], 30)
    y_noisy = y_true.copy()
    is_wrong = np.isin(np.arange(60), [3, 17, 34, 52])
    y_noisy[is_wrong] = np.where(y_true[is_wrong] == "cat", "dog", "cat")
    paths = np.array([str(tmp_path / f"{i}.png") for i in range(60)])
    for path, animal in zip(paths, y_true, strict=True):
        pixels = rng.integers(0, 40, (16, 16, 3)) + 200 * (animal == "dog")
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    snippet = snippets()[0].replace('"vit_b16", verbose=1', '"letters", random_state=0')
    assert '"letters"' in snippet
    namespace = {"paths": paths, "new_paths": paths[::20], "y_noisy": y_noisy}
    exec(snippet, namespace)
    clf = namespace["clf"]
    assert set(namespace["flagged"]) == set(paths[is_wrong])
    assert clf.clean_proba_[is_wrong].max() < clf.clean_proba_[~is_wrong].min()
    assert list(clf.predict(paths)) == list(y_true)
