"""Mixed precision for backbones, with what is slow on a CPU left out of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def autocast(
    device: str, dtype: torch.dtype | None, *, training: bool
) -> Iterator[None]:
    """Run matrix products in ``dtype`` inside the block.

    On a CPU the backward passes of two kernels are slow in bfloat16: that of fused
    attention, which training replaces by plain matrix products, and that of grouped
    convolutions, which training leaves in float32. With matrix units, small images
    train up to twice as fast, a ConvNeXt-T a third faster, a ViT-B/16 and a ResNet-50
    alike; with dot products only, small images half as fast again and others alike
    (``benchmarks/results/cpu_training_*.md``).

    Parameters
    ----------
    device : str
        Type of the device, such as ``"cpu"``.
    dtype : torch.dtype or None
        None leaves everything in float32.
    training : bool
        Whether gradients will be computed.
    """
    if dtype is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device, dtype))
        if training and device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(_GroupedConvolutionsInFloat32())
        yield


class _GroupedConvolutionsInFloat32(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        # conv2d(input, weight, bias, stride, padding, dilation, groups)
        groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
        if func is not torch.conv2d or groups == 1:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(args[0].float(), *args[1:], **kwargs)
