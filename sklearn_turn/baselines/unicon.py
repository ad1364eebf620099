"""UNICON: a uniform clean set, guesses and contrastive learning for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from ..backbones.augment import AUGMENTATIONS
from ..constructor import NOT_NEGATIVE, POSITIVE, SHARE, parameter, with_parameters
from ..selection.protocol import fit_filter
from ..selection.unicon import UNICONNoiseFilter
from ..task import Task
from ..training.batches import Batch
from .joint import JointClassifier, JointTraining
from .mixing import (
    embedded,
    guessing,
    mean_proba,
    mix_match_loss,
    sharpen,
    views_of,
)
from .parts import Part
from .peers import PeerNet

# Of the published 350 epochs, those over which the weight of guesses rises.
_RAMP = 16 / 350


@with_parameters
class UNICON(JointClassifier):
    r"""Two networks; a clean set with as many samples of each class.

    Before each epoch both networks predict all samples. Labels are judged by the
    Jensen-Shannon divergence d of the mean prediction from the label, and the same
    number is selected of each class (:class:`UNICONNoiseFilter`). For a batch of
    selected samples and one of the others, and with predictions p for weakly augmented
    views,

    - labels are refined by the network itself, sharpen(w y + (1 - w) p_k) with
      w = 1 - d, and w = 1 where d < 1/2;
    - those of other samples are guessed by both, sharpen((p_1 + p_2) / 2).

    Strongly augmented views are mixed up and learned as in :class:`DivideMix`, with
    weight ``lambda_u`` of the guesses. A projection g of the features of two strong
    views of each other sample is trained to tell it from the rest of the batch,

    .. math:: L = L_x + λ_u L_u + L_{reg} - λ_c \tfrac{1}{2B} \sum_i \log
              \frac{\exp(g_i \cdot g_{j(i)} / κ)}
              {\sum_{b \ne i} \exp(g_i \cdot g_b / κ)}.

    The prediction is the mean of both networks.

    Parameters
    ----------
    largest_cutoff : float in [0, 1], default=0.7
        The paper's d_μ, see :class:`UNICONNoiseFilter`.
    temperature : float > 0, default=0.5
        T of sharpening.
    alpha : float >= 0, default=4.0
        Of mixing; 0.5 for photos with human noise.
    lambda_u : float >= 0, default=30.0
        Weight of guessed labels.
    lambda_c : float >= 0, default=0.025
        Weight of the contrastive loss. No effect on features.
    contrast_temperature : float > 0, default=0.05
        κ.
    strong_augment : {"light", "color"}, callable or None, default=None
        Augmentation of the views that are learned, while ``augment`` is that of the
        views that are predicted. None is "color", but nothing where ``augment`` is
        None.

    Attributes
    ----------
    clean_proba_ : ndarray of shape (n_samples,), float64
        1 - d at the last selection.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Which labels were selected last; no more of a class than its share.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last selection, by the mean prediction.
    suggested_labels_ : ndarray of shape (n_samples,)
        Given labels where selected, else the mean prediction at the last selection.
    noise_filter_ : UNICONNoiseFilter
        That of the last selection.
    net_, probe_ : skorch net
        Both networks; ``probe_`` has heads on features, and is absent when fine-tuned.
    history_ : list of dict
        One per epoch: ``phase``, ``epoch``, ``train_loss``, ``seconds``, and after
        warm-up ``kept`` (selected labels per class).

    Notes
    -----
    Where this departs from the published code, beside its networks and 350 epochs:

    - Its networks are trained in turn, and samples selected before each turn; here
      in step, with one selection for both.
    - A step takes half a batch of selected and half of other samples, and half a batch
      in warm-up, where published are whole ones.
    - Warm-up takes 10 to 30 epochs and λ_u rises over 16: here ``lp_warmup_epochs`` or
      ``fft_warmup_epochs``, and the same 5 % of training.
    - The pass that selects ran in training mode; here in evaluation mode.
    - Strong views are :func:`~sklearn_turn.backbones.augment.color_augment`, not a
      policy learned for 32 x 32 images.
    - On features there are no views, and the contrastive loss is left out: the
      projection has no weight in common with the classifier.

    References
    ----------
    Karim et al., "UNICON: Combating Label Noise Through Uniform Selection and
    Contrastive Learning", CVPR 2022; https://github.com/nazmul-karim170/
    UNICON-Noisy-Label for defaults.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn.baselines import UNICON
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, n_features=16, centers=3, random_state=0)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = UNICON(random_state=0).fit(X, y_noisy)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    largest_cutoff: float = parameter(default=0.7, legal=[SHARE])
    temperature: float = parameter(default=0.5, legal=[POSITIVE])
    alpha: float = parameter(default=4.0, legal=[NOT_NEGATIVE])
    lambda_u: float = parameter(default=30.0, legal=[NOT_NEGATIVE])
    lambda_c: float = parameter(default=0.025, legal=[NOT_NEGATIVE])
    contrast_temperature: float = parameter(default=0.05, legal=[POSITIVE])
    strong_augment: str | Callable[[Tensor], Tensor] | None = parameter(
        default=None, legal=[StrOptions({"light", "color"}), callable, None]
    )

    def _rule(self, task: Task) -> JointTraining:
        return UNICONTraining(task, self)


