"""
Quickstart: digits with wrong labels
====================================

Take a set of labelled images in which three of ten labels are wrong, and a pre-trained
backbone. Fit one scikit-learn classifier. Get a fine-tuned network, and the
list of the labels that are wrong.
"""

# %%
# Images and labels
# -----------------
# The images are scikit-learn's handwritten digits. Half of them are kept for testing,
# with their labels as they are. Of the other half, 30 % of the labels are replaced by
# another digit. Nothing below is told which.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_turn.noise import symmetric

digits = load_digits()
images = (digits.images / 16).astype(np.float32)  # (n, height, width), in [0, 1]
X, X_test, y, y_test = train_test_split(
    images, digits.target, test_size=0.5, stratify=digits.target, random_state=0
)
y_noisy = symmetric(y, 0.3, random_state=0)
print(f"{len(X)} training images, {(y_noisy != y).sum()} with a wrong label")

# %%
# Fit
# ---
# ``"letters"`` ships with the package and needs no download. For photos, the default
# ``"vit_b16"`` or any name timm knows takes its place. Images are flipped at random
# while training, unless told not to: a mirrored digit is no digit, so ``augment=None``.

from sklearn_turn import TURNClassifier

clf = TURNClassifier("letters", augment=None, fft_batch_size=32, random_state=0)
clf.fit(X, y_noisy)
print(f"test accuracy {clf.score(X_test, y_test):.1%}")

# %%
# Plain fine-tuning of the same backbone, on all labels as they are, for comparison:

from sklearn_turn.baselines import FullFineTuning

plain = FullFineTuning("letters", augment=None, fft_batch_size=32, random_state=0)
print(f"test accuracy {plain.fit(X, y_noisy).score(X_test, y_test):.1%}")

# %%
# Digits are easy, and so is noise that is spread evenly over all classes: the two are
# close here. What plain training does not give is the list of wrong labels.
#
# Which labels are wrong?
# -----------------------
# ``clean_mask_`` has one entry for each training sample, in the order given.

flagged = ~clf.clean_mask_
is_wrong = y_noisy != y
print(f"{flagged.sum()} labels flagged")
print(f"{is_wrong[flagged].mean():.1%} of these are wrong (precision)")
print(f"{flagged[is_wrong].mean():.1%} of the wrong ones are flagged (recall)")

# %%
# A table with a row for each sample, the label it should have, and how probable it is
# that the given one is right:

from sklearn_turn.inspection import label_issues

issues = label_issues(clf)
issues.sort_values("rank").head()

# %%
# And a look at the samples whose labels are the least probable. Below each image stand
# the label it was given, with its probability, and the one suggested.

from sklearn_turn.inspection import SuspectGridDisplay

# sphinx_gallery_thumbnail_number = 1
display = SuspectGridDisplay.from_estimator(clf, X, n_suspects=10)
_ = display.figure_.suptitle("Ten digits and the labels that were found wrong")

# %%
# Nobody had to say how many labels are wrong. The classifier estimates it:

print(f"estimated {clf.noise_filter_.noise_rate_:.1%}, true {is_wrong.mean():.1%}")

# %%
# Next: :ref:`sphx_glr_gallery_plot_folder_of_images.py` starts from files and ends with
# corrected labels; :ref:`sphx_glr_gallery_plot_auditing_labels.py` looks closer at what
# was found.
