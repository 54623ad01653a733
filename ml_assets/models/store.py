"""Models as named bytes: JSON for numbers and words, ``.npz`` for arrays, UBJSON for boosters. Nothing is pickled.

Rule of this file: the same model gives the same bytes, and reading them runs no code from the file.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ml_assets.models.boosting import Boost

Files = dict[str, bytes]
"""File name -> content."""


def pack_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys; floats keep every digit."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def unpack_json(content: bytes) -> Any:
    """Inverse of :func:`pack_json`."""
    return json.loads(content.decode())


def pack_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Arrays by name as an uncompressed ``.npz``; object arrays are refused."""
    for name, array in arrays.items():
        if array.dtype == object:
            raise ValueError(f"Array {name!r} holds objects; only numbers are stored.")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Inverse of :func:`pack_arrays`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def pack_boost(prefix: str, boost: Boost | None) -> Files:
    """A booster and its numbers as files ``<prefix>.ubj`` and ``<prefix>.boost.json``; nothing for None.

    Further members of a committee follow as ``<prefix>.1.ubj`` and so on.
    """
    if boost is None:
        return {}
    numbers = {
        "log_rate": boost.log_rate,
        "rounds": boost.rounds,
        "features": list(boost.features),
        "members": len(boost.members),
        "settings": dict(boost.settings),
    }
    files = {_member(prefix, i): bytes(m.save_raw(raw_format="ubj")) for i, m in enumerate(boost.members)}
    return {**files, f"{prefix}.boost.json": pack_json(numbers)}


def _member(prefix: str, number: int) -> str:
    return f"{prefix}.{number}.ubj" if number else f"{prefix}.ubj"


def unpack_boost(prefix: str, files: Files) -> Boost | None:
    """Inverse of :func:`pack_boost`; None where the files are absent."""
    if f"{prefix}.ubj" not in files:
        return None
    numbers = unpack_json(files[f"{prefix}.boost.json"])
    members = []
    for i in range(numbers.get("members", 1)):
        booster = xgb.Booster(params={"nthread": 1})
        booster.load_model(bytearray(files[_member(prefix, i)]))
        members.append(booster)
    return Boost(
        members[0],
        numbers["log_rate"],
        numbers["rounds"],
        tuple(numbers["features"]),
        tuple(members[1:]),
        tuple(numbers.get("settings", {}).items()),
    )