class UNICONTraining(JointTraining):
    """The selection of each epoch, and the loss of a step.

    Parameters
    ----------
    task : Task
    parameters : UNICON
    """

    batch_share = 0.5
    n_views = 2

    def __init__(self, task: Task, parameters: UNICON):
        super().__init__(task, parameters._warmup_epochs)
        self.temperature = parameters.temperature
        self.alpha = parameters.alpha
        self.lambda_u = parameters.lambda_u
        self.lambda_c = parameters.lambda_c
        self.contrast_temperature = parameters.contrast_temperature
        self.filter = UNICONNoiseFilter(parameters.largest_cutoff)
        strong = parameters.strong_augment
        if strong is None and parameters.augment is not None:
            strong = "color"
        self.strong = AUGMENTATIONS[strong] if isinstance(strong, str) else strong
        # Frozen features have nothing to gain from it.
        self.projects = parameters.lambda_c > 0 and not task.is_frozen

    def parts(self, net: PeerNet, dataset: Any) -> Sequence[Part]:
        evidence = net.evidence(dataset)
        fitted = fit_filter(self.filter, evidence, self.labels)
        d = fitted.divergence_
        w = np.where(d < 0.5, 1.0, 1.0 - d)
        self.w_ = torch.from_numpy(w).float().to(net.device)
        self.select(net, fitted.clean_mask_, fitted.clean_proba_, evidence, fitted)
        selected = Part(np.flatnonzero(fitted.clean_mask_))
        others = Part(np.flatnonzero(~fitted.clean_mask_), leads=False)
        # Each network draws its own batches.
        return [selected, others, selected, others]

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        self.w_ = torch.empty(0)

    def terms(self, members: list[Any], k: int, parts: list[Batch]) -> Iterator[Tensor]:
        own = members[k]
        selected, others = parts[2 * k : 2 * k + 2]
        with guessing(members):
            w = self.w_[selected.index, None]
            given = one_hot(selected.y, self.n_classes)
            p = mean_proba([own], views_of(own, selected, self.n_views))
            refined = w * given + (1 - w) * p
            weak = views_of(own, others, self.n_views)
            guessed = mean_proba(members, weak) if weak else refined[:0]
        more = views_of(own, others, self.n_views, self.strong)
        yield mix_match_loss(
            own,
            (
                views_of(own, selected, self.n_views, self.strong),
                sharpen(refined, self.temperature),
            ),
            (more, sharpen(guessed, self.temperature)),
            alpha=self.alpha,
            lambda_u=self.lambda_u * self.ramp(_RAMP),
            rng=self.rng,
        )
        if self.projects and len(more) == 2 and len(others.y) > 1:
            first, second = (own.projection(embedded(own, x)) for x in more)
            yield self.lambda_c * contrastive_loss(
                first, second, self.contrast_temperature
            )


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding the other view of each sample among all views.

    Parameters
    ----------
    first, second : Tensor of shape (n, width)
        Projections of two views of the same samples, of any length.
    temperature : float > 0

    Returns
    -------
    Tensor, a scalar

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020, equation 1.
    """
    g = normalize(torch.cat([first, second]), dim=1)
    similarity = g @ g.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    other = torch.arange(len(g), device=g.device).roll(len(first))
    return cross_entropy(similarity, other)
