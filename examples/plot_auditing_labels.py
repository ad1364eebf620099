"""
Auditing labels
===============

Which labels are wrong, how many are there, which classes are confused, and what should
the labels be? Seconds after the features are computed, without fine-tuning anything.
"""

# %%
# Mistakes people could make
# --------------------------
# A quarter of the digits 3, 5, 8 and 9 are given the label of the one they are easily
# taken for: threes become fives, eights become threes, and so on. The other classes are
# left alone. ``transition`` has, for each true digit, the share given each label.

import numpy as np
from sklearn.datasets import load_digits

from sklearn_turn.noise import from_transition_matrix

digits = load_digits()
X = (digits.images / 16).astype(np.float32)

transition = np.eye(10)
for true, given in [(3, 5), (5, 9), (8, 3), (9, 8)]:
    transition[true, [true, given]] = 0.75, 0.25
y = from_transition_matrix(digits.target, transition, random_state=0)
is_wrong = y != digits.target
print(f"{len(X)} images, {is_wrong.sum()} with a wrong label")

# %%
# Five probes on features of the frozen backbone, each trained on four fifths of the
# samples, say of the other fifth what its labels should be. ``fft_epochs=0`` stops
# there.

from sklearn_turn import TURNClassifier

clf = TURNClassifier("letters", fft_epochs=0, random_state=0).fit(X, y)

# %%
# How many?
# ---------

from sklearn_turn.inspection import noise_summary

summary = noise_summary(clf)
print(summary)

# %%
# The classes that were left alone come out as nearly clean:

summary.per_class.round(3)

# %%
# Which classes are confused?
# ---------------------------
# On the left what is estimated, on the right what was done to the labels. The rows are
# true digits, the columns given ones.

import matplotlib.pyplot as plt

from sklearn_turn.inspection import NoiseTransitionDisplay

fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
NoiseTransitionDisplay.from_estimator(clf, ax=axes[0])
axes[0].set_title("estimated")
NoiseTransitionDisplay.from_predictions(digits.target, y, ax=axes[1])
axes[1].set_title("true")
plt.show()

# %%
# Which samples?
# --------------
# One row for each sample in the order given. ``label_quality`` is the probability that
# the given label is right; ``rank`` 1 is the most likely to be wrong.

from sklearn_turn.inspection import label_issues

issues = label_issues(clf)
issues.sort_values("rank").head(8)

# %%
# Here the truth is known, so the list can be judged: of those flagged, how many are
# wrong (precision), of those wrong, how many are flagged (recall), and how well does
# the ranking put wrong labels first (average precision)?

from sklearn_turn.metrics import label_issue_ranking_scores, label_issue_scores

scores = label_issue_scores(is_wrong, ~clf.clean_mask_)
scores |= label_issue_ranking_scores(is_wrong, clf.clean_proba_)
for name in ("precision", "recall", "average_precision"):
    print(f"{name}: {scores[name]:.1%}")

# %%
# How far down the list is it worth looking? Where the curve flattens out.

by_rank = is_wrong[issues.sort_values("rank").index]
fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
n_seen = np.arange(1, len(by_rank) + 1)
ax.plot(n_seen, by_rank.cumsum(), label="ranked by label quality")
ax.plot(n_seen, n_seen * is_wrong.mean(), "--", color="0.5", label="in any order")
ax.axvline(issues["is_label_issue"].sum(), color="tab:red", lw=1, label="flagged")
ax.set(xlabel="labels looked at", ylabel="wrong labels found")
ax.set_title("Likely wrong labels first, and labels in any order")
ax.legend(frameon=False)
plt.show()

# %%
# The suspects themselves
# -----------------------
# Below each image stand the given label, with its probability, and the suggested one.

from sklearn_turn.inspection import SuspectGridDisplay

# sphinx_gallery_thumbnail_number = 3
display = SuspectGridDisplay.from_estimator(clf, X, n_suspects=15)
_ = display.figure_.suptitle("Fifteen digits and the labels that look wrong")

# %%
# A page to review them on
# ------------------------
# One HTML file, with pictures, that loads nothing from anywhere: it can be mailed. The
# marks it saves become corrected labels with
# :func:`~sklearn_turn.inspection.apply_corrections`, as
# :ref:`sphx_glr_gallery_plot_folder_of_images.py` shows.

import tempfile
from pathlib import Path

from sklearn_turn.inspection import export_report

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "report.html"
    export_report(clf, X, y, path)
    print(f"report of {path.stat().st_size / 1e6:.1f} MB")
