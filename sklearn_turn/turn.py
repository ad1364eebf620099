"""TURN: linear probing, then cleansing and full fine-tuning in turn (Algorithm 1)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor, nn

from .backbones import BackboneLike
from .base import BaseFineTuner
from .inputs import FeatureRows
from .selection import GMMNoiseFilter
from .task import Task
from .training.batches import Labelled
from .training.cleansing import Cleansing, per_sample_losses
from .training.net import history


class TURNClassifier(BaseFineTuner):
    """Fine-tune a pre-trained image model on labels you do not trust.

    A linear probe is trained with a robust loss on features computed once by the
    frozen backbone. Its per-sample losses tell clean labels from wrong ones, class by
    class. The whole network is then fine-tuned on a balanced draw of the clean ones,
    and the labels are judged anew before every epoch.

    Parameters
    ----------
    backbone : str, Module or callable, default="vit_b16"
        One of the paper's backbones ("vit_b16", "vit_l16", "convnext_t",
        "mae_vit_b", "clip_vit_b", "clip_vit_l14", "resnet50"), a timm name, a
        module (copied before use) or a function returning one. Not used for 2-D X.
    pretrained : bool or path, default=True
        True downloads the published weights through timm; a path is a
        ``.safetensors`` or ``.pth`` checkpoint; False starts at random.
    lp_epochs : int, default=20
        Epochs of linear probing, the paper's E_LP. 0 starts fine-tuning from an
        untrained head.
    lp_warmup_epochs : int, default=2
        The first of them that use cross-entropy: at a fresh head the robust loss has
        a gradient C^-q times smaller.
    q : float in [0, 1], default=0.7
        Robustness of the probe's generalised cross-entropy; 0 is cross-entropy.
    lp_lr : float, default=None
        Peak learning rate of the probe (AdamW, cosine decay). None is 1e-3 for up to
        192 features, and 1e-3 * sqrt(192 / n_features) for more.
    lp_batch_size : int, default=None
        None is 128, or less for fewer than 3072 samples, so that an epoch has about
        24 steps: with few, the probe would not get far.
    cleansing : {"epoch", "once"} or None, default="epoch"
        Judge labels before every epoch of fine-tuning, before the first only, or
        train on all labels.
    tau : float in [0, 1], default=0.6
        A label is believed when its clean probability is greater. The paper's τ.
    balance : {"min"}, float >= 1 or None, default="min"
        Every class contributes as many samples as the class with the fewest clean
        ones (the paper's rule), at most this many times as many, or all its clean
        ones.
    noise_filter : estimator, default=None
        Used instead of ``GMMNoiseFilter(tau=tau)``; then ``tau`` has no effect.
    fft_epochs : int, default=4
        Epochs of full fine-tuning, the paper's E_FFT. 0 stops after the probe.
    fft_optimizer : {"adamw", "adam", "sgd"}, default=None
        None is the backbone's own default.
    fft_lr, fft_weight_decay : float, default=None
        Peak learning rate (cosine decay) and weight decay; None is the backbone's
        own. The learning rate decides whether fine-tuning helps: tune it first.
    fft_batch_size : int, default=None
        None is 64, or down to 16 for fewer than 3072 samples: with few steps
        fine-tuning would not get far.
    fft_warmup : float in [0, 1), default=0.1
        Share of fine-tuning over which the learning rate rises.
    freeze_batch_norm : bool, default=True
        BatchNorm layers keep the statistics of the pre-training and use them while
        fine-tuning: the batches of a small clean subset estimate them poorly. No
        effect on backbones without BatchNorm.
    augment : {"light", "color"}, callable or None, default="light"
        Augmentation while fine-tuning: random flip and crop, the same with random
        brightness, contrast and saturation, a function of a float batch
        (n, 3, height, width) in [0, 1] on the device, or none. Use None where mirror
        images differ in meaning, as with digits.
    input_size : int, default=None
        Side of the backbone's input in pixels; None is its own. Smaller is faster.
    crop_pct : float in (0, 1], default=None
        Share of the resized image that is kept at its centre; None is the
        backbone's own.
    batch_size : int, default=64
        For passes without gradients.
    num_workers : int or "auto", default="auto"
        Processes that decode image files. "auto" is up to 8 with an accelerator and 0
        on a CPU, where files are decoded by as many threads as torch uses.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps"; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the backbone; "auto" is bfloat16 autocast where the hardware has matrix
        units for it.
    memory : path, joblib.Memory, FeatureMemory or None, default=None
        Folder where features are kept, so that no image passes twice through the
        frozen backbone: not over the folds and candidates of a search, nor in a later
        run. Read and written by any number of processes.
    on_bad_image : {"raise", "skip"}, default="raise"
        Refuse to fit when image files are missing or damaged, or leave them out: they
        are listed in ``skipped_`` and never believed. Skipping reads every file once
        more. Predictions always refuse.
    random_state : int, RandomState or None, default=None
        An int makes a fit repeatable, bit for bit on a CPU.
    verbose : int, default=0
        1 shows progress bars, and after each cleansing how many labels are believed.
    lp_params, fft_params : dict, default=None
        More arguments for the two skorch nets, such as ``callbacks`` or
        ``optimizer__betas``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    clean_mask_ : ndarray of shape (n_samples,), bool
        Labels believed at the last cleansing, in the order given to ``fit``.
    clean_proba_ : ndarray of shape (n_samples,), float64
        Probability that each label is clean.
    losses_ : ndarray of shape (n_samples,), float64
        Cross-entropy of each given label at the last cleansing. Absent when
        ``cleansing`` is None.
    noise_filter_ : estimator
        The filter of the last cleansing. Absent when ``cleansing`` is None.
    probe_ : skorch net or None
        The linear probe on features; None if there was none.
    net_ : skorch net
        The fine-tuned model; its module is ``net_.module_``.
    history_ : list of dict
        One per epoch: ``phase`` ("probe" or "fine-tune"), ``epoch``, ``train_loss``,
        ``seconds``, and when cleansing ``n_train`` and ``kept`` (labels believed per
        class).
    skipped_ : ndarray of int
        Positions of samples left out because they could not be read.
    input_shape_ : tuple or None
        Shape of one sample; None for files.
    n_features_in_ : int
        Values per sample; absent for files.

    See Also
    --------
    GMMNoiseFilter : How losses become clean probabilities.
    Cleansing : Step 2 for any skorch classifier.

    References
    ----------
    Ahn, Kim, Ko and Yun, "Fine-tuning Pre-trained Models for Robustness under Noisy
    Labels", IJCAI 2024, Algorithm 1.

    Examples
    --------
    2-D X is taken as features, so the method can be tried without a backbone:

    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_turn import TURNClassifier
    >>> from sklearn_turn.noise import symmetric
    >>> X, y = make_blobs(400, centers=3, random_state=0, cluster_std=0.8)
    >>> y_noisy = symmetric(y, 0.3, random_state=0)
    >>> clf = TURNClassifier(random_state=0).fit(X, y_noisy)
    >>> clf.predict(X[:3]).shape
    (3,)
    >>> bool((clf.clean_mask_ == (y == y_noisy)).mean() > 0.9)
    True
    """

    _parameter_constraints = {
        **BaseFineTuner._parameter_constraints,
        "cleansing": [StrOptions({"epoch", "once"}), None],
        "tau": [Interval(Real, 0, 1, closed="both")],
        "balance": [
            StrOptions({"min"}),
            Interval(Real, 1, None, closed="left"),
            None,
        ],
        "noise_filter": [HasMethods(["fit"]), None],
    }

    def __init__(
        self,
        backbone: BackboneLike = "vit_b16",
        *,
        pretrained: bool | str | PathLike[str] = True,
        lp_epochs: int = 20,
        lp_warmup_epochs: int = 2,
        q: float = 0.7,
        lp_lr: float | None = None,
        lp_batch_size: int | None = None,
        cleansing: str | None = "epoch",
        tau: float = 0.6,
        balance: str | float | None = "min",
        noise_filter: Any = None,
        fft_epochs: int = 4,
        fft_optimizer: str | None = None,
        fft_lr: float | None = None,
        fft_weight_decay: float | None = None,
        fft_batch_size: int | None = None,
        fft_warmup: float = 0.1,
        freeze_batch_norm: bool = True,
        augment: str | Callable[[Tensor], Tensor] | None = "light",
        input_size: int | None = None,
        crop_pct: float | None = None,
        batch_size: int = 64,
        num_workers: int | str = "auto",
        device: str = "auto",
        precision: str = "auto",
        memory: Any = None,
        on_bad_image: str = "raise",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        lp_params: dict[str, Any] | None = None,
        fft_params: dict[str, Any] | None = None,
    ):
        self.backbone = backbone
        self.pretrained = pretrained
        self.lp_epochs = lp_epochs
        self.lp_warmup_epochs = lp_warmup_epochs
        self.q = q
        self.lp_lr = lp_lr
        self.lp_batch_size = lp_batch_size
        self.cleansing = cleansing
        self.tau = tau
        self.balance = balance
        self.noise_filter = noise_filter
        self.fft_epochs = fft_epochs
        self.fft_optimizer = fft_optimizer
        self.fft_lr = fft_lr
        self.fft_weight_decay = fft_weight_decay
        self.fft_batch_size = fft_batch_size
        self.fft_warmup = fft_warmup
        self.freeze_batch_norm = freeze_batch_norm
        self.augment = augment
        self.input_size = input_size
        self.crop_pct = crop_pct
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.random_state = random_state
        self.verbose = verbose
        self.lp_params = lp_params
        self.fft_params = fft_params

    def _train(self, task: Task) -> None:
        n = len(task.y)
        self.clean_mask_, self.clean_proba_ = np.ones(n, dtype=bool), np.ones(n)

        # Step 1: linear probing, on features computed once.
        self.probe_ = None
        scale, head, losses = self._untrained_head(task)
        if self.lp_epochs:
            features = self._extract(task)
            self.probe_ = self._linear_probe(features, task, self.q)
            scale, head = copy.deepcopy(
                (self.probe_.module_.scale, self.probe_.module_.head)
            )
            # The backbone is untouched so far: the first losses need no pass over it.
            labelled = Labelled(FeatureRows(features), task.y)
            losses, _ = per_sample_losses(self.probe_, labelled)

        # Step 2: before every epoch select clean samples; fine-tune on them.
        cleansing = Cleansing(
            self.noise_filter or GMMNoiseFilter(tau=self.tau),
            every_epoch=self.cleansing == "epoch",
            balance=self.balance,
            first_losses=losses,
            random_state=task.random_state,
        )
        self.net_ = self._fine_tune(
            task,
            scale=scale,
            head=head,
            criterion=nn.CrossEntropyLoss,
            callbacks=[("cleansing", cleansing)] if self.cleansing else [],
        )
        if self.cleansing:
            if not self.fft_epochs:
                cleansing.judge(losses, task.y)
            self.losses_ = cleansing.losses_
            self.noise_filter_ = cleansing.noise_filter_
            self.clean_mask_ = self.noise_filter_.clean_mask_
            self.clean_proba_ = self.noise_filter_.clean_proba_
        self.history_ = history({"probe": self.probe_, "fine-tune": self.net_})
