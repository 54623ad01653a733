"""The one error a person who brings data gets to see."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be read, said so that its owner can mend it.

    Attributes
    ----------
    reason : what is wrong, one sentence without a full stop.
    next_step : what to do about it, one sentence.
    file : path or name of the file, if one is to blame.
    row : record number in the file, header not counted, first is 1.
    column : column name.
    value : the offending text, shortened.

    >>> print(InputError("the column is missing", "Add it.", file="transactions.csv", column="amount"))
    transactions.csv, column amount: the column is missing. Add it.
    """

    def __init__(
        self,
        reason: str,
        next_step: str = "",
        *,
        file: Path | str | None = None,
        row: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        self.reason = reason
        self.next_step = next_step
        self.file = None if file is None else str(file)
        self.row = row
        self.column = column
        self.value = None if value is None else shorten(value)
        place = ", ".join(
            text
            for text in (
                self.file,
                None if row is None else f"row {row}",
                None if column is None else f"column {column}",
                None if self.value is None else f"value {self.value!r}",
            )
            if text
        )
        message = f"{place}: {reason}" if place else reason
        super().__init__(f"{message}. {next_step}".strip() if next_step else f"{message}.")


def shorten(text: str, length: int = 80) -> str:
    """First ``length`` characters, with an ellipsis where some were left out.

    >>> shorten("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"
