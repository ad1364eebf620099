"""Images to features: transform, then the backbone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..inputs import Source
from .augment import AUGMENTATIONS
from .autocast import autocast
from .loading import Backbone, load_backbone
from .transforms import BatchTransform


class Embedder(nn.Module):
    """Images to float32 features: transform, then the backbone under autocast.

    Parameters
    ----------
    transform : Module
        Raw batch to the backbone's input.
    backbone : Module
    dtype : torch.dtype or None
        Type of matrix products under autocast; None is float32.
    backbone_width : int
        Number of features.
    freeze_batch_norm : bool
        Whether BatchNorm keeps its statistics, and uses them, while training.
    compile : bool
        Whether torch compiles the backbone when it is first run, in this process.
    grad_checkpointing : bool
        Whether activations are computed again in the backward pass of training.

    Raises
    ------
    ValueError
        If the backbone does not offer gradient checkpointing.
    """

    def __init__(
        self,
        transform: nn.Module,
        backbone: nn.Module,
        dtype: torch.dtype | None,
        backbone_width: int,
        freeze_batch_norm: bool = True,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ):
        super().__init__()
        self.freeze_batch_norm = freeze_batch_norm
        self.grad_checkpointing = grad_checkpointing
        self.backbone_width = backbone_width
        self.transform = transform
        self.backbone = backbone
        self.dtype = dtype
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)
        if grad_checkpointing:
            _check_checkpointing(backbone)
        self.compiles = compile
        self.compile_backbone()

    @property
    def takes_images(self) -> bool:
        """Whether a transform feeds the backbone; else samples go there as they are."""
        return isinstance(self.transform, BatchTransform)

    def sized(self, source: Source) -> Source:
        """The source, decoding no more pixels than are used."""
        if isinstance(self.transform, BatchTransform):
            return source.sized_for(self.transform.resized)
        return source

    def compile_backbone(self) -> None:
        """Compile the backbone, if that is wanted; a copy is not compiled."""
        if self.compiles:
            # In place: the module, the names of its weights and its pickles are as
            # they were.
            self.backbone.compile()

    def train(self, mode: bool = True) -> Embedder:
        super().train(mode)
        if self.freeze_batch_norm:
            for norm in self._batch_norms():
                norm.eval()
        if self.grad_checkpointing:
            # In training only: what tells one frozen backbone from another stays.
            set_checkpointing: Any = self.backbone.set_grad_checkpointing
            set_checkpointing(mode)
        return self

    def _batch_norms(self) -> list[_BatchNorm]:
        return [m for m in self.backbone.modules() if isinstance(m, _BatchNorm)]

    def free_untrained_batch_norm(self) -> None:
        """Freeze no BatchNorm whose statistics are those it was made with.

        It would normalise nothing. Called before training, with the weights that it
        starts from.
        """
        if all(map(_has_initial_statistics, self._batch_norms())):
            self.freeze_batch_norm = False

    def forward(self, batch: Any) -> Tensor:
        return self.embed_inputs(self.transform(batch))

    def embed_inputs(self, images: Tensor) -> Tensor:
        """Features of what the transform makes of a batch."""
        if images.ndim == 4:
            # The layout such convolutions are fastest in; others do not mind.
            images = images.contiguous(memory_format=torch.channels_last)
        # What is replaced in training would not be when activations are computed again.
        replaces = self.training and not self.grad_checkpointing
        with autocast(images.device.type, self.dtype, training=replaces):
            return self.backbone(images).float()


def _has_initial_statistics(norm: _BatchNorm) -> bool:
    """Mean 0 and variance 1 of every channel, or none at all."""
    if norm.running_mean is None or norm.running_var is None:
        return True
    return not norm.running_mean.any() and bool((norm.running_var == 1).all())


def _check_checkpointing(backbone: Any) -> None:
    """Raise if a backbone does not offer gradient checkpointing."""
    try:
        backbone.set_grad_checkpointing(True)
        backbone.set_grad_checkpointing(False)
    except (AttributeError, AssertionError) as error:  # timm's, where it is not there
        raise ValueError(
            f"fft_grad_checkpointing=True, but the backbone "
            f"{type(backbone).__name__} has no gradient checkpointing: its "
            "set_grad_checkpointing(enable), as timm's models have it, is missing or "
            "refuses. Set fft_grad_checkpointing=False, and lower fft_batch_size if "
            "memory is short."
        ) from error


def make_embedder(
    backbone: Backbone,
    dtype: torch.dtype | None,
    *,
    raw: bool,
    augment: Any = None,
    freeze_batch_norm: bool = True,
    compile: bool = False,
    grad_checkpointing: bool = False,
) -> Embedder:
    """Join a backbone with the transform that feeds it.

    Parameters
    ----------
    backbone : Backbone
    dtype : torch.dtype or None
        See :class:`Embedder`.
    raw : bool
        Whether samples go to the backbone as they are.
    augment : str, callable or None
        Augmentation in training mode.
    freeze_batch_norm, compile, grad_checkpointing : bool
        See :class:`Embedder`.
    """
    transform: nn.Module = nn.Identity()
    if isinstance(augment, nn.Module):  # the user's own, which is not to be trained
        augment = copy.deepcopy(augment).requires_grad_(False)
    if not raw:
        transform = BatchTransform(
            backbone.input_size,
            backbone.mean,
            backbone.std,
            backbone.crop_pct,
            backbone.interpolation,
            AUGMENTATIONS[augment] if isinstance(augment, str) else augment,
            backbone.crop_mode,
        )
    return Embedder(
        transform,
        backbone.module,
        dtype,
        backbone.width,
        freeze_batch_norm,
        compile,
        grad_checkpointing,
    )


def embedder_for(
    estimator: Any, source: Source, dtype: torch.dtype | None, **tuning: Any
) -> tuple[Backbone, Embedder]:
    """The backbone of an estimator, also joined with what feeds it such samples.

    Parameters
    ----------
    estimator : estimator
        Its ``backbone``, ``pretrained``, ``input_size``, ``crop_pct`` and ``compile``.
    source : Source
    dtype : torch.dtype or None
        See :class:`Embedder`.
    **tuning
        Other arguments of :func:`make_embedder`.
    """
    backbone = load_backbone(
        estimator.backbone,
        pretrained=estimator.pretrained,
        input_size=estimator.input_size,
        crop_pct=estimator.crop_pct,
        example=source.load([0]) if source.is_raw else None,
    )
    tuning |= {"raw": source.is_raw, "compile": estimator.compile}
    return backbone, make_embedder(backbone, dtype, **tuning)
