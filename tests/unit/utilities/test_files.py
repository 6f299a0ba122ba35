"""Files are either old or new, never half."""

import os
import shutil
import stat

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.files import finished_file, refuse_to_replace, remove_leftovers, write_text


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "image.nii.gz"
    with finished_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists() and temporary.name.endswith("image.nii.gz")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["image.nii.gz"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), finished_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".0123abcd_a.pth", ".0123abcd_b.json", ".lock", "a.pth"):
        (tmp_path / name).touch()
    (tmp_path / "parts").mkdir()
    for name in (".0123abcd_c.png", ".original_c.png"):  # the second is a name that a user may give
        (tmp_path / "parts" / name).touch()
    assert remove_leftovers(tmp_path) == [".0123abcd_a.pth", ".0123abcd_b.json", "parts/.0123abcd_c.png"]
    assert sorted(os.listdir(tmp_path)) == [".lock", "a.pth", "parts"]
    assert os.listdir(tmp_path / "parts") == [".original_c.png"]


def test_text_makes_its_folder_and_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "new" / "a.csv", "a\r\nb\n")
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"a\r\nb\n"


def test_what_was_written_is_flushed_through_a_writable_file_because_windows_refuses_others(tmp_path, monkeypatch):
    flushed = []

    def fsync(descriptor: int) -> None:
        os.write(descriptor, b"")  # fails for a file that is open for reading alone
        flushed.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    # For root, every file is writable.
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & stat.S_IWUSR))
    source = tmp_path / "read_only.txt"
    source.write_text("x")
    source.chmod(0o444)
    with finished_file(tmp_path / "a.txt") as temporary:
        shutil.copy(source, temporary)
    assert (tmp_path / "a.txt").read_text() == "x" and len(flushed) == 1
    assert os.access(tmp_path / "a.txt", os.W_OK) and not os.access(source, os.W_OK)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_named_by_the_file_that_was_to_be_written(tmp_path):
    with (
        pytest.raises(OSError, match="No space left") as raised,
        finished_file(tmp_path / "a.txt"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_an_error_that_is_a_text_alone_keeps_it(tmp_path):
    with pytest.raises(OSError, match="from a library"), finished_file(tmp_path / "a.txt"):
        raise OSError("from a library")


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot write .*file/a\.txt .*choose another place"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_files_follow_the_umask_and_leave_nothing_behind(tmp_path):
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "table.md", "one\n")
        write_text(tmp_path / "table.md", "two\n")
    finally:
        os.umask(previous)
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "two\n"
    if os.name == "posix":
        assert (tmp_path / "table.md").stat().st_mode & 0o777 == 0o640


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_text(tmp_path / "summary.json", "old")

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        write_text(tmp_path / "summary.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text(encoding="utf-8") == "old"


def test_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="or choose another place"):
        write_text(tmp_path / "file" / "summary.json", "")


def test_only_what_the_same_command_has_written_is_replaced(tmp_path):
    path = tmp_path / "result.json"
    refuse_to_replace(path, "mark", "COMMAND")
    path.write_text("text with a mark")
    refuse_to_replace(path, "mark", "COMMAND")
    for content in (b"", b"other", b"\x1f\x8b\x00"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"result\.json exists and was not written by COMMAND.*-o"):
            refuse_to_replace(path, "mark", "COMMAND")
    path.unlink()
    path.symlink_to("gone")
    with pytest.raises(UserError, match="exists"):
        refuse_to_replace(path, "mark", "COMMAND")
