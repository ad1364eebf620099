"""A backbone that counts its images across processes."""

from pathlib import Path

import torch
from torch import nn


class Logged(nn.Module):
    """The mean colours of a grid of 4 x 4 fields; batches are noted in a file.

    The same bits whatever the batch, so that fits in any number of processes agree.
    """

    def __init__(self, log):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
        self.log = str(log)

    def forward(self, images):
        # One blank image asks for the number of features, two images for what tells
        # backbones apart; training steps are no passes of the frozen backbone.
        if len(images) > 2 and not torch.is_grad_enabled():
            with open(self.log, "a") as file:
                file.write(f"{len(images)}\n")
        return (self.gain * nn.functional.adaptive_avg_pool2d(images, 4)).flatten(1)

    @property
    def n_passed(self):
        """Images that passed through any copy, in any process."""
        log = Path(self.log)
        return sum(map(int, log.read_text().split())) if log.exists() else 0
