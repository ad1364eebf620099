"""Views of samples, and mixtures of them and of their labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import BatchTransform, Embedder
from ..training.batches import Batch


def views_of(
    member: Any,
    batch: Batch,
    n_views: int,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """What a classifier's backbone is fed, augmented at random anew for each view.

    Parameters
    ----------
    member : Classifier
    batch : Batch
        On the device.
    n_views : int
        Of samples that are not augmented there is only one: features, raw inputs.
    augment : callable, default=None
        In place of the augmentation of training.

    Returns
    -------
    list of Tensor of shape (n, ...)
        For :func:`logits_of`; empty for an empty batch.
    """
    if not len(batch.y):
        return []
    transform = getattr(member.embed, "transform", None)
    if not isinstance(transform, BatchTransform):
        assert isinstance(batch.x, Tensor), "only images differ in size"
        return [batch.x]
    augment = augment or transform.augment
    if isinstance(augment, nn.Module):
        augment.train()  # whatever the mode of the network
    return [transform.view(batch.x, augment) for _ in range(n_views if augment else 1)]


def embedded(member: Any, inputs: Tensor) -> Tensor:
    """Features of a classifier for what :func:`views_of` made of a batch."""
    embed = member.embed
    if isinstance(embed, Embedder):
        return embed.embed_inputs(inputs)
    features: Tensor = embed(inputs)
    return features


def logits_of(member: Any, inputs: Tensor) -> Tensor:
    """Logits of a classifier for what :func:`views_of` made of a batch."""
    logits: Tensor = member.classify(embedded(member, inputs))
    return logits


@contextlib.contextmanager
def guessing(members: Sequence[Any]) -> Iterator[None]:
    """Evaluation mode and no gradients inside the block, then training mode."""
    for member in members:
        member.eval()
    with torch.no_grad():
        yield
    for member in members:
        member.train()


def mean_proba(members: Sequence[Any], views: Sequence[Tensor]) -> Tensor:
    """Mean of the probabilities that classifiers give to views of the same samples.

    Parameters
    ----------
    members : sequence of Classifier
    views : sequence of Tensor of shape (n, ...)

    Returns
    -------
    Tensor of shape (n, n_classes)
    """
    proba = [logits_of(m, x).float().softmax(dim=1) for m in members for x in views]
    return torch.stack(proba).mean(dim=0)


def sharpen(proba: Tensor, temperature: float) -> Tensor:
    """Probabilities to the power of 1 / T, made to sum to one.

    Parameters
    ----------
    proba : Tensor of shape (n, n_classes)
    temperature : float > 0
        T: below 1 sharpens.
    """
    # The largest is one before the power, so that none but vanishing ones vanish.
    powers = (proba / proba.amax(dim=1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def mixed_up(
    inputs: Tensor, targets: Tensor, alpha: float, rng: np.random.RandomState
) -> tuple[Tensor, Tensor]:
    """Mix every sample with another one, and their soft labels alike.

    x' = l x + (1 - l) x_j, t' = l t + (1 - l) t_j with one l for all, the larger of
    l ~ Beta(alpha, alpha) and 1 - l, so that a sample stays nearer to itself.

    Parameters
    ----------
    inputs : Tensor of shape (n, ...), float
    targets : Tensor of shape (n, n_classes)
    alpha : float
        0 mixes nothing.
    rng : RandomState

    Returns
    -------
    inputs, targets : Tensor
        As given.
    """
    if alpha == 0:
        return inputs, targets
    if not inputs.is_floating_point():
        raise TypeError(
            f"Samples of type {inputs.dtype} cannot be mixed. Pass float samples, or "
            "mode='probe', which mixes features."
        )
    share = rng.beta(alpha, alpha)
    share = max(share, 1 - share)
    partner = torch.randperm(len(inputs), device=inputs.device)
    return (
        torch.lerp(inputs[partner], inputs, share),
        torch.lerp(targets[partner], targets, share),
    )


def mix_match_loss(
    member: Any,
    labelled: tuple[Sequence[Tensor], Tensor],
    unlabelled: tuple[Sequence[Tensor], Tensor],
    *,
    alpha: float,
    lambda_u: float,
    rng: np.random.RandomState,
) -> Tensor:
    """Loss of a classifier on mixtures of labelled and guessed samples.

    Cross-entropy of the labelled ones, plus ``lambda_u`` times the mean squared error
    of the guessed ones, plus the divergence of the mean prediction from all classes
    being equally frequent.

    Parameters
    ----------
    member : Classifier
    labelled, unlabelled : (sequence of Tensor of shape (n, ...), Tensor)
        Views of samples, and their soft labels (n, n_classes). There may be no
        unlabelled ones.
    alpha : float
        Of :func:`mixed_up`.
    lambda_u : float
    rng : RandomState

    Returns
    -------
    Tensor, a scalar

    References
    ----------
    Berthelot et al., "MixMatch: A Holistic Approach to Semi-Supervised Learning",
    NeurIPS 2019, Algorithm 1.
    """
    (views, targets), (more, guesses) = labelled, unlabelled
    inputs = torch.cat([*views, *more])
    soft = torch.cat([*[targets] * len(views), *[guesses] * len(more)])
    inputs, soft = mixed_up(inputs, soft, alpha, rng)
    log_proba = logits_of(member, inputs).float().log_softmax(dim=1)
    n = len(views) * len(targets)
    loss = -(soft[:n] * log_proba[:n]).sum(dim=1).mean()
    if more:
        loss = loss + lambda_u * (soft[n:] - log_proba[n:].exp()).square().mean()
    log_mean = log_proba.logsumexp(dim=0) - np.log(len(log_proba))
    return loss - log_mean.mean() - np.log(log_proba.shape[1])
