"""
Grid search with one pass of the backbone
=========================================

The frozen backbone is the expensive part, and it gives an image the same features every
time. With ``memory`` they are kept, so that a search over thresholds and epochs, in any
number of folds, computes the features of each image once.
"""

# %%
# A backbone that counts
# ----------------------
# A backbone may be any function that returns a torch module. This one is the small
# network that ships with the package, and counts the images that pass through it.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sklearn_turn.backbones import load_backbone
from sklearn_turn.noise import symmetric


class CountingBackbone(nn.Module):
    """The backbone "letters", and how many images it was shown."""

    n_images = 0

    def __init__(self):
        super().__init__()
        letters = load_backbone("letters")
        self.network = letters.module
        # What the network is fed: timm's name for it, and timm's keys.
        self.pretrained_cfg = {
            "input_size": (3, letters.input_size, letters.input_size),
            "mean": letters.mean,
            "std": letters.std,
        }

    def forward(self, images):
        CountingBackbone.n_images += len(images)
        return self.network(images)


digits = load_digits()
images = (digits.images / 16).astype(np.float32)
X, X_test, y, y_test = train_test_split(
    images, digits.target, test_size=0.5, stratify=digits.target, random_state=0
)
y_noisy = symmetric(y, 0.4, random_state=0)

# %%
# The search
# ----------
# Two steps: features, then the paper's Algorithm 1 on them. On features the "full"
# fine-tuning of the algorithm trains the head alone, on the labels it selected.

import tempfile

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_turn import FeatureExtractor, TURNClassifier

folder = tempfile.TemporaryDirectory()
model = make_pipeline(
    FeatureExtractor(CountingBackbone, memory=folder.name),
    TURNClassifier(noise_filter="gmm", random_state=0),
)
grid = {
    "turnclassifier__tau": [0.3, 0.6, 0.9],
    "turnclassifier__lp_epochs": [5, 20, 40],
    "turnclassifier__fft_epochs": [1, 4],
}
search = GridSearchCV(model, grid, cv=3)
search.fit(X, y_noisy)

n_fits = len(search.cv_results_["params"]) * 3 + 1
print(f"{n_fits} fits, {len(X)} images")
print(f"{CountingBackbone.n_images} images passed through the backbone")

# %%
# Without the cache every fit would have taken a pass over all images. The passes beyond
# one per image are of no images of ours: a blank one tells how many features a backbone
# has, and two fixed ones make sure, whenever the cache is opened, that the network is
# still the one its features came from.
#
# What it found
# -------------
# Candidates are compared by how many labels of the held-out folds they predict. These
# labels are noisy: 40 % are wrong, and a perfect classifier would score about 60 %.

short = {name.removeprefix("turnclassifier__"): name for name in grid}
print({name: search.best_params_[key] for name, key in short.items()})
print(f"{search.best_score_:.1%} of the noisy labels in the held-out folds")
print(f"{search.score(X_test, y_test):.1%} of the true labels of the test set")

# %%
# A map for each number of epochs of fine-tuning:

import matplotlib.pyplot as plt

scores = search.cv_results_["mean_test_score"]
errors = search.cv_results_["std_test_score"] / np.sqrt(3)
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained", sharey=True)
for ax, fft_epochs in zip(axes, grid["turnclassifier__fft_epochs"], strict=True):
    rows = search.cv_results_["param_turnclassifier__fft_epochs"] == fft_epochs
    table = scores[rows].reshape(3, 3)  # lp_epochs by tau
    shown = ax.imshow(table, vmin=scores.min(), vmax=scores.max(), origin="lower")
    ax.set_xticks(range(3), grid["turnclassifier__tau"])
    ax.set_yticks(range(3), grid["turnclassifier__lp_epochs"])
    ax.set_xlabel("threshold τ")
    ax.set_title(f"fft_epochs={fft_epochs}")
    for (i, j), score in np.ndenumerate(table):
        dark = score < (scores.min() + scores.max()) / 2
        ax.text(j, i, f"{score:.1%}", ha="center", color="w" if dark else "k")
axes[0].set_ylabel("lp_epochs")
fig.colorbar(shown, label="noisy labels predicted")
fig.suptitle("Accuracy on the noisy labels of held-out folds")
plt.show()

print(f"standard error of one number, from three folds: about {np.mean(errors):.1%}")

# %%
# Few epochs of linear probing cost something here; the threshold hardly matters.
# Differences of the size of the standard error are chance: nothing is gained by a finer
# grid.
#
# The whole method, on images
# ---------------------------
# The best values can be taken over to the classifier that fine-tunes the backbone. It
# reads the same features for its probe and its first selection.

best = {
    name: search.best_params_[key]
    for name, key in short.items()
    if name != "fft_epochs"
}
clf = TURNClassifier(
    CountingBackbone,
    noise_filter="gmm",
    augment=None,
    fft_batch_size=32,
    memory=folder.name,
    random_state=0,
    **best,
)
before = CountingBackbone.n_images
clf.fit(X, y_noisy)
print(f"{(CountingBackbone.n_images - before) / len(X):.1f} passes while fine-tuning")
print(f"test accuracy {clf.score(X_test, y_test):.1%}")

# %%
# Three passes for the losses before the second, third and fourth epoch, and the
# training steps on the part that was selected.

folder.cleanup()
