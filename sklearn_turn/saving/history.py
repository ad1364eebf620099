"""Records of epochs, without what cannot be saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .arrays import CodecError, Tensors
from .codec import pack


def pack_history(
    history: Iterable[Mapping[str, Any]], tensors: Tensors, name: str
) -> tuple[list[Any], set[str]]:
    """Records as :func:`~.codec.pack` packs them, and the names of entries left out."""
    rows: list[Any] = []
    left_out = set()
    for number, row in enumerate(history):
        entries = []
        for key, value in row.items():
            place = f"{name}.{number}.{key}"
            try:
                entries.append([key, pack(value, tensors, place, states=False)])
            except CodecError:
                left_out.add(key)
        rows.append({"dict": entries})
    return rows, left_out
