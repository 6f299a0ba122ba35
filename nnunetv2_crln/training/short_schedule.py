"""A schedule of a few thousand iterations, for demonstrations and benchmarks on small machines."""

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.training.seeding import derive_seed, seed_everything


class ShortSchedule:
    """Mixin for any nnU-Net trainer: optimiser and lengths that converge within a few thousand iterations.

    nnU-Net's momentum of 0.99 remembers a hundred iterations and needs more than a thousand before it predicts any
    foreground in a small network. With 0.9 and a learning rate of 0.05 every method starts to learn at once, so that
    a comparison of methods is not one of warm-ups.
    """

    momentum = 0.9

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        # The schedule is a key of the plans, so that one class serves every length.
        short = plans["configurations"][configuration].get("short_schedule", {})
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        self.num_epochs = short.get("num_epochs", 20)
        self.num_iterations_per_epoch = short.get("num_iterations_per_epoch", 50)
        self.num_val_iterations_per_epoch = short.get("num_val_iterations_per_epoch", 2)
        self.initial_lr = short.get("initial_lr", 0.05)
        self.initial_weights_seed = short.get("seed", 0)

    def initialize(self):
        # Trainers that seed themselves do so again with the same seed: all methods start from the same weights.
        seed_everything(derive_seed(self.initial_weights_seed, "weights", 0))
        super().initialize()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=True,
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)


class nnUNetTrainer_demo(ShortSchedule, nnUNetTrainer):
    """Supervised-only baseline of the demo and the benchmarks."""
