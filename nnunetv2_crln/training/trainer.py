"""Extend nnU-Net's training loop by unlabelled data, a teacher, rectification and Cooperative Positive Supervision."""

from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.layout import dataset_number
from nnunetv2_crln.preprocessed_dataset.labelled_status import require_labelled_data
from nnunetv2_crln.preprocessed_dataset.plans import check_plans
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training import checks
from nnunetv2_crln.training.dataloading.batches import cases_of
from nnunetv2_crln.training.derived_trainers import refuse_lost_methods, require_unlabelled_batches
from nnunetv2_crln.training.epoch_log import complete_log, log_losses, log_monitored, means_of_epoch
from nnunetv2_crln.training.fused_optimiser import skip_overflows_on_the_device
from nnunetv2_crln.training.gradient_step import GradientStep
from nnunetv2_crln.training.heads_optimiser import train_heads_too
from nnunetv2_crln.training.hooks.cpu_arithmetic import CPUArithmetic
from nnunetv2_crln.training.hooks.deployment import Deployment
from nnunetv2_crln.training.hooks.loading import Loading
from nnunetv2_crln.training.hooks.locking import Locking
from nnunetv2_crln.training.hooks.progress_line import ProgressLine
from nnunetv2_crln.training.hooks.refreshing import Refreshing
from nnunetv2_crln.training.hooks.resuming import Resuming
from nnunetv2_crln.training.method.class_labels import ClassLabels
from nnunetv2_crln.training.method.crln import CRLN, Batch
from nnunetv2_crln.training.method.objective import Objective
from nnunetv2_crln.training.method.phases import Phase, Phases
from nnunetv2_crln.training.method.region_labels import label_values
from nnunetv2_crln.training.method.region_objective import RegionObjective
from nnunetv2_crln.training.monitoring.build import build_monitor
from nnunetv2_crln.training.monitoring.facts import refuse_lost_start, write_facts
from nnunetv2_crln.training.monitoring.monitor import Monitor
from nnunetv2_crln.training.monitoring.patch_teacher import PatchTeacher
from nnunetv2_crln.training.partly_annotated import label_manager_of
from nnunetv2_crln.training.supervised_loss import build_pseudo_label_loss, full_resolution_loss, replace_waiting_loss
from nnunetv2_crln.training.unused_layers import freezing_unused_layers
from nnunetv2_crln.utilities.advice import command_line
from nnunetv2_crln.utilities.seeding import derive_seed, draw_common_seed, seed_everything


