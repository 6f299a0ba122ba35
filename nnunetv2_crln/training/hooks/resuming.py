"""Override nnU-Net's hooks to save and continue a training."""

from __future__ import annotations

import dataclasses
import os
from os.path import join
from typing import Any

import numpy as np

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CHECKPOINT_BEST, CHECKPOINT_LATEST, CHECKPOINT_STATE, PLANS_BLOCK
from nnunetv2_crln.training import checkpoint as checkpoints
from nnunetv2_crln.training.checkpoint_changes import (
    changed_architecture,
    changed_settings,
    describe,
    explaining_other_shapes,
    named_in_checkpoint,
    settings_of_checkpoint,
    with_defaults_of_checkpoint,
)
from nnunetv2_crln.training.epoch_log import complete_log, with_end_of_epoch
from nnunetv2_crln.training.fused_optimiser import skip_overflows_on_the_device
from nnunetv2_crln.training.gradient_step import GradientStep
from nnunetv2_crln.training.heads_optimiser import with_heads_in_last_group
from nnunetv2_crln.training.loss_scale import with_usable_scale
from nnunetv2_crln.training.method.crln import CRLN


class Resuming:
    """Mixin for nnU-Net's trainer: checkpoints that a crash cannot destroy and that resume bit for bit.

    ``network_weights``, which ``nnUNetv2_predict`` loads, is the deployed network. Student, teacher and all other state
    are stored under the plugin's own key.
    """

    method: CRLN
    gradient_step: GradientStep
    step: int
    seed: int
    pretrained: bool
    _best_ema: float | None

    def starts_trained(self: Any) -> bool:
        """Check whether the training began with other weights than those that the network was built with.

        Returns:
            What the first run found.
        """
        if self.step > 0:
            return self.pretrained
        # The teacher was copied when the network was built.
        return not self.method.teacher.equals(self.method.student)

    def save_best(self: Any) -> None:
        """Save a new best network before nnU-Net saves the latest checkpoint, which then contains the new score.

        In nnU-Net's order a continued training restores the best score from before that epoch and may replace the best
        network by a worse one.
        """
        score = self.logger.get_value("ema_fg_dice", step=-1)
        if self._best_ema is None or score > self._best_ema:
            self._best_ema = score
            text = f"Yayy! New best EMA pseudo Dice: {np.round(score, decimals=4)}"
            self.print_to_log_file(text, also_print_to_console=False)
            self.save_checkpoint(join(self.output_folder, CHECKPOINT_BEST))

    def save_checkpoint(self: Any, filename: str) -> None:
        """Write the deployed network and the state that a continued training needs, in one step."""
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        checkpoint = {
            "network_weights": self.method.deployed().state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
            "logging": with_end_of_epoch(self.logger.get_checkpoint(), self.current_epoch + 1),
            "_best_ema": self._best_ema,
            "current_epoch": self.current_epoch + 1,
            "init_args": self.my_init_kwargs,
            "trainer_name": self.__class__.__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            CHECKPOINT_STATE: {
                **self.method.state_dict(),
                "step": self.step,
                "skipped": self.gradient_step.state_dict(),
                "seed": self.seed,
                "pretrained": self.pretrained,
                "settings": dataclasses.asdict(self.settings),
                "named_settings": sorted(self.configuration_manager.configuration.get(PLANS_BLOCK, {})),
            },
        }
        latest = os.path.basename(filename) == CHECKPOINT_LATEST
        checkpoints.save(checkpoints.plain(checkpoint), filename, keep_previous=latest)

    def remove_spare_checkpoint(self: Any) -> None:
        """Remove the previous checkpoint, which is only needed as long as the training may be killed."""
        if self.local_rank == 0:
            checkpoints.previous_file(join(self.output_folder, CHECKPOINT_LATEST)).unlink(missing_ok=True)

    def load_checkpoint(self: Any, filename_or_checkpoint: dict | str) -> None:
        """Load the state of a training; nnU-Net's own method would load the teacher's weights into the student.

        Args:
            filename_or_checkpoint: Path of a checkpoint, or its content.

        Raises:
            UserError: The checkpoint cannot be read, another trainer wrote it, or it does not fit the plans any more.
        """
        given = filename_or_checkpoint
        where, loaded = ("the checkpoint", given) if isinstance(given, dict) else (str(given), {})
        if not isinstance(given, dict):
            loaded = checkpoints.load(given, self.device)
        if CHECKPOINT_STATE not in loaded:
            raise UserError(
                f"{where} was written by {loaded.get('trainer_name') or 'another program'} and has no CRLN state: "
                f"{type(self).__name__} cannot continue it. Continue it with its own trainer (-tr). To start from its "
                "weights, train in an empty fold with -pretrained_weights instead of --c."
            )
        before = settings_of_checkpoint(loaded, self.fixed_settings)
        if not self.was_initialized:
            if before is not None:
                present = self.configuration_manager.configuration.get(PLANS_BLOCK, {})
                named = {*named_in_checkpoint(loaded), *present}
                self.settings = with_defaults_of_checkpoint(self.settings, before, named)
            self.initialize()
        state = loaded[CHECKPOINT_STATE]
        changes = None if before is None else changed_settings(before, self.settings)
        architecture = changed_architecture(loaded["init_args"], self.my_init_kwargs)
        self.seed, self.step = state["seed"], state["step"]
        # Trainings of older versions had the unsupervised terms from the start, as pre-trained ones have.
        self.pretrained = state.get("pretrained", True)
        with explaining_other_shapes(where, changes, architecture):
            self.method.load_state_dict(state)
            self.gradient_step.load_state_dict(state["skipped"])
            self.optimizer.load_state_dict(with_heads_in_last_group(loaded["optimizer_state"], self.optimizer))
        if changes is None:
            self.print_to_log_file("CRLN: the settings of the checkpoint cannot be compared with the present ones")
        elif changes:
            if "seed" in changes:
                old, new = changes["seed"]
                changes["seed"] = old, f"{new} (not applied: a training keeps its seed)"
            self.print_to_log_file(f"CRLN: settings changed since the first run: {describe(changes)}")
        skip_overflows_on_the_device(self.optimizer)
        if self.grad_scaler is not None and loaded["grad_scaler_state"] is not None:
            initial = self.grad_scaler.get_scale()
            self.grad_scaler.load_state_dict(with_usable_scale(loaded["grad_scaler_state"], initial))
        self.my_init_kwargs = loaded["init_args"]
        self.current_epoch = loaded["current_epoch"]
        complete_log(loaded["logging"], self.current_epoch)
        self.logger.load_checkpoint(loaded["logging"])
        self._best_ema = loaded["_best_ema"]
        self.inference_allowed_mirroring_axes = loaded["inference_allowed_mirroring_axes"]
