"""Two trainings of one fold, and preprocessing during a training; locks count between processes only."""

import contextlib
import subprocess
import sys

from nnunetv2_crln.layout import FOLD_LOCK, data_lock_file
from nnunetv2_crln.training.locks import lock_data, lock_fold
from nnunetv2_crln.utilities.files import temporary_beside

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
    # Checkpoints, pictures and tables are all written under such a name first, some in folders of their own.
    names = ("checkpoint_latest.pth", "progress_crln.png", "crln_training.json", "crln_overlays/epoch_0001.png")
    unfinished = [temporary_beside(tmp_path / name) for name in names]
    kept = [tmp_path / name for name in (*names, ".hidden_by_the_user")]
    for path in (*unfinished, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    lines: list[str] = []
    with contextlib.ExitStack() as locks:
        lock_fold(locks, tmp_path, lines.append)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*kept, tmp_path / FOLD_LOCK}
    assert all(sum(path.name in line for line in lines) == 1 for path in unfinished)


def test_trainings_share_the_data_and_preprocessing_waits(tmp_path):
    data = tmp_path / "plans_2d"
    data.mkdir()
    with contextlib.ExitStack() as locks:
        lock_data(locks, data)
        assert seen_elsewhere(data_lock_file(data), shared=True) == "free"
        assert seen_elsewhere(data_lock_file(data)) == "taken"
