"""Draw the picture of the first page and of the README again.

``python docs/pictures.py`` writes ``docs/_static/caught.png``: labels that a run caught
among scikit-learn's digits, which may be redistributed.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from sklearn_turn import TURNClassifier
from sklearn_turn.inspection import SuspectGridDisplay
from sklearn_turn.noise import symmetric

STATIC = Path(__file__).parent / "_static"


def main() -> None:
    """Fit, and draw the eight labels that are the least probable."""
    digits = load_digits()
    images, y = digits.images / 16, digits.target
    y_noisy = symmetric(y, 0.3, random_state=0)
    # In float32 every processor computes much the same.
    clf = TURNClassifier(
        "letters", augment=None, precision="float32", random_state=0
    ).fit(images, y_noisy)
    flagged, is_wrong = ~clf.clean_mask_, y != y_noisy
    print(f"{flagged.sum()} flagged, {is_wrong.sum()} wrong")
    print(f"precision {is_wrong[flagged].mean():.3f}")
    print(f"recall {flagged[is_wrong].mean():.3f}")

    display = SuspectGridDisplay.from_estimator(clf, images, n_suspects=8)
    plt.close(display.figure_)
    _, ax = plt.subplots(figsize=(5.4, 3.9), layout="constrained")
    display.plot(ax, n_columns=4)
    for text in ax.texts:
        text.set_fontsize(12)
    for image in ax.images:
        image.set_interpolation("bicubic")  # eight pixels a side
    display.figure_.savefig(STATIC / "caught.png", dpi=140, bbox_inches="tight")
    suggested = clf.suggested_labels_[display.indices]
    print("all suggestions right:", bool((suggested == y[display.indices]).all()))


if __name__ == "__main__":
    main()
