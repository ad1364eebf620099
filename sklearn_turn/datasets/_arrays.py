"""Read labels from pickles of other people without running what they say."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

# What pickles of arrays and tensors call, of NumPy before and after version 2. A pickle
# may call whatever can be imported; these make nothing but data.
_HARMLESS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(
                f"it calls {module}.{name}, which no file of labels needs"
            )
        return super().find_class(module, name)


def _load(file: Any, **options: Any) -> Any:
    return _ArrayUnpickler(file, **options).load()


# In place of the module pickle. With weights_only=True torch refuses arrays, and how to
# allow them differs between its versions.
_PICKLE = SimpleNamespace(
    Unpickler=_ArrayUnpickler, load=_load, __name__=f"{__name__}._PICKLE"
)


def load_label_file(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read a dictionary of labels that ``torch.save`` or ``numpy.save`` wrote.

    Parameters
    ----------
    path : Path
        Ending in ``.npy``, or else as torch writes.

    Returns
    -------
    dict of str to ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the file is no dictionary of integer arrays, is damaged, or asks for more
        than arrays when it is read.
    """
    try:
        found = _load_npy(path) if path.suffix == ".npy" else _load_pt(path)
        labels = {str(name): np.asarray(values) for name, values in found.items()}
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(
            f"{str(path)!r} cannot be read as a dictionary of labels: {error}. "
            "Download it again."
        ) from error
    if not all(values.dtype.kind in "iu" for values in labels.values()):
        raise ValueError(f"{str(path)!r} holds labels that are no whole numbers.")
    return {name: values.astype(np.intp).ravel() for name, values in labels.items()}


def _load_pt(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                # torch would hand it to another reader, which runs code of its own.
                raise pickle.UnpicklingError("it is a TorchScript program")
    return torch.load(
        path, map_location="cpu", weights_only=False, pickle_module=_PICKLE
    )


def _load_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            np.lib.format.read_array_header_1_0(file)
        else:
            np.lib.format.read_array_header_2_0(file)
        return _load(file).item()
