"""When the best network is saved."""

from types import SimpleNamespace

from nnunetv2_crln.training.hooks.resuming import Resuming


class Trainer(Resuming):
    """Remembers the score of each epoch at which it saved."""

    def __init__(self):
        self.scores, self.saved = [], []
        self.logger = SimpleNamespace(get_value=lambda name, step: {"ema_fg_dice": self.scores}[name][step])
        self._best_ema, self.output_folder = None, "fold_0"

    def print_to_log_file(self, *_, **__):
        pass

    def save_checkpoint(self, filename):
        self.saved.append((filename, self._best_ema))


def test_the_best_network_is_saved_whenever_the_score_rises_above_all_before():
    trainer = Trainer()
    for score in (0.5, 0.4, 0.45, 0.6, 0.6):
        trainer.scores.append(score)
        trainer.save_best()
    assert [score for _, score in trainer.saved] == [0.5, 0.6]
    assert {filename.replace("\\", "/") for filename, _ in trainer.saved} == {"fold_0/checkpoint_best.pth"}
