"""Reading a damaged CSV file so that every record is either kept or rejected with a reason.

DuckDB's reader is faster and is tried first (:mod:`ml_assets.sources.ingest`); this one takes over where that
stops at a malformed line or where quoted line ends make record boundaries doubtful. Lines that are plainly
sound are found with array operations and split in bulk; only the others are looked at one by one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from ml_assets.sources.readers import TableFile, explained, open_bytes

BLOCK_BYTES = 8 << 20
"""Bytes looked at together: bounds memory to some tens of megabytes."""

MAX_QUOTED_LINES = 50
"""Lines a quoted value may span; a quote still open after that is taken for broken."""

_NEWLINE, _RETURN, _QUOTE, _SPACE = b'\n\r" '


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
    """Consecutive records: those kept, by position as columns c0, c1, ... and their numbers, and those rejected."""

    kept: list[pa.Table] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def kept_schema(table: TableFile) -> pa.Schema:
    """Columns of :attr:`Batch.kept`: c0, c1, ... as text in the file's order, then record_number."""
    return pa.schema([*((f"c{i}", pa.string()) for i in range(len(table.header))), ("record_number", pa.int64())])


def read_batches(table: TableFile, block_bytes: int = BLOCK_BYTES) -> Iterator[Batch]:
    """Yield the records of a CSV file block by block, header left out, blank lines skipped.

    A record with a value that spans lines is accepted, unless one of those lines is a whole record by
    itself: then the quote is taken for broken, its line is rejected, and reading goes on with the next.
    Empty fields after the last column are let pass, as DuckDB's reader does.
    """
    row, number = 0, 1
    with explained(table.path), open_bytes(table.path) as file:
        file.readline()
        rest, is_last = b"", False
        while not is_last:
            block, is_last = _read_block(file, rest, block_bytes)
            if not block:
                continue
            batch, used_bytes, used_lines, records = _split(block, table, row, number, is_last)
            rest = block[used_bytes:]
            row, number = row + records, number + used_lines
            # a block that could not be begun is read again, longer
            block_bytes = block_bytes if used_bytes else 2 * block_bytes
            yield batch


def _read_block(file: IO[bytes], rest: bytes, size: int) -> tuple[bytes, bool]:
    """What was left over and the next bytes; the last block is closed with a line end."""
    more = file.read(size)
    block = rest + more
    if more:
        return block, False
    return (block if not block or block.endswith(b"\n") else block + b"\n"), True


def _split(block: bytes, table: TableFile, row: int, number: int, is_last: bool) -> tuple[Batch, int, int, int]:
    """Records of the whole lines of ``block``; returns them with the bytes, lines and records dealt with.

    ``row`` records and ``number`` lines lie before the block. Lines at its end whose quoted value may go on
    beyond it are left for the next block.
    """
    width = len(table.header)
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    if not len(ends):
        return Batch(), 0, 0, 0
    starts = np.concatenate([[0], ends[:-1] + 1])
    data = data[: ends[-1] + 1]
    is_plain, is_quoted = _sort_lines(data, starts, ends, table.delimiter, width)
    if not is_last:
        open_lines = np.flatnonzero(~is_plain[-MAX_QUOTED_LINES:])
        if len(open_lines):
            keep = max(len(ends) - MAX_QUOTED_LINES, 0) + int(open_lines[0])
            if keep == 0:
                return Batch(), 0, 0, 0
            starts, ends, is_plain, is_quoted = starts[:keep], ends[:keep], is_plain[:keep], is_quoted[:keep]
    try:
        return _assemble(block, starts, ends, is_plain, table, row, number)
    except pa.ArrowInvalid:
        # a delimiter inside quotes: neatly quoted lines are looked at one by one after all
        return _assemble(block, starts, ends, is_plain & ~is_quoted, table, row, number)


