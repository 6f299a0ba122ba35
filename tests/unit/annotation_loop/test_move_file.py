"""Files move to another disk as they do within one."""

import errno
import os

import pytest

from nnunetv2_crln.annotation_loop.move_file import move_file


@pytest.fixture
def folders(tmp_path):
    for name in ("old", "new", "far/away"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture(params=["one disk", "two disks"])
def disks(request):
    if request.param == "two disks":
        request.getfixturevalue("every_folder_is_a_disk")


def test_a_file_keeps_content_and_time(folders, disks):
    source, target = folders / "old" / "a", folders / "new" / "a"
    source.write_text("voxels")
    os.utime(source, ns=(10**18, 10**18))
    move_file(source, target)
    assert target.read_text() == "voxels" and target.stat().st_mtime_ns == 10**18
    assert not source.exists() and [path.name for path in target.parent.iterdir()] == ["a"]


@pytest.mark.parametrize("place", ["new", "far/away"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_leads_to_its_file_from_the_new_place(folders, disks, place, relative):
    (folders / "scan").write_text("voxels")
    (folders / "scan").chmod(0o400)
    source, target = folders / "old" / "a", folders / place / "a"
    source.symlink_to("../scan" if relative else folders / "scan")
    move_file(source, target)
    assert target.is_symlink() and target.read_text() == "voxels"
    assert os.path.isabs(os.readlink(target)) != relative
    assert (folders / "scan").stat().st_mode & 0o777 == 0o400, "the file of the user changed"
    assert not source.is_symlink() and [path.name for path in target.parent.iterdir()] == ["a"]


def test_a_failed_copy_leaves_the_file_where_it_was(folders, every_folder_is_a_disk, monkeypatch):
    source = folders / "old" / "a"
    source.write_text("voxels")
    monkeypatch.setattr("shutil.copy2", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        move_file(source, folders / "new" / "a")
    assert source.read_text() == "voxels" and not list((folders / "new").iterdir())


def test_another_error_is_not_hidden(folders):
    with pytest.raises(FileNotFoundError):
        move_file(folders / "old" / "none", folders / "new" / "none")
