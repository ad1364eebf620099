"""
A backbone of your own
======================

A backbone is any torch module from a batch of images to a row of features for each. It
can be handed over as a module, as a function that returns one, or by name with a file
of weights.
"""

# %%
# Pre-train one
# -------------
# Somebody has trained a small network on the digits 5 to 9, with careful labels. It is
# to be used on the digits 0 to 4, of which a third of the labels are wrong. The two
# sets share no class, as ImageNet and your photos need not.

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sklearn_turn.noise import symmetric


class SmallNet(nn.Module):
    """Images of 8 x 8 pixels to 64 features."""

    # What the network is fed, by timm's keys: side of the input, mean and standard
    # deviation of the channels.
    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 64),
        )

    def forward(self, images):
        return self.layers(images)


digits = load_digits()
images = (digits.images / 16).astype(np.float32)
old = digits.target >= 5


def pretrain(n_epochs=15):
    """Train on the digits 5 to 9, and take the classifier off."""
    torch.manual_seed(0)
    network = SmallNet()
    model = nn.Sequential(network, nn.ReLU(), nn.Linear(64, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    pixels = (torch.from_numpy(images[old])[:, None].expand(-1, 3, -1, -1) - 0.5) / 0.5
    labels = torch.from_numpy(digits.target[old] - 5)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(pixels)).split(32):
            loss = nn.functional.cross_entropy(model(pixels[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


network = pretrain()

# %%
# As a module
# -----------
# The module is copied before it is trained: yours stays as it is. It is fed images of
# any size, resized and normalised on the device. Nothing else has to be known about it;
# the number of features is found by running one image.

X, X_test, y, y_test = train_test_split(
    images[~old], digits.target[~old], test_size=0.5, random_state=0
)
y_noisy = symmetric(y, 0.33, random_state=0)

from sklearn_turn import TURNClassifier

settings = {"augment": None, "fft_batch_size": 16, "random_state": 0}
clf = TURNClassifier(network, fft_lr=2e-3, **settings).fit(X, y_noisy)
print(f"test accuracy {clf.score(X_test, y_test):.1%}")

is_wrong = y != y_noisy
print(f"{(~clf.clean_mask_ == is_wrong).mean():.1%} of the labels judged rightly")

# %%
# ``fft_lr`` matters most for a network the library knows nothing about: the default,
# 1e-4, suits large ones.
#
# What fine-tuning did to the features
# ------------------------------------
# The network never saw the digits 0 to 4 before. The number above each map is the share
# of nearest neighbours, among the features themselves, with the same label.

from sklearn_turn.inspection import EmbeddingDisplay

display = EmbeddingDisplay.from_estimator(clf, X_test, y_test)

# %%
# As a function
# -------------
# A function that returns a module is the better form for searches and for several
# processes: it is small to copy and to send, and its ``repr`` is short.


def small_net():
    """The pre-trained network."""
    return network


again = TURNClassifier(small_net, fft_lr=2e-3, **settings).fit(X, y_noisy)
print(f"the same predictions: {(again.predict(X_test) == clf.predict(X_test)).all()}")

# %%
# By name, with a file of weights
# -------------------------------
# Any name of ``timm.list_models()`` will do. ``pretrained=True`` downloads the
# published weights; a path reads a checkpoint, and one that does not fit is refused.
# Here the checkpoint is the one that comes with the package, and the architecture that
# it fits is called ``test_convnext3``.

from importlib.resources import files

from sklearn_turn.baselines import LinearProbing

weights = files("sklearn_turn") / "weights" / "letters_convnext.safetensors"
named = LinearProbing(
    "test_convnext3", pretrained=weights, input_size=32, random_state=0
)
named.fit(X, y_noisy)
print(f"probe on it: test accuracy {named.score(X_test, y_test):.1%}")

try:
    LinearProbing("test_resnet", pretrained=weights).fit(X, y_noisy)
except ValueError as error:
    print("refused:", str(error).replace(str(weights), weights.name))
