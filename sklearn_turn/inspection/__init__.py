"""Look at what a fit found."""

from ._corrections import apply_corrections, verified_labels
from ._embedding import EmbeddingDisplay
from ._label_issues import label_issues
from ._loss_mixture import LossMixtureDisplay
from ._neighbors import neighbor_issues
from ._noise_summary import NoiseSummary, noise_summary
from ._report import export_report
from ._suspect_grid import SuspectGridDisplay
from ._training_curve import TrainingCurveDisplay
from ._transition import NoiseTransitionDisplay

__all__ = [
    "EmbeddingDisplay",
    "LossMixtureDisplay",
    "NoiseSummary",
    "NoiseTransitionDisplay",
    "SuspectGridDisplay",
    "TrainingCurveDisplay",
    "apply_corrections",
    "export_report",
    "label_issues",
    "neighbor_issues",
    "noise_summary",
    "verified_labels",
]
