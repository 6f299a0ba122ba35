"""How far a training is, read from what it prints."""

import pytest

from nnunetv2_crln.comparison.training_progress import progress_of


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "…: Epoch 2 of 18: loss 0.5 (cps 0.1), pseudo Dice 0.512 (0.4, 0.6), 3 s, 2 min 9 s left, until 9",
            "epoch 2 of 18, pseudo Dice 0.512, 2 min 9 s left",
        ),
        ("…: Epoch 18 of 18: loss 0.5, pseudo Dice 0.612 (0.4, 0.6), 3.1 s", "epoch 18 of 18, pseudo Dice 0.612"),
        (
            "…: About 4 min 2 s for 18 epochs, until 09:30 (0.2 s a step",
            "about 4 min 2 s for 18 epochs, until 09:30",
        ),
        ("2026-01-01 12:00:00: Epoch 4 ", "epoch 5 of 20"),
        ("Epochs are counted", ""),
    ],
)
def test_progress_is_read_from_what_trainings_print(line, shown):
    assert progress_of(line, 20) == shown
