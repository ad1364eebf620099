"""
From a folder of images to corrected labels
===========================================

The usual way photos arrive: a folder, with a subfolder for each class, and some of the
files in the wrong one. This example audits such a folder, lets somebody review the
labels that look wrong, applies the corrections, and trains on the result.
"""

# %%
# A folder
# --------
# Digits stand in for photos. They are written as PNG files into subfolders named after
# their labels, 15 % of which are wrong. ``truth`` plays the reviewer later on.

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_turn.noise import symmetric

NAMES = np.array(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
)
digits = load_digits()
pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
labels = NAMES[digits.target]
X, X_test, y, y_test = train_test_split(
    pixels, labels, test_size=0.5, stratify=labels, random_state=0
)

temporary = tempfile.TemporaryDirectory()
root = Path(temporary.name) / "photos"
truth = {}
y_noisy = symmetric(y, 0.15, random_state=0)
for i, image in enumerate(X):
    path = root / y_noisy[i] / f"{i:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    truth[path.name] = y[i]

print(sorted(folder.name for folder in root.iterdir()))

# %%
# Read it
# -------
# Only the names are read now. Files are decoded when they are needed, a batch at a
# time.

from sklearn_turn.datasets import load_image_folder

photos = load_image_folder(root)
print(f"{len(photos.data)} files, for example {Path(photos.data[0]).name}")
print(f"labels {photos.target_names}")

# %%
# Audit
# -----
# ``fft_epochs=0`` stops before fine-tuning. One pass through the frozen backbone, then
# probes on its features, each of which judges labels it was not trained on. ``memory``
# keeps the features for what comes later.

from sklearn_turn import TURNClassifier
from sklearn_turn.inspection import label_issues, noise_summary

settings = {
    "backbone": "letters",
    "augment": None,
    "fft_batch_size": 32,
    "memory": Path(temporary.name) / "features",
    "random_state": 0,
}
given = photos.target_names[photos.target]
audit = TURNClassifier(fft_epochs=0, **settings).fit(photos.data, given)
print(noise_summary(audit))

# %%
# From the command line the same is
# ``python -m sklearn_turn audit photos --backbone letters --out report.html``.

from sklearn_turn.inspection import SuspectGridDisplay

display = SuspectGridDisplay.from_estimator(audit, photos.data, n_suspects=10)
_ = display.figure_.suptitle("Ten files that look as if they were in the wrong folder")

# %%
# Review
# ------
# :func:`~sklearn_turn.inspection.export_report` writes the page on which people mark
# labels as right or wrong, one file that works without network. Here the reviewer looks
# at the 150 first-ranked files, and knows the truth; the marks go into the columns
# that the page would have filled in.

issues = label_issues(audit, photos.data).sort_values("rank")
reviewed = issues.head(150).copy()
right_label = reviewed["path"].map(lambda path: truth[Path(path).name])
is_right = right_label == reviewed["given_label"]
reviewed["mark"] = np.where(is_right, "right", "wrong")
reviewed["corrected_label"] = right_label.where(~is_right, "")
reviewed.to_csv(Path(temporary.name) / "marks.csv")

true_labels = np.array([truth[Path(path).name] for path in photos.data])
n_wrong = (given != true_labels).sum()
print(f"{(~is_right).sum()} of the {n_wrong} wrong labels are among the first 150")

# %%
# Correct and train
# -----------------
# The file is read back and checked against the labels: one that belongs to other data,
# or to the same files in another order, is refused. The order of its rows is free.

from sklearn_turn import NoiseChannelFilter
from sklearn_turn.inspection import apply_corrections, verified_labels

marks = Path(temporary.name) / "marks.csv"
corrected, _ = apply_corrections(given, marks, paths=photos.data)
print(f"{(corrected != true_labels).sum()} wrong labels are left")

# %%
# Another fit gets the labels as they were, and beside them those that are verified: of
# corrected labels, the clearest mistakes are gone, and the rest would not be found.

verified = verified_labels(given, marks, paths=photos.data)
noise_filters = {
    "nothing": "channel",
    "150": NoiseChannelFilter(verified_labels=verified),
}
for name, noise_filter in noise_filters.items():
    clf = TURNClassifier(**settings, noise_filter=noise_filter)
    clf.fit(photos.data, given)
    print(f"{name} verified: test accuracy {clf.score(X_test, y_test):.1%}")

# %%
# The classifier withstands wrong labels, so that verifying them changes little in its
# accuracy. The corrected labels are worth having all the same: other models are trained
# on them, and test sets are made of them.

temporary.cleanup()
