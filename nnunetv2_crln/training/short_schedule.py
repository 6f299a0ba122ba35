"""Schedules that the plans may change: a short one for small machines, and what other protocols build on."""

from typing import Any, ClassVar

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
    # What the plans' key "short_schedule" may change, with the defaults.
    schedule_defaults: ClassVar[dict[str, Any]] = {
        "num_epochs": 20,
        "num_iterations_per_epoch": 50,
        "num_val_iterations_per_epoch": 2,
        "initial_lr": 0.05,
    }

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        # The schedule is a key of the plans, so that one class serves every length.
        planned = self.configuration_manager.configuration.get("short_schedule", {})  # type: ignore[attr-defined]
        for attribute, default in self.schedule_defaults.items():
            setattr(self, attribute, planned.get(attribute, default))
        self.initial_weights_seed = planned.get("seed", 0)

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
