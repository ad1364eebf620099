"""
Features from elsewhere
=======================

The backbone may be anywhere: on a server, behind an API, in another framework. What it
returned for each sample is a table with a row of numbers, and that is enough to find
wrong labels and to train a classifier that withstands them.
"""

# %%
# A file of features
# ------------------
# Here the features are those of a random convolution that NumPy and SciPy compute, so
# that torch has no part in them. They are stored as float16 and read back as a memory
# map, as one would with embeddings of some millions of photos.

import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import correlate, maximum_filter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_turn.noise import symmetric

rng = np.random.default_rng(0)
digits = load_digits()
kernels = rng.normal(size=(24, 3, 3))
kernels -= kernels.mean(axis=(1, 2), keepdims=True)


def encode(images):
    """Largest answer to each kernel in each quarter of an image: 24 x 16 numbers."""
    answers = [correlate(images, kernel[None], mode="constant") for kernel in kernels]
    pooled = [maximum_filter(a, (0, 2, 2))[:, ::2, ::2] for a in np.maximum(answers, 0)]
    return np.stack(pooled, axis=1).reshape(len(images), -1)


folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "features.npy"
np.save(path, encode(digits.images / 16).astype(np.float16))

features = np.load(path, mmap_mode="r")
print(f"{features.shape[0]} samples of {features.shape[1]} features, {features.dtype}")

# %%
# The whole method on features
# ----------------------------
# A two-dimensional ``X`` is taken as features: no backbone is loaded. The probe and the
# selection are the same as ever; "fine-tuning" trains the head alone.

from sklearn_turn import TURNClassifier

X, X_test, y, y_test = train_test_split(
    np.asarray(features),
    digits.target,
    test_size=0.5,
    stratify=digits.target,
    random_state=0,
)
y_noisy = symmetric(y, 0.4, random_state=0)
is_wrong = y_noisy != y

clf = TURNClassifier(random_state=0).fit(X, y_noisy)
print(f"test accuracy {clf.score(X_test, y_test):.1%}")

# %%
# Your own classifier, filtered
# -----------------------------
# :class:`~sklearn_turn.NoiseFilteredClassifier` goes around any classifier that has
# ``predict_proba``. Forests and neighbours learn wrong labels by heart, which does no
# harm, as labels are judged by models that did not see them.

from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from sklearn_turn import NoiseFilteredClassifier

models = {
    "nearest neighbours": KNeighborsClassifier(5),
    "random forest": RandomForestClassifier(random_state=0),
}
scores = {}
for name, model in models.items():
    filtered = NoiseFilteredClassifier(model)
    scores[name] = [m.fit(X, y_noisy).score(X_test, y_test) for m in (model, filtered)]
    print(f"{name}: {scores[name][0]:.1%} as it is, {scores[name][1]:.1%} filtered")

# %%
# Predictions are enough
# ----------------------
# The filters work on arrays. :class:`~sklearn_turn.NoiseChannelFilter` takes the
# logarithms of predicted probabilities, :class:`~sklearn_turn.GMMNoiseFilter` the loss
# of each given label; where these come from is no concern of theirs, as long as no
# prediction was made by a model that was trained on the sample.

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_turn import GMMNoiseFilter, NoiseChannelFilter

model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
proba = cross_val_predict(model, X, y_noisy, cv=5, method="predict_proba")
log_proba = np.log(np.maximum(proba, 1e-12))
losses = -log_proba[np.arange(len(y)), y_noisy]

filters = {
    "channel, on predictions": NoiseChannelFilter().fit(log_proba, y_noisy),
    "mixture, on losses": GMMNoiseFilter().fit(losses[:, None], y_noisy),
}
for name, found in filters.items():
    flagged = ~found.clean_mask_
    precision, recall = is_wrong[flagged].mean(), flagged[is_wrong].mean()
    print(f"{name}: precision {precision:.1%}, recall {recall:.1%}")
    print(f"    noise rate {found.noise_rate_:.1%}, true {is_wrong.mean():.1%}")

# %%
# Both saw the same predictions; the picture shows what each makes of the loss of the
# given label. The mixture's probability is a function of that loss, one for each class;
# the channel looks at the whole prediction, so that its dots scatter.

import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for ax, (name, found) in zip(axes, filters.items(), strict=True):
    for wrong, label in enumerate(["right label", "wrong label"]):
        rows = is_wrong == wrong
        ax.scatter(losses[rows], found.clean_proba_[rows], s=6, alpha=0.6, label=label)
    ax.axhline(found.tau, color="0.5", ls=":", lw=1)
    ax.set(title=name, xlabel="loss of the given label")
axes[0].set_ylabel("probability that it is clean")
axes[1].legend(frameon=False)
plt.show()

folder.cleanup()
