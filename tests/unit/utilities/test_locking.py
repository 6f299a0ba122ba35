"""Locks of folders: who is refused, and that they end with their process."""

import errno
import multiprocessing
import os
import signal
import sys
import time

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities import locking
from nnunetv2_crln.utilities.locking import FolderLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses fork")
FORK = multiprocessing.get_context("fork") if sys.platform != "win32" else None


def hold(path, shared, connection) -> None:
    """Take the lock, fork a child that outlives this process, and wait to be killed."""
    lock = FolderLock(path, shared)
    lock.acquire("refused")
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    connection.send(child)
    time.sleep(60)


@pytest.fixture
def held(tmp_path):
    """Factory of processes that hold the lock."""
    running = []

    def start(shared: bool):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=hold, args=(tmp_path / "lock", shared, theirs))
        process.start()
        running.append((process, ours.recv()))
        return process

    yield start
    for process, child in running:
        process.kill()
        os.kill(child, signal.SIGKILL)


def acquire(tmp_path, shared: bool = False) -> FolderLock:
    lock = FolderLock(tmp_path / "lock", shared)
    lock.acquire("Somebody works here.")
    return lock


def test_the_second_is_refused_and_told_who_has_it(tmp_path, held):
    process = held(shared=False)
    with pytest.raises(UserError, match=rf"Somebody works here\. \(lock .*lock, process {process.pid} on .* since"):
        acquire(tmp_path)


@pytest.mark.parametrize("killed", [True, False])
def test_nobody_is_sent_to_a_process_that_has_ended(tmp_path, held, killed):
    """Whoever finds the named process gone would take the lock for a leftover, and delete the file of one in force."""
    if killed:
        former = held(shared=False)
        former.kill()
        former.join()
    else:
        acquire(tmp_path).release()
    held(shared=True)  # writes no note
    with pytest.raises(UserError, match="lock, holder unknown"):
        acquire(tmp_path)


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_a_shared_lock_and_one_held_alone_exclude_each_other(tmp_path, held, first, second):
    held(shared=first)
    with pytest.raises(UserError, match="Somebody works here"):
        acquire(tmp_path, second)


def test_shared_locks_do_not_exclude_each_other(tmp_path, held):
    held(shared=True)
    acquire(tmp_path, shared=True).release()


@pytest.mark.parametrize("shared", [False, True])
def test_a_killed_process_leaves_no_lock_behind_although_its_child_lives(tmp_path, held, shared):
    process = held(shared)
    process.kill()
    process.join()
    lock = acquire(tmp_path)
    assert f"process {os.getpid()} on" in lock.path.read_text()
    lock.release()


def test_released_locks_are_free_and_acquiring_twice_is_harmless(tmp_path):
    lock = acquire(tmp_path)
    lock.acquire("refused")
    lock.release()
    lock.release()
    with FolderLock(tmp_path / "lock") as other:
        other.acquire("refused")


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "lockf", unsupported)
    acquire(tmp_path)
    assert "WARNING" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_needs_no_shared_lock(tmp_path):
    lock = FolderLock(tmp_path / "missing" / "lock", shared=True)
    lock.acquire("refused")
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "missing" / "lock").acquire("refused")


def test_who_can_only_read_the_file_of_another_user_holds_a_shared_lock_all_the_same(tmp_path, monkeypatch):
    acquire(tmp_path).release()  # the other user's, who has made the file
    opened, modes = os.open, []

    def readable(path, mode, *arguments):
        modes.append(mode)
        if mode & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *arguments)

    monkeypatch.setattr(locking.os, "open", readable)
    lock = acquire(tmp_path, shared=True)
    monkeypatch.undo()
    assert os.O_RDONLY in modes
    planning = FORK.Process(target=lambda: sys.exit(refused(tmp_path)))
    planning.start()
    planning.join()
    assert planning.exitcode == 1
    lock.release()


def refused(tmp_path) -> int:
    try:
        acquire(tmp_path)
    except UserError:
        return 1
    return 0
