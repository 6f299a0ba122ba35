"""Folders that appear as a whole: what a killed process leaves is removed, what another one writes is not."""

import multiprocessing
import os
import re
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_crln.utilities.growing_folder import growing_folder

NAME = "Dataset104_[Heart]"


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def fill(target, connection) -> None:
    """Begin to write the folder and wait to be killed."""
    with growing_folder(target) as folder:
        (folder / "half").touch()
        connection.send(folder)
        time.sleep(60)


@pytest.fixture
def writer(tmp_path):
    """Process that is writing the folder."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=fill, args=(tmp_path / NAME, theirs))
    process.start()
    process.folder = ours.recv()
    yield process
    process.kill()
    process.join()


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / NAME
    with growing_folder(target) as folder:
        (folder / "file").touch()
        assert not target.exists() and folder.parent == target.parent
    assert os.listdir(target) == ["file"] and os.listdir(target.parent) == [NAME]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), growing_folder(tmp_path / NAME) as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="uses fork")
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, writer):
    other = tmp_path / ".0123abcd_Dataset104_Other"
    other.mkdir()
    with growing_folder(tmp_path / NAME):
        assert (writer.folder / "half").exists(), "its process still writes it"
    (tmp_path / NAME).rmdir()
    writer.kill()
    writer.join()
    assert writer.folder.exists()
    with growing_folder(tmp_path / NAME):
        pass
    assert hidden(tmp_path) == [other.name]


def test_what_an_earlier_version_left_is_removed(tmp_path):
    (tmp_path / f".0123abcd_{NAME}").mkdir()
    with growing_folder(tmp_path / NAME):
        pass
    assert not hidden(tmp_path)


def test_folders_with_hidden_names_grow_here_or_under_a_lock_of_their_own():
    package = Path(__file__).parents[3] / "nnunetv2_crln"
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    users = {name for name, text in texts.items() if re.search(r"temporary_beside\(", text)}
    files = {"files.py", "move_file.py", "checkpoint.py"}
    assert users - files == {"growing_folder.py", "added_cases.py"}