def _sort_lines(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], delimiter: str, width: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Per line: is it plainly a sound record; does it hold quotes.

    Plain lines have the right number of delimiters, no return inside, valid UTF-8, and no quotes but those
    that open right after and close right before a delimiter or the line's edge.
    """
    is_delimiter = data == ord(delimiter)
    is_plain = np.add.reduceat(is_delimiter, starts, dtype=np.int64) == width - 1
    if width == 1:
        is_plain &= ~np.isin(data[starts], [_NEWLINE, _RETURN, _SPACE])
    returns = np.flatnonzero(data == _RETURN)
    is_plain[np.searchsorted(ends, returns[data[returns + 1] != _NEWLINE])] = False

    quotes = np.flatnonzero(data == _QUOTE)
    lines = np.searchsorted(ends, quotes)
    is_edge = is_delimiter | (data == _NEWLINE) | (data == _RETURN)
    opens = np.where(quotes == 0, True, is_edge[np.maximum(quotes, 1) - 1])
    closes = is_edge[quotes + 1]
    is_quoted = np.zeros(len(ends), dtype=bool)
    is_quoted[lines] = True
    is_plain[lines[opens == closes]] = False
    is_plain[np.bincount(lines, weights=np.where(opens, 1, -1), minlength=len(ends)) != 0] = False

    try:
        data.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        is_plain[np.searchsorted(ends, np.flatnonzero(data >= 0x80))] = False
    return is_plain, is_quoted


def _assemble(
    block: bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    is_plain: NDArray[np.bool_],
    table: TableFile,
    row: int,
    number: int,
) -> tuple[Batch, int, int, int]:
    """Split plain lines in bulk and the others one by one; see :func:`_split`."""
    width = len(table.header)
    is_plain = is_plain.copy()
    is_record = is_plain.copy()
    single: list[tuple[int, list[str] | None, str]] = []
    done = 0
    for line in np.flatnonzero(~is_plain).tolist():
        if line < done:
            continue
        text = block[starts[line] : ends[line]].rstrip(b"\r")
        if not text.strip(b" "):
            continue
        last = min(line + 1 + MAX_QUOTED_LINES, len(ends))
        following = [block[starts[i] : ends[i]].rstrip(b"\r") for i in range(line + 1, last)] if b'"' in text else []
        fields, reason, extra = _parse(text, following, width, table.delimiter)
        is_record[line] = True
        if extra:
            # lines inside the record's quoted value are no records of their own
            done = line + 1 + extra
            is_plain[line + 1 : done] = False
            is_record[line + 1 : done] = False
        single.append((line, fields, reason))
    rows = row + np.cumsum(is_record)

    batch = Batch()
    if is_plain.any():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], is_plain.view(np.int8), [0]])))
        runs = b"".join(block[starts[a] : ends[b - 1] + 1] for a, b in zip(edges[::2], edges[1::2], strict=True))
        batch.kept.append(_bulk(runs, width, table.delimiter).append_column("record_number", pa.array(rows[is_plain])))
    kept = [(int(rows[line]), fields) for line, fields, _ in single if fields is not None]
    if kept:
        columns = [pa.array(values, pa.string()) for values in zip(*(fields for _, fields in kept), strict=True)]
        numbers = pa.array([r for r, _ in kept], pa.int64())
        batch.kept.append(pa.Table.from_arrays([*columns, numbers], schema=kept_schema(table)))
    for index, fields, reason in single:
        if fields is None:
            shown = block[starts[index] : ends[index]].rstrip(b"\r").decode("utf-8", errors="backslashreplace")
            batch.rejects.append(Reject(int(rows[index]), shown, f"line {number + index + 1}: {reason}"))
    return batch, int(ends[-1]) + 1, len(ends), int(is_record.sum())


def _bulk(text: bytes, width: int, delimiter: str) -> pa.Table:
    """Columns of lines known to be sound; raises ArrowInvalid where one is not."""
    names = [f"c{i}" for i in range(width)]
    return pa_csv.read_csv(
        pa.BufferReader(text),
        read_options=pa_csv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    ).combine_chunks()


def _parse(line: bytes, following: list[bytes], width: int, delimiter: str) -> tuple[list[str] | None, str, int]:
    """Fields of the record that begins with ``line``, or None and the reason; and how many more lines it takes."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1} of the line", 0
    if '"' not in text:
        return *_of_width(text.split(delimiter), width), 0
    alone, reason = _fields(text, width, delimiter)
    if alone is not None or _is_balanced(line):
        return alone, reason, 0
    for extra, bare in enumerate(following, start=1):
        if b'"' not in bare:
            if bare.count(delimiter.encode()) == width - 1 and width > 1:
                break
        elif not _is_balanced(bare):
            try:
                joined = b"\n".join([line, *following[:extra]]).decode("utf-8")
            except UnicodeDecodeError:
                break
            fields, reason = _fields(joined, width, delimiter)
            if fields is None:
                break
            return fields, reason, extra
    return None, "a double quote is opened and not closed", 0


def _is_balanced(line: bytes) -> bool:
    return line.count(b'"') % 2 == 0


def _fields(text: str, width: int, delimiter: str) -> tuple[list[str] | None, str]:
    try:
        records = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return None, f"broken quotes ({error})"
    return _of_width(records[0], width) if len(records) == 1 else (None, "broken quotes")


def _of_width(fields: list[str], width: int) -> tuple[list[str] | None, str]:
    """The fields if there are as many as columns, empty ones after the last let pass; else None and the reason."""
    if len(fields) > width and not any(fields[width:]):
        fields = fields[:width]
    return (fields, "") if len(fields) == width else (None, f"{len(fields)} columns where the header has {width}")
