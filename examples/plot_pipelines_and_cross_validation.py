"""
Pipelines and cross-validation
==============================

Filtering labels removes rows, and a scikit-learn pipeline has no step that removes
rows. :class:`~sklearn_turn.NoiseFilteredClassifier` does it inside ``fit``, so that
pipelines, cross-validation and searches need know nothing of it.
"""

# %%
# A pipeline for images
# ---------------------
# A frozen backbone turns images into features; a classifier of scikit-learn is trained
# on them; the filter goes around that classifier. 40 % of the labels are wrong.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import FeatureExtractor, NoiseFilteredClassifier
from sklearn_turn.noise import symmetric

digits = load_digits()
X = (digits.images / 16).astype(np.float32)
y = digits.target
y_noisy = symmetric(y, 0.4, random_state=0)

plain = make_pipeline(
    FeatureExtractor("letters"),
    StandardScaler(),
    LogisticRegression(max_iter=1000),
)
filtered = make_pipeline(
    FeatureExtractor("letters"),
    NoiseFilteredClassifier(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    ),
)
filtered

# %%
# Cross-validation
# ----------------
# ``cross_validate`` splits, and each training part is filtered by itself. The labels of
# the test part stay as they are: wrong ones included.

folds = StratifiedKFold(5, shuffle=True, random_state=0)
models = {"logistic regression": plain, "with the filter": filtered}
results = {
    name: cross_validate(
        model, X, y_noisy, cv=folds, return_indices=True, return_estimator=True
    )
    for name, model in models.items()
}
for name, result in results.items():
    print(f"{name}: {result['test_score'].mean():.1%} of the noisy test labels")

# %%
# With 40 % of the test labels wrong even a perfect classifier would score about 60 %.
# Since we know the truth here, we can also ask how many true labels were predicted:


def true_scores(result):
    """Accuracy of each fold by true labels."""
    fitted = zip(result["estimator"], result["indices"]["test"], strict=True)
    return [model.score(X[rows], y[rows]) for model, rows in fitted]


for name, result in results.items():
    print(f"{name}: {np.mean(true_scores(result)):.1%} of the true test labels")

# %%
# The order of the two models is the same by either measure, and the difference is
# smaller by the noisy one. Noise that does not favour a class, as here, keeps the
# order; noise that confuses particular classes need not.
#
# What not to do
# --------------
# It is tempting to filter once, before splitting. Then the test folds lose the labels
# that the model would have got wrong, and the score tells how well a model agrees with
# its own choice.

clf = NoiseFilteredClassifier()
features = FeatureExtractor("letters").fit_transform(X)
kept = clf.fit(features, y_noisy).clean_mask_
wrongly = cross_validate(plain, X[kept], y_noisy[kept], cv=folds)["test_score"]
print(f"filtered before splitting: {wrongly.mean():.1%}")

# %%
# The picture shows each of the five folds. The dots on the right look best and are no
# estimate of anything that was asked.

import matplotlib.pyplot as plt

shown = {
    "plain,\nnoisy labels": results["logistic regression"]["test_score"],
    "filter,\nnoisy labels": results["with the filter"]["test_score"],
    "plain,\ntrue labels": true_scores(results["logistic regression"]),
    "filter,\ntrue labels": true_scores(results["with the filter"]),
    "filtered before\nsplitting": wrongly,
}
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for i, (name, scores) in enumerate(shown.items()):
    colour = "tab:red" if "before" in name else ("tab:blue", "tab:orange")[i % 2]
    ax.scatter(np.full(5, i), scores, color=colour, alpha=0.6)
    ax.hlines(np.mean(scores), i - 0.25, i + 0.25, color=colour)
ax.set_xticks(range(len(shown)), shown)
ax.set_ylabel("accuracy of five folds")
ax.set_title("Two pipelines, judged in three ways")
ax.axhline(0.6, color="0.6", ls=":", lw=1)
ax.text(4.4, 0.605, "best possible on noisy labels", ha="right", color="0.4")
plt.show()
