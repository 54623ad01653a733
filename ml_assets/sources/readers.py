"""What a file is before its rows are read: format, header, delimiter, encoding, integrity.

Shared by the check of a user's folder and by raw ingestion. Nothing here interprets a value.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ml_assets.sources.errors import InputError
from ml_assets.sources.input_contract import InputEntity, nearest

DELIMITERS = (",", ";", "\t", "|")
"""Column separators that are recognised."""

CHUNK_BYTES = 1 << 20
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CONVERT = "Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 old.csv > new.csv (or save as 'CSV UTF-8')."


@dataclass(frozen=True)
class TableFile:
    """Header of a readable file.

    Attributes
    ----------
    path : the file.
    kind : ``csv`` or ``parquet``.
    header : column names exactly as the file has them, in order.
    columns : contract column -> position in ``header``.
    ignored : header names that are no contract column.
    delimiter : column separator of a CSV file.
    """

    path: Path
    kind: str
    header: tuple[str, ...]
    columns: dict[str, int]
    ignored: tuple[str, ...]
    delimiter: str = ","


@dataclass(frozen=True)
class TextFacts:
    """What one pass over a CSV file's bytes tells.

    Attributes
    ----------
    lines : physical lines, the last one counted even without a line end.
    has_quotes : a double quote occurs somewhere.
    undecodable : (line number from 1, byte offset, the bytes) of the first text that is not UTF-8, or None.
    """

    lines: int
    has_quotes: bool
    undecodable: tuple[int, int, bytes] | None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's and the decompressor's errors about ``path`` into :class:`InputError`."""
    try:
        yield
    except PermissionError as error:
        raise InputError(
            "no permission to read it", "Give the user that runs this read access (chmod u+r).", file=path
        ) from error
    except FileNotFoundError as error:
        raise InputError("the file does not exist", "Check the path.", file=path) from error
    except IsADirectoryError as error:
        raise InputError("this is a folder where a file was expected", "Name a file.", file=path) from error
    except EOFError as error:
        raise InputError(
            "the gzip file ends too early: it was cut off while being written or copied",
            "Copy it again and check it with: gzip -t FILE",
            file=path,
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"this is no intact gzip file ({error})",
            "Compress or copy it again; check it with: gzip -t FILE",
            file=path,
        ) from error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a plain or gzip-compressed file for reading its bytes."""
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scan_text(path: Path) -> TextFacts:
    """Read a CSV file once from end to end: is it whole, is it UTF-8, how many lines has it.

    Errors
    ------
    InputError : no permission, damaged or truncated gzip.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines, has_quotes, last, offset = 0, False, b"", 0
    undecodable: tuple[int, int, bytes] | None = None
    with explained(path), open_bytes(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            if undecodable is None:
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    before = error.object[: error.start]
                    line = newlines + before.count(b"\n") + 1
                    undecodable = (line, offset - pending + error.start, error.object[error.start : error.start + 4])
            newlines += chunk.count(b"\n")
            has_quotes = has_quotes or b'"' in chunk
            offset += len(chunk)
            last = chunk[-1:]
    if undecodable is None and (rest := decoder.getstate()[0]):
        undecodable = (newlines + 1, offset - len(rest), rest)
    return TextFacts(newlines + (last not in (b"", b"\n")), has_quotes, undecodable)


def probe(path: Path, entity: InputEntity) -> TableFile:
    """Read the header of a CSV or Parquet file and match it with the contract.

    Header names match without regard to case, surrounding blanks, and blank or hyphen for underscore.

    Errors
    ------
    InputError : not there, unreadable, empty, damaged, not UTF-8, or a required column is missing.
    """
    with explained(path):
        if path.stat().st_size == 0:
            raise InputError("the file is empty (0 bytes)", "Export it again, with a header line and rows.", file=path)
    if path.name.lower().endswith(".parquet"):
        header, kind, delimiter = parquet_header(path), "parquet", ","
    else:
        kind = "csv"
        header, delimiter = csv_header(path)
    columns: dict[str, int] = {}
    ignored: list[str] = []
    for position, name in enumerate(header):
        plain = name.strip().lower().replace(" ", "_").replace("-", "_")
        if plain not in entity.columns:
            ignored.append(name)
        elif plain in columns:
            raise InputError(
                "the header has this column twice", "Rename or remove one of them.", file=path, column=plain
            )
        else:
            columns[plain] = position
    for name in entity.required:
        if name not in columns:
            close = nearest(name, ignored)
            hint = f"Did you mean {close!r}? Rename it to {name}." if close else f"Add the column {name}."
            raise InputError(
                f"the required column is missing; columns found: {', '.join(header) or 'none'}",
                hint,
                file=path,
                column=name,
            )
    return TableFile(path, kind, tuple(header), columns, tuple(ignored), delimiter)


def require_columns(path: Path, names: list[str]) -> None:
    """Check the header of a published CSV file for ``names``, case ignored.

    Errors
    ------
    InputError : a column is missing; names the nearest one that is there.
    """
    with explained(path):
        if path.stat().st_size == 0:
            raise InputError("the file is empty (0 bytes)", "Download it again.", file=path)
    header = parquet_header(path) if path.suffix == ".parquet" else csv_header(path)[0]
    present = {name.strip().lower() for name in header}
    for name in names:
        if name.lower() not in present:
            close = nearest(name, header)
            raise InputError(
                f"the required column is missing; columns found: {', '.join(header)}",
                f"Did you mean {close!r}?" if close else "Check that this is the format you named.",
                file=path,
                column=name,
            )


def parquet_header(path: Path) -> list[str]:
    """Column names of a Parquet file.

    Errors
    ------
    InputError : not an intact Parquet file.
    """
    with explained(path):
        try:
            return list(pq.read_schema(path).names)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, (PermissionError, FileNotFoundError)):
                raise
            raise InputError(
                f"this is no intact Parquet file ({str(error).splitlines()[0]})", "Write it again.", file=path
            ) from error


def csv_header(path: Path) -> tuple[list[str], str]:
    """Column names and delimiter of a CSV file; the delimiter is the most frequent of :data:`DELIMITERS`.

    Errors
    ------
    InputError : no header line, not UTF-8, or line ends this reader does not know.
    """
    with explained(path), open_bytes(path) as file:
        line = file.readline(CHUNK_BYTES)
    if line.startswith(UTF16_MARKS) or b"\0" in line:
        raise InputError(
            "the text is UTF-16, not UTF-8",
            "Convert it, for example: iconv -f UTF-16 -t UTF-8 old.csv > new.csv (or save as 'CSV UTF-8').",
            file=path,
            row=0,
        )
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the header line is not UTF-8: byte 0x{line[error.start]:02x} at byte offset {error.start}",
            CONVERT,
            file=path,
            row=0,
        ) from error
    if "\r" in text:
        raise InputError(
            "lines end in a single carriage return (old Macintosh form)",
            "Save it with LF or CRLF line ends.",
            file=path,
        )
    if not text.strip():
        raise InputError(
            "the first line, which must be the header, is blank", "Put the header first.", file=path, row=0
        )
    delimiter = max(DELIMITERS, key=text.count)
    return next(csv.reader(io.StringIO(text), delimiter=delimiter)), delimiter