# Refreshing removes superseded refreshes after a checkpoint is written, so it comes before Resuming, which writes it.
class nnUNetTrainer_CRLN(
    Deployment, Loading, Refreshing, Resuming, ProgressLine, Locking, CPUArithmetic, nnUNetTrainer
):
    """Train with cooperative rectification learning (Wang et al., Medical Image Analysis 2025) on any nnU-Net dataset.

    ``self.network`` is the student during training and the deployed network during validation, so that nnU-Net's
    validation evaluates what ``nnUNetv2_predict`` will load. The constructor is nnU-Net's.
    """

    network: Any
    loss: Any
    dataset_class: Any
    fixed_settings: ClassVar[dict[str, Any]] = {}  # settings that a variant fixes, whatever the plans say
    training_attributes: ClassVar[dict[str, Any]] = {}  # attributes that a variant changes, e.g. {"num_epochs": 20}

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        check_plans(plans, checks.plans_file(plans), configuration)
        self.continued = plans.get("continue_training", False)  # nnU-Net's constructor removes the entry
        checks.refuse_cascade(plans, configuration)
        refuse_lost_methods(type(self), nnUNetTrainer_CRLN)
        super().__init__(plans, configuration, fold, dataset_json, device)
        # After validating 3d_lowres, nnU-Net would write predictions for a second stage that cannot be trained here.
        self.configuration_manager.configuration.pop("next_stage", None)
        self.label_manager = label_manager_of(self.dataset_json, self.plans_manager)
        self.settings = CRLNSettings.from_plans(self.configuration_manager.configuration, **self.fixed_settings)
        self.save_every = self.settings.save_every
        for attribute, value in self.training_attributes.items():
            setattr(self, attribute, value)
        self.seed = draw_common_seed() if self.settings.seed is None else self.settings.seed
        self.initial_weights_seed = self.seed
        self.phases = Phases.of(self.settings, total_iterations=0)  # until the length of the training is known
        self.step, self.pretrained = 0, False
        self._best_ema: float | None = None
        self.monitor: Monitor | None = None  # only the first process has one
        complete_log(self.logger.local_logger.my_fantastic_logging, epochs=0)

    @property
    def phase(self) -> Phase:
        """Current training phase: whether rectification has started, and the ramp-up factor."""
        return self.phases.at(self.step)

    # ---------------------------------------------------------------- building

    def initialize(self) -> None:
        """Build nnU-Net's network, loss and optimiser, then the method around them."""
        require_labelled_data(self.preprocessed_dataset_folder, self.plans_manager, self.configuration_name)
        seed_everything(derive_seed(self.initial_weights_seed, "weights", 0))
        with checks.explaining_architecture_errors(self), freezing_unused_layers(self):
            super().initialize()
        # Not in _build_loss: a derived trainer's may change what nnU-Net's has built.
        self.loss = replace_waiting_loss(self.loss)
        ndim = len(self.configuration_manager.patch_size)
        self.method = CRLN(self.network, self._build_objective(), ndim, self.device, self._do_i_compile())
        self.gradient_step = GradientStep(
            self.optimizer,
            self.network,
            self.method.heads,
            self.device,
            self.print_to_log_file,
            command_line("nnUNetv2_crln_doctor", "-d", dataset_number(self.plans_manager.dataset_name)),
        )
        self.adopt_optimizer()

    def _build_objective(self) -> Objective:
        """Build the losses of a step for the kind of labels that the dataset has."""
        has_regions = self.label_manager.has_regions
        pseudo_label_loss = build_pseudo_label_loss(self.loss, has_regions, self.settings.pseudo_label_loss)
        if pseudo_label_loss is None and self.settings.pseudo_label_loss == "auto":
            self.print_to_log_file(
                f"{type(self).__name__} does not have nnU-Net's own loss: pseudo labels go through cross-entropy alone."
            )
        full_resolution = full_resolution_loss(self.loss, self.enable_deep_supervision)
        if has_regions:
            regions = label_values(self.label_manager.foreground_regions)
            return RegionObjective(self.settings, self.loss, full_resolution, regions, pseudo_label_loss)
        labels = ClassLabels(self.label_manager.num_segmentation_heads)
        return Objective(self.settings, self.loss, full_resolution, labels, pseudo_label_loss)

    def adopt_optimizer(self) -> None:
        """Let the present optimiser train the added modules, too, and do the steps."""
        train_heads_too(self.optimizer, self.method.heads.parameters())
        skip_overflows_on_the_device(self.optimizer)
        self.gradient_step.optimizer = self.optimizer

    # ---------------------------------------------------------------- training

    def on_train_start(self) -> None:
        """Lock the fold and the data, start the method from the present weights, and record the settings."""
        if self.continued and self.current_epoch == 0:
            refuse_lost_start(self.output_folder)
        self.lock_folders()
        total_iterations = self.num_epochs * self.num_iterations_per_epoch
        if not self.was_initialized:
            self.initialize()
        self.pretrained = self.starts_trained()
        self.phases = Phases.of(self.settings, total_iterations, self.pretrained)
        self.method.start(self.step == 0, self.num_iterations_per_epoch, total_iterations)
        super().on_train_start()
        require_unlabelled_batches(self)
        self.print_to_log_file(f"CRLN settings: {self.settings}, {self.phases}", also_print_to_console=False)
        if self.local_rank == 0:
            write_facts(
                self.output_folder,
                self.settings,
                self.device,
                trainer=type(self).__name__,
                num_cases=self.num_cases,
                epochs=self.num_epochs,
                iterations_per_epoch=self.num_iterations_per_epoch,
                labelled_patches=self.configuration_manager.batch_size,
                unlabelled_patches=self.unlabelled_patches,
                seed=self.seed,
                pretrained=self.pretrained,
            )
            self.monitor = self.build_monitor()

    def build_monitor(self) -> Monitor:
        """Build the monitor of the unlabelled cases."""
        return build_monitor(
            PatchTeacher(self.method, self.device, self.autocast, self.label_manager),
            self.monitored,
            self.dataset_class(self.preprocessed_dataset_folder),
            self.plans_manager,
            self.configuration_name,
            self.dataset_json,
            self.settings,
            self.output_folder,
            self.seed,
            self.print_to_log_file,
        )

    def on_train_epoch_start(self) -> None:
        """Switch the added modules to training mode as well."""
        super().on_train_epoch_start()
        self.method.heads.train()

    def train_step(self, batch: dict) -> dict:
        """Do one step of Algorithm 1; return its losses, which stay on the device."""
        seed_everything(derive_seed(self.seed, "step", self.step, self.local_rank))
        phase = self.phase
        if self.gradient_step.optimizer is not self.optimizer:  # replaced between two stages of a training
            self.adopt_optimizer()
        with self.autocast():
            forward = self.method.forward(Batch.on_device(batch, self.device), phase, self.step)
        self.gradient_step(forward.losses["loss"], self.grad_scaler, self.step, cases_of(batch))
        self.method.after_gradient_step(forward, phase, self.step)
        self.step += 1
        self.after_step()
        return forward.detached()

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the mean losses of the epoch, those of nnU-Net and of CRLN."""
        self.tell_of_late_batches()
        means = means_of_epoch(train_outputs)
        super().on_train_epoch_end([{"loss": np.array(means["loss"])}])
        means |= {"mu": self.method.mu, "skipped_steps": self.gradient_step.skipped_in_epoch(self.step)}
        log_losses(self.logger, self.current_epoch, means, self.print_to_log_file)
        self.gradient_step.tell_of_small_scale(self.grad_scaler)

    def on_epoch_end(self) -> None:
        """Monitor the pseudo labels, and save the best and the latest checkpoint."""
        last = self.current_epoch == self.num_epochs - 1
        values = self.monitor.after_epoch(self.current_epoch, last, self.phase.rectifying) if self.monitor else {}
        log_monitored(self.logger, self.current_epoch, values)
        # A derived trainer may have an on_train_epoch_end without ours; nnU-Net draws as far as every curve goes.
        complete_log(self.logger.local_logger.my_fantastic_logging, self.current_epoch + 1)
        self.save_best()
        super().on_epoch_end()
        if self.monitor:
            self.monitor.draw_curves(self.logger.local_logger.my_fantastic_logging, last)

    def on_train_end(self) -> None:
        """Rank the unlabelled cases, remove the spare checkpoint, and release the locks."""
        super().on_train_end()
        self.remove_spare_checkpoint()
        if self.monitor:
            self.monitor.after_training(self.current_epoch - 1, self.phase.rectifying, others_wait=self.is_ddp)
        self.release_folders()
