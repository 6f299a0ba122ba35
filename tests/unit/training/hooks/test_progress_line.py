"""What a training prints on the console and into its log file."""

import math
from types import SimpleNamespace

import pytest
import torch

from nnunetv2_crln.training.hooks import progress_line
from nnunetv2_crln.training.hooks.progress_line import ProgressLine, clock, epoch_line
from nnunetv2_crln.utilities import share_of_time
from nnunetv2_crln.utilities.durations import duration

LOGGING = {
    "train_losses": [1.0, 0.5],
    "val_losses": [1.1, 0.6],
    "mean_fg_dice": [0.2, 0.5],
    "ema_fg_dice": [0.2, 0.23],
    "dice_per_class_or_region": [[0.1, 0.3], [0.4, 0.6]],
    "epoch_start_timestamps": [0.0, 100.0],
    "crln_supervised": [0.9, 0.4],
    "crln_cps": [math.nan, 0.05],
}


class Logger:
    """nnU-Net's logger; drawing takes as long as the test says."""

    local_logger = SimpleNamespace(my_fantastic_logging=LOGGING)

    def __init__(self):
        self.plots, self.draw = [], lambda: None

    def plot_progress_png(self, folder):
        self.plots.append(folder)
        self.draw()


class StockTrainer:
    """nnU-Net's trainer as far as the mixin needs it."""

    local_rank, current_epoch, num_epochs = 0, 1, 4
    num_iterations_per_epoch, num_val_iterations_per_epoch = 250, 50
    log_file, device = "training_log.txt", torch.device("cpu")

    def __init__(self):
        self.console, self.file = [], []
        self.logger = Logger()

    def print_to_log_file(self, *args, also_print_to_console=True, add_timestamp=True):
        text = " ".join(map(str, args))
        self.file.append(text)
        if also_print_to_console:
            self.console.append(text)

    def print_plans(self):
        self.print_to_log_file("a hundred lines")

    def plot_network_architecture(self):
        self.print_to_log_file("Unable to plot network architecture:")

    def on_train_epoch_start(self):
        self.print_to_log_file("Epoch 1")

    def train_step(self, batch):
        return {"loss": batch}

    def on_epoch_end(self):
        self.logger.plot_progress_png("folder")
        self.print_to_log_file("train_loss 0.5")
        self.current_epoch += 1


class Trainer(ProgressLine, StockTrainer):
    pass


def test_an_epoch_is_one_line():
    line = epoch_line(LOGGING, 1, 4, 200.0)
    assert line.startswith("Epoch 2 of 4: loss 0.5000 (supervised 0.400, cps 0.050), validation loss 0.6000, ")
    assert "pseudo Dice 0.500 (0.400, 0.600), best so far, 1 min 40 s, 3 min 20 s left, until " in line


def test_terms_and_times_that_do_not_exist_are_left_out():
    stock = {key: values for key, values in LOGGING.items() if not key.startswith("crln_")}
    assert "(supervised" not in epoch_line(stock, 0, 2, 90.0) and "cps" not in epoch_line(LOGGING, 0, 2, 90.0)
    assert "left" not in epoch_line(LOGGING, 1, 2, 200.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (200000, "2 d 7 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_another_day_shows_its_date():
    assert len(clock(60.0, 0.0)) == len("00:01")
    assert "1970" not in clock(2e5, 0.0) and " Jan " in clock(2e5, 0.0)


def test_nnunets_lines_go_into_the_file_and_ours_on_the_console_too():
    trainer = Trainer()
    trainer.print_plans()
    trainer.plot_network_architecture()
    trainer.on_train_epoch_start()
    trainer.on_epoch_end()
    assert [text for text in trainer.file if text not in trainer.console] == [
        "a hundred lines",
        "Epoch 1",
        "train_loss 0.5",
    ]
    assert trainer.console[-1].startswith("Epoch 2 of 4: ")
    assert not any("Unable" in text for text in trainer.file)


def test_a_short_training_on_a_slow_computer_gets_no_advice(monkeypatch):
    trainer, seconds = Trainer(), iter([1000.0, 1800.0])
    monkeypatch.setattr(share_of_time.time, "time", lambda: next(seconds))
    for _ in range(10):
        trainer.train_step(1.0)
    assert len(trainer.console) == 2


def test_the_first_steps_tell_the_expected_end_and_how_to_shorten_it(monkeypatch):
    trainer, seconds = Trainer(), iter([1000.0, 1080.0])
    trainer.num_epochs = 100
    monkeypatch.setattr(progress_line.time, "time", lambda: next(seconds))
    for _ in range(30):
        assert trainer.train_step(1.0) == {"loss": 1.0}
    # 10 s a step, (250 + 50/3) steps an epoch, 99 epochs left
    assert trainer.console[0].startswith("About 3 d 1 h for 99 epochs, until ")
    assert "(10.0 s a step, 44 min 27 s an epoch)" in trainer.console[0]
    assert "GiB of RAM" in trainer.console[1]
    assert "--small" in trainer.console[2] and len(trainer.console) == 3


@pytest.fixture
def plotting(monkeypatch):
    """Make trainers whose clock stands still but for what a test adds to ``now``."""
    found = SimpleNamespace(now=100.0)

    def trainer_of(num_epochs):
        trainer = Trainer()
        trainer.current_epoch, trainer.num_epochs = 0, num_epochs
        return trainer

    found.trainer_of = trainer_of
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: found.now)
    monkeypatch.setattr(progress_line, "epoch_line", lambda *_: "")
    return found


def test_progress_png_takes_a_small_share_of_the_time_and_is_drawn_at_the_end(plotting):
    trainer = plotting.trainer_of(33)

    def draw():
        plotting.now += 1

    trainer.logger.draw = draw
    drawn = []
    for epoch in range(33):
        plotting.now += 4
        trainer.on_epoch_end()
        drawn += [epoch] * (len(trainer.logger.plots) - len(drawn))
    assert drawn == [0, 5, 10, 15, 20, 25, 30, 32]
    assert "plot_progress_png" not in vars(trainer.logger)


def test_with_long_epochs_every_epoch_is_drawn(plotting):
    trainer = plotting.trainer_of(9)
    for _ in range(5):
        plotting.now += 100
        trainer.on_epoch_end()
    assert len(trainer.logger.plots) == 5


@pytest.mark.parametrize(("encoding", "text"), [("ascii", "case (3?)"), ("utf-8", "case (3×)")])
def test_a_character_that_the_system_lacks_does_not_end_a_training(monkeypatch, encoding, text):
    monkeypatch.setattr(progress_line.locale, "getpreferredencoding", lambda _: encoding)
    trainer = Trainer()
    trainer.print_to_log_file("case (3×)")
    assert trainer.file == trainer.console == [text]
