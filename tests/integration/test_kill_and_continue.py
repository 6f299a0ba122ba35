"""kill -9 at named and at random moments, a full disk, and --c: the result is that of an uninterrupted training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import TRAINERS, environment_of
from tiny_training import NAME

SCRIPT = Path(__file__).parents[1] / "killable_training.py"
TRAINER = "nnUNetTrainer_CRLN_short"
SAVE_EVERY = 2
EPOCHS = 12
KILLED = -9

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and writes to /dev/full"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def outcome(preprocessed, tmp_path_factory):
    """Attempts, folder of the uninterrupted training and that of the interrupted one."""
    root = tmp_path_factory.mktemp("killed")
    shutil.copytree(preprocessed.preprocessed, root / "preprocessed")
    environment = environment_of(root, nnUNet_extTrainer=TRAINERS)
    plans_file = root / "preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(plans_file.read_text(encoding="utf-8"))
    configuration = plans["configurations"]["3d_fullres"]
    configuration["short_schedule"] = {
        "num_epochs": EPOCHS,
        "num_iterations_per_epoch": 3,
        "num_val_iterations_per_epoch": 1,
    }
    configuration["crln"] = {
        "seed": 1,
        "save_every": SAVE_EVERY,
        "rectification_start": 0,
        "unsupervised_start": 1,
        "num_anchors": 8,
        "num_negatives": 16,
        "monitor_every": 0,
        "overlay_every": 0,
        "quality_cases": 0,
    }
    plans_file.write_text(json.dumps(plans))
    job = {"dataset": NAME, "plans": "nnUNetPlans", "trainer": TRAINER, "random": 10, "seed": 0}
    (root / "job.json").write_text(json.dumps(job))
    # The script's children write their logs; an error in the script itself shows here.
    subprocess.run([sys.executable, str(SCRIPT), str(root)], env=environment, check=True, timeout=900)
    fold = Path(NAME) / f"{TRAINER}__nnUNetPlans__3d_fullres" / "fold_all"
    result = json.loads((root / "result.json").read_text())
    return {**result, "whole_folder": root / "whole" / fold, "folder": root / "parts" / fold, "parts": root / "parts"}


def test_twenty_kills_change_nothing(outcome):
    attempts = outcome["attempts"]
    log = (outcome["parts"] / "log.txt").read_text()
    assert outcome["whole"]["code"] == 0
    assert sum(attempt["code"] == KILLED for attempt in attempts) >= 20, attempts
    assert attempts[-1]["code"] == 0, log[-3000:]
    whole, parts = (
        torch.load(outcome[folder] / "checkpoint_final.pth", weights_only=True) for folder in ("whole_folder", "folder")
    )
    for timestamps in ("epoch_start_timestamps", "epoch_end_timestamps"):
        for checkpoint in (whole, parts):
            del checkpoint["logging"][timestamps]
    assert differences(whole, parts) == []


def test_at_most_one_save_interval_is_lost(outcome):
    finished = 0
    starts = []
    for line in (outcome["parts"] / "events.txt").read_text().splitlines():
        name, _, epoch = line.partition(" ")
        if name == "finished":
            finished = max(finished, int(epoch))
        elif name == "start":
            starts.append(int(epoch))
            assert int(epoch) >= finished - SAVE_EVERY
    assert starts[0] == 0
    assert len(set(starts)) > 3  # the kills were spread over the training
    assert starts == sorted(starts)


def test_a_full_disk_ends_the_training_with_a_message(outcome):
    full = next(attempt for attempt in outcome["attempts"] if attempt["moment"] == "full disk")
    assert full["code"] == 1
    log = (outcome["parts"] / "log.txt").read_text()
    assert "checkpoint_latest.pth cannot be written (No space left on device)" in log


def test_nothing_is_left_behind(outcome):
    assert all(attempt["workers_left"] == 0 for attempt in outcome["attempts"])
    names = {path.name for path in outcome["folder"].iterdir() if not path.name.startswith("training_log")}
    assert names == {path.name for path in outcome["whole_folder"].iterdir() if not path.name.startswith("training_")}
    assert "checkpoint_latest.pth" not in names


def differences(a, b, where: str = "") -> list[str]:
    """List the places where two nested structures are not bit-equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: {a.keys() ^ b.keys()}"]
        return [text for key in a for text in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [text for i, (x, y) in enumerate(zip(a, b)) for text in differences(x, y, f"{where}[{i}]")]
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    return [] if a == b or (a != a and b != b) else [f"{where}: {a} {b}"]
