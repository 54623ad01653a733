"""Reading a damaged CSV file record by record, so that every record is either kept or rejected with a reason.

DuckDB's reader is several times faster and is tried first (:mod:`ml_assets.sources.ingest`); this one takes
over where that stops at a malformed line or where quoted line ends make record boundaries doubtful.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field

from ml_assets.sources.readers import TableFile, explained, open_bytes

BATCH_RECORDS = 100_000
"""Records per batch: bounds memory to some tens of megabytes."""

MAX_QUOTED_LINES = 50
"""Lines a quoted value may span; a quote still open after that is taken for broken."""


@dataclass(frozen=True)
class Reject:
    """A record that could not be split into columns.

    Attributes
    ----------
    row : record number, header not counted, first is 1.
    value : the line as read; undecodable bytes are shown as ``\\xNN``.
    reason : line number and what is wrong.
    """

    row: int
    value: str
    reason: str


@dataclass
class Batch:
    """Consecutive records: those kept with their numbers, and those rejected."""

    rows: list[int] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def read_batches(table: TableFile) -> Iterator[Batch]:
    """Yield the records of a CSV file in batches, header left out, blank lines skipped.

    A record with a value that spans lines is accepted, unless one of those lines is a whole record by
    itself: then the quote is taken for broken, its line is rejected, and reading goes on with the next.
    """
    width, delimiter = len(table.header), table.delimiter
    batch, row = Batch(), 0
    with explained(table.path), open_bytes(table.path) as file:
        lines = _Lines(iter(file))
        lines.take()
        while (line := lines.take()) is not None:
            number = lines.number
            stripped = line.rstrip(b"\r\n")
            if not stripped.strip(b" "):
                continue
            row += 1
            kept, reason = _parse(stripped, lines, width, delimiter)
            if kept is not None:
                batch.rows.append(row)
                batch.records.append(kept)
            else:
                text = stripped.decode("utf-8", errors="backslashreplace")
                batch.rejects.append(Reject(row, text, f"line {number}: {reason}"))
            if len(batch.rows) + len(batch.rejects) >= BATCH_RECORDS:
                yield batch
                batch = Batch()
    yield batch


class _Lines:
    """Lines of a file with a look ahead."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._ahead: list[bytes] = []
        self.number = 0

    def take(self) -> bytes | None:
        """The next line, or None at the end."""
        line = self._ahead.pop(0) if self._ahead else next(self._source, None)
        self.number += line is not None
        return line

    def look(self, index: int) -> bytes | None:
        """The line ``index`` places ahead, without taking it."""
        while len(self._ahead) <= index:
            line = next(self._source, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[index]


def _parse(line: bytes, lines: _Lines, width: int, delimiter: str) -> tuple[list[str] | None, str]:
    """Fields of the record that begins with ``line``, or None and the reason."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1} of the line"
    if '"' not in text:
        return _of_width(text.split(delimiter), width)
    alone, reason = _fields(text, width, delimiter)
    if alone is not None or _balanced(line):
        return alone, reason
    for extra in range(MAX_QUOTED_LINES):
        following = lines.look(extra)
        if following is None:
            break
        bare = following.rstrip(b"\r\n")
        if b'"' not in bare:
            if bare.count(delimiter.encode()) == width - 1 and width > 1:
                break
        elif not _balanced(bare):
            joined = line + b"\n" + b"\n".join((lines.look(i) or b"").rstrip(b"\r\n") for i in range(extra + 1))
            try:
                fields, reason = _fields(joined.decode("utf-8"), width, delimiter)
            except UnicodeDecodeError:
                break
            if fields is None:
                break
            for _ in range(extra + 1):
                lines.take()
            return fields, reason
    return None, "a double quote is opened and not closed"


def _balanced(line: bytes) -> bool:
    return line.count(b'"') % 2 == 0


def _fields(text: str, width: int, delimiter: str) -> tuple[list[str] | None, str]:
    try:
        records = (
            list(csv.reader([text], delimiter=delimiter, strict=True))
            if "\n" not in text
            else list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
        )
    except csv.Error as error:
        return None, f"broken quotes ({error})"
    if len(records) != 1:
        return None, "broken quotes"
    return _of_width(records[0], width)


def _of_width(fields: list[str], width: int) -> tuple[list[str] | None, str]:
    """The fields if there are as many as columns; empty ones after the last are let pass, as DuckDB's reader does."""
    if len(fields) > width and not any(fields[width:]):
        fields = fields[:width]
    return (fields, "") if len(fields) == width else (None, f"{len(fields)} columns where the header has {width}")
