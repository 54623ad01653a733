import pytest

from ml_assets.files import replace_file, replacing


def test_a_file_is_replaced_whole_and_its_folder_made(tmp_path):
    target = tmp_path / "new" / "page.html"
    assert replace_file(target, "one é") == target
    assert target.read_bytes() == "one é".encode()
    replace_file(target, b"two")
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_an_error_leaves_the_old_file_and_the_next_write_clears_what_was_left(tmp_path):
    target = tmp_path / "table.parquet"
    replace_file(target, b"old")

    def fail():
        with replacing(target) as partial:
            partial.write_bytes(b"half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert target.read_bytes() == b"old"
    assert partial_of(target).read_bytes() == b"half"
    with replacing(target) as partial:
        assert not partial.exists()
        partial.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert not partial_of(target).exists()


def partial_of(target):
    return target.with_suffix(".partial")
