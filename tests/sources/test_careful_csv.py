"""The careful CSV reader: bulk and single lines agree, wherever the blocks are cut."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_assets.sources.careful_csv import read_batches
from ml_assets.sources.input_contract import ENTITIES
from ml_assets.sources.readers import probe

HEADER = "client_id,txn_date,amount,direction"


def read(folder: Path, body: bytes, block_bytes: int) -> tuple[list[tuple[object, ...]], list[tuple[int, str, str]]]:
    path = folder / "transactions.csv"
    path.write_bytes(HEADER.encode() + b"\n" + body)
    kept: list[tuple[object, ...]] = []
    rejects: list[tuple[int, str, str]] = []
    for batch in read_batches(probe(path, ENTITIES["transactions"]), block_bytes):
        for part in batch.kept:
            kept += [tuple(row.values()) for row in part.to_pylist()]
        rejects += [(r.row, r.value, r.reason) for r in batch.rejects]
    return sorted(kept, key=lambda row: row[-1]), rejects  # type: ignore[arg-type, return-value]


def test_plain_and_neatly_quoted_lines(tmp_path: Path) -> None:
    body = b'C1,a,1,in\r\n"C2","b","2","in"\r\nC3,"",3,\n"C4",d,4,"in"'
    assert read(tmp_path, body, 1 << 20) == (
        [("C1", "a", "1", "in", 1), ("C2", "b", "2", "in", 2), ("C3", "", "3", "", 3), ("C4", "d", "4", "in", 4)],
        [],
    )


def test_a_delimiter_inside_quotes_is_text(tmp_path: Path) -> None:
    """The line has four fields and three delimiters too many; the one after has one too few by the same token."""
    body = b'C1,a,1,in\n"C,2",b,2,in\n"C,3",b,3\n'
    kept, rejects = read(tmp_path, body, 1 << 20)
    assert kept == [("C1", "a", "1", "in", 1), ("C,2", "b", "2", "in", 2)]
    assert rejects == [(3, '"C,3",b,3', "line 4: 3 columns where the header has 4")]


def test_a_quote_inside_an_unquoted_value_is_text(tmp_path: Path) -> None:
    assert read(tmp_path, b'C"1,a,1,5" pipe\n', 1 << 20)[0] == [('C"1', "a", "1", '5" pipe', 1)]


def test_a_quote_open_for_too_long_is_broken(tmp_path: Path) -> None:
    body = b'"C1,a,1,in\n' + b"x\n" * 60 + b'end",a,1,in\n'
    kept, rejects = read(tmp_path, body, 1 << 20)
    assert kept == [('end"', "a", "1", "in", 62)]
    assert rejects[0] == (1, '"C1,a,1,in', "line 2: a double quote is opened and not closed")
    assert len(rejects) == 61


def test_a_stray_carriage_return_stays_in_its_value(tmp_path: Path) -> None:
    assert read(tmp_path, b"C1,a\rb,1,in\n", 1 << 20)[0] == [("C1", "a\rb", "1", "in", 1)]


LINE = st.one_of(
    st.just(b"C1,a,1,in"),
    st.just(b'"C1","a","1","in"'),
    st.lists(st.text(alphabet='ab", \té', max_size=3), min_size=1, max_size=6).map(lambda f: ",".join(f).encode()),
    st.binary(min_size=1, max_size=5).map(lambda b: b.replace(b"\n", b"")),
)


@given(lines=st.lists(LINE, max_size=14), size=st.integers(1, 60), end=st.sampled_from([b"\n", b"\r\n"]))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_make_no_difference_and_nothing_is_lost(
    tmp_path: Path, lines: list[bytes], size: int, end: bytes
) -> None:
    body = end.join(lines)
    whole = read(tmp_path, body, 1 << 20)
    assert read(tmp_path, body, size) == whole
    kept, rejects = whole
    numbers = sorted([row[-1] for row in kept] + [row for row, _, _ in rejects])  # type: ignore[type-var]
    assert numbers == list(range(1, len(numbers) + 1))
