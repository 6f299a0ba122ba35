"""Two trainings of one fold, and preprocessing during a training; locks count between processes only."""

import contextlib
import subprocess
import sys

from nnunetv2_crln.layout import FOLD_LOCK, data_lock_file
from nnunetv2_crln.training.locks import lock_data, lock_fold

ELSEWHERE = """
import sys
from pathlib import Path
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.locking import FolderLock
try:
    FolderLock(Path(sys.argv[1]), shared=sys.argv[2] == "shared").acquire("taken")
except UserError:
    print("taken")
else:
    print("free")
"""


def seen_elsewhere(lock, shared: bool = False) -> str:
    command = [sys.executable, "-c", ELSEWHERE, str(lock), "shared" if shared else "alone"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_fold_is_locked_until_its_training_ends(tmp_path):
    fold = tmp_path / "fold_0"
    with contextlib.ExitStack() as locks:
        lock_fold(locks, fold, print)
        assert seen_elsewhere(fold / FOLD_LOCK) == "taken"
    assert seen_elsewhere(fold / FOLD_LOCK) == "free"


def test_unfinished_files_of_a_killed_training_are_removed_and_named(tmp_path):
    unfinished, kept = tmp_path / ".0123abcd_checkpoint_latest.pth", tmp_path / "checkpoint_best.pth"
    unfinished.touch()
    kept.touch()
    lines: list[str] = []
    with contextlib.ExitStack() as locks:
        lock_fold(locks, tmp_path, lines.append)
    assert kept.is_file() and not unfinished.exists()
    assert [unfinished.name in line for line in lines] == [True]


def test_trainings_share_the_data_and_preprocessing_waits(tmp_path):
    data = tmp_path / "plans_2d"
    data.mkdir()
    with contextlib.ExitStack() as locks:
        lock_data(locks, data)
        assert seen_elsewhere(data_lock_file(data), shared=True) == "free"
        assert seen_elsewhere(data_lock_file(data)) == "taken"
