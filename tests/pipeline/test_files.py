import pytest

from pipeline.files import TEMPORARY, atomic_path, write_atomic


def test_text_and_bytes_arrive_and_folders_are_made(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "é.txt", "grüße")
    write_atomic(tmp_path / "bytes", b"\0\1")
    assert (tmp_path / "a" / "b" / "é.txt").read_bytes() == "grüße".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0\1"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.json"
    write_atomic(target, b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("the writer failed")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_final_name_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "video.mp4"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"x")
        assert temporary.parent == target.parent and temporary.name.startswith(".video.mp4.")
        assert temporary.name.endswith(TEMPORARY) and not target.exists()
    assert target.exists() and not temporary.exists()


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    with atomic_path(tmp_path / "x") as first, atomic_path(tmp_path / "x") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_errors_of_the_disk_name_the_final_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as full, atomic_path(tmp_path / "result"):
        raise OSError(28, "No space left on device")  # as a full disk says it while writing: without a name
    assert full.value.filename == str(tmp_path / "result") and full.value.errno == 28
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"")
    with pytest.raises(OSError, match="folder") as taken:
        write_atomic(tmp_path / "folder", b"x")
    assert taken.value.filename == str(tmp_path / "folder")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_atomic(tmp_path / "file" / "result", b"x")
