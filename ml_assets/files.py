"""Writing a file so that whoever reads it meets the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Within this context write to the path it gives; at its end that file takes the place of ``target``.

    The file lies beside the target under the ending ``.partial``; its content is on the disk before it is renamed. An
    error, or a killed process, leaves the target as it was. Folders that are missing are made.
    """
    partial = target.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    yield partial
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def replace_file(target: Path, content: str | bytes) -> Path:
    """Write ``content`` (text as UTF-8) by :func:`replacing`; returns ``target``."""
    with replacing(target) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return target
