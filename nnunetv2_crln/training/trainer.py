"""nnUNetTrainer_CRLN: nnU-Net's lifecycle with an unlabelled stream, a teacher, rectification and CPS."""

import contextlib
import os
import secrets
from os.path import join
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.crossval_split import generate_crossval_split
from torch import autocast, nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.locking import FolderLock
from nnunetv2_crln.losses.partly_labelled import PartlyLabelledLoss
from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels
from nnunetv2_crln.reporting.curves import MONITORED, PREFIX, restore
from nnunetv2_crln.training import checkpoint as checkpoints
from nnunetv2_crln.training.fused_optimiser import skip_overflows_on_the_device
from nnunetv2_crln.training.heads import Heads, build_rectifier
from nnunetv2_crln.training.monitoring import Monitor, monitor_of
from nnunetv2_crln.training.numerical_safety import FiniteBuffers, SkippedSteps, finite_mean
from nnunetv2_crln.training.objective import Objective, PseudoLabels, StudentPass, relationship_map
from nnunetv2_crln.training.schedule import Phase, Schedule
from nnunetv2_crln.training.seeding import derive_seed, seed_everything
from nnunetv2_crln.training.settings import CRLNSettings
from nnunetv2_crln.training.teacher import EMATeacher, ema_decay
from nnunetv2_crln.unlabelled.atomic import write_json
from nnunetv2_crln.unlabelled.loader import SeededBatches, UnlabelledBatches, UnlabelledDataset, in_workers, num_workers
from nnunetv2_crln.unlabelled.paths import data_lock_file, unlabelled_folder
from nnunetv2_crln.unlabelled.planning import check_plans
from nnunetv2_crln.unlabelled.preprocessing import unlabelled_status
from nnunetv2_crln.unlabelled.views import StrongGeometry, repeatable

MAX_GRADIENT_NORM = 12  # nnU-Net's
MAX_SKIPPED_IN_A_ROW = 20
NUM_FOLDS = 5  # of the split that nnU-Net makes by itself
FOLD_LOCK = ".crln_training.lock"
CURVES = ("supervised", "relationship_map", "consistency", "cps", "mu", "confident_raw", "confident", "skipped_steps")
LOGGED = [f"{PREFIX}{curve}" for curve in (*CURVES, *MONITORED)]


def unwrap(module: nn.Module) -> nn.Module:
    """The module under DistributedDataParallel and torch.compile."""
    if isinstance(module, DistributedDataParallel):
        module = module.module
    return getattr(module, "_orig_mod", module)


class nnUNetTrainer_CRLN(nnUNetTrainer):
    """Cooperative rectification learning (Wang et al., Medical Image Analysis 2025) on any nnU-Net dataset.

    ``self.network`` is the student while training and the deployed network while validating, so that nnU-Net's
    online and final validation judge what ``nnUNetv2_predict`` will load.
    """

    # What a variant fixes of the settings, whatever the plans say.
    fixed_settings: ClassVar[dict[str, Any]] = {}
    # What a variant changes of nnU-Net's training attributes, e.g. {"num_epochs": 20}.
    schedule: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature
    ):
        check_plans(plans, _plans_file(plans), configuration)
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.is_cascaded:
            raise NotImplementedError(
                f"Configuration {configuration!r} is the second stage of a cascade. CRLN trains 2d, 3d_lowres and "
                "3d_fullres configurations; train 3d_fullres instead."
            )
        if self.label_manager.has_regions:
            raise NotImplementedError(
                "This dataset has region-based labels (lists in the labels of dataset.json). CRLN's pseudo labels "
                "assign one class to a voxel; use plain labels, or train with nnUNetTrainer."
            )
        self.settings = CRLNSettings.from_plans(self.configuration_manager.configuration, **self.fixed_settings)
        self.save_every = self.settings.save_every
        for attribute, value in self.schedule.items():
            setattr(self, attribute, value)
        self.seed = self._draw_seed() if self.settings.seed is None else self.settings.seed
        self.phases = Schedule.of(self.settings, total_iterations=0)  # until the length of the training is known
        self.step = 0
        self.skipped = SkippedSteps(self.device)
        self.skipped_before_epoch = 0
        self._best_ema: float | None = None
        self.locks = contextlib.ExitStack()
        self.monitor: Monitor | None = None  # of the first process alone
        restore(self.logger.local_logger.my_fantastic_logging, LOGGED, epochs=0)

    def _draw_seed(self) -> int:
        """The same in all processes of a distributed training: the added modules start from it."""
        drawn = [secrets.randbits(31)]
        if self.is_ddp:
            torch.distributed.broadcast_object_list(drawn, src=0)
        return drawn[0]

    # ---------------------------------------------------------------- building

    def initialize(self):
        seed_everything(derive_seed(self.seed, "weights", 0))
        try:
            super().initialize()
        except (ImportError, TypeError, KeyError) as error:
            architecture = self.configuration_manager.configuration.get("architecture")
            raise UserError(
                f"{_plans_file(self.plans_manager.plans)}, configuration {self.configuration_name!r}: this "
                f"architecture cannot be built ({error}): {architecture}. Correct it or make the plans again."
            ) from error
        student = unwrap(self.network)
        channels = tapped_channels(student)
        num_classes = self.label_manager.num_segmentation_heads
        ndim = len(self.configuration_manager.patch_size)
        # The teacher is copied before the taps are attached: hooks are copied with a module.
        self.teacher = EMATeacher(student)
        self._teach_at_full_resolution()
        self.teacher_network = torch.compile(self.teacher.module) if self._do_i_compile() else self.teacher.module
        self.student_taps = FeatureTaps(student)
        self.teacher_taps = FeatureTaps(self.teacher.module)
        self.heads = Heads(channels, num_classes, ndim, self.settings).to(self.device)
        self.teacher_heads = EMATeacher(self.heads)
        self.rectifier = build_rectifier(num_classes, ndim, self.settings).to(self.device)
        self._add_heads_to_optimisers()
        full_resolution = self.loss.loss if isinstance(self.loss, DeepSupervisionWrapper) else self.loss
        self.objective = Objective(self.settings, self.loss, full_resolution, num_classes)

    def _add_heads_to_optimisers(self) -> None:
        head_parameters = list(self.heads.parameters())
        if head_parameters:
            self.optimizer.add_param_group({"params": head_parameters, "lr": self.initial_lr})
        rectifier_parameters = list(self.rectifier.parameters())
        self.rectifier_optimizer = (
            torch.optim.SGD(rectifier_parameters, self.settings.mu_learning_rate)
            if rectifier_parameters and self.settings.dim
            else None
        )
        skip_overflows_on_the_device(self.optimizer)

    def _build_loss(self):
        loss = super()._build_loss()
        deep = isinstance(loss, DeepSupervisionWrapper)
        nnunet = loss.loss if deep else loss
        if type(nnunet) is not DC_and_CE_loss or nnunet.ignore_label is None or nnunet.ce.weight is not None:
            return loss
        ours = PartlyLabelledLoss(
            nnunet.dc, nnunet.ignore_label, nnunet.weight_ce, nnunet.weight_dice, nnunet.ce.label_smoothing
        )
        if not deep:
            return ours
        loss.loss = ours
        return loss

    def get_dataloaders(self):
        # nnU-Net builds its loaders and starts its workers in one method. With zero workers it only builds them; ours
        # then run them in the same number of workers, together with the unlabelled stream.
        with _environment("nnUNet_n_proc_DA", "0"):
            train, validation = super().get_dataloaders()
        labelled, validation = train.data_loader, validation.data_loader
        repeatable(labelled.transforms)
        dataset = self.unlabelled = self.unlabelled_dataset()
        unlabelled = UnlabelledBatches(
            labelled, dataset, self._unlabelled_batch_size(), self.label_manager, self.settings
        )
        self.print_to_log_file(
            f"CRLN: {len(labelled.indices)} labelled and {len(dataset.identifiers)} unlabelled cases, "
            f"{self.batch_size} + {unlabelled.loader.batch_size} patches in a batch, seed {self.seed}"
        )
        pin_memory = self.device.type == "cuda"
        self.num_cases = {
            "labelled": len(labelled.indices),
            "validation": len(validation.indices),
            "unlabelled": len(dataset.identifiers),
        }
        training = SeededBatches(labelled, unlabelled, self.seed, "train", self.step, num_workers(), self.local_rank)
        validated = self.current_epoch * self.num_val_iterations_per_epoch
        workers = num_workers(for_validation=True)
        online = SeededBatches(validation, None, self.seed, "validation", validated, workers, self.local_rank)
        return in_workers(training, pin_memory), in_workers(online, pin_memory)

    def unlabelled_dataset(self) -> UnlabelledDataset:
        """The preprocessed unlabelled cases.

        Raises:
            UserError: There are none, or one of them is also a labelled case.
        """
        status = unlabelled_status(self.preprocessed_dataset_folder_base, self.plans_manager, self.configuration_name)
        command = (
            f"nnUNetv2_crln_plan_and_preprocess -d {self.plans_manager.dataset_name[7:10]} -c {self.configuration_name}"
        )
        if status.stale or not status.ready:
            raise UserError(
                f"Of the unlabelled cases of {self.plans_manager.dataset_name}, {len(status.ready)} are preprocessed "
                f"for these plans and {len(status.stale)} for others (e.g. {', '.join(status.stale[:3]) or 'none'}). "
                f"Run: {command}"
            )
        if status.missing:
            self.print_to_log_file(
                f"WARNING: {len(status.missing)} unlabelled cases are not preprocessed and take no part, e.g. "
                f"{', '.join(status.missing[:3])}. To add them: {command}"
            )
        labelled = self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)
        both = sorted(set(status.ready) & set(labelled))
        if both:
            raise UserError(
                f"{len(both)} case(s) are both labelled and unlabelled, e.g. {', '.join(both[:5])}. Remove them from "
                f"imagesUl (or imagesTr) and run again: {command} --clean"
            )
        folder = unlabelled_folder(self.preprocessed_dataset_folder_base, self.configuration_manager.data_identifier)
        return UnlabelledDataset(str(folder), status.ready)

    def do_split(self):
        if self.dataset_class is None:
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        folds_file = join(self.preprocessed_dataset_folder_base, "splits_final.json")
        cases = self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)
        if self.fold != "all" and not os.path.isfile(folds_file):
            if len(cases) < NUM_FOLDS:
                raise UserError(
                    f"{self.plans_manager.dataset_name} has {len(cases)} labelled cases, too few for nnU-Net's "
                    f"{NUM_FOLDS}-fold cross-validation. Train with fold 'all', or write your own {folds_file}."
                )
            # As nnU-Net makes it, but in one step: trainings of other folds may start at this moment.
            write_json(generate_crossval_split(sorted(cases), seed=12345, n_splits=NUM_FOLDS), folds_file)
        try:
            training, validation = super().do_split()
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folds_file} is damaged ({type(error).__name__}: {error}). Expected a list of objects with 'train' "
                "and 'val'. Correct the file, or remove it to let nnU-Net make a new split."
            ) from error
        # Names are joined to the folder of the data: one of another folder must not be opened.
        if unknown := sorted({*training, *validation} - set(cases)):
            raise UserError(
                f"{folds_file}, fold {self.fold}, names {len(unknown)} case(s) that are not preprocessed in "
                f"{self.preprocessed_dataset_folder}: {', '.join(map(str, unknown[:5]))}. Correct the names, or remove "
                "the file to let nnU-Net make a new split."
            )
        return training, validation

    # ---------------------------------------------------------------- training

    def on_train_start(self):
        self._lock_fold()
        self._lock_data()
        self.phases = Schedule.of(self.settings, self.num_epochs * self.num_iterations_per_epoch)
        if not self.was_initialized:
            self.initialize()
        if self.step == 0:
            # -pretrained_weights are loaded into the student after it was built.
            self.teacher.copy_from(unwrap(self.network))
        self.finite_buffers = FiniteBuffers(unwrap(self.network))
        super().on_train_start()
        self.print_to_log_file(f"CRLN settings: {self.settings}, {self.phases}")
        if self.local_rank == 0:
            self.monitor = monitor_of(self)

    def _lock_fold(self) -> None:
        """Until :attr:`locks` are closed or the process ends, nobody else writes into the fold's folder."""
        if self.local_rank != 0:
            return
        os.makedirs(self.output_folder, exist_ok=True)
        lock = FolderLock(join(self.output_folder, FOLD_LOCK))
        lock.acquire(f"Another training writes into {self.output_folder}. Wait for its end, or train another fold.")
        self.locks.callback(lock.release)
        for name in checkpoints.remove_unfinished(self.output_folder):
            self.print_to_log_file(f"Removed {name}, which a killed training left half written")

    def _lock_data(self) -> None:
        """Keep preprocessing from deleting what this training reads."""
        if self.local_rank != 0:
            return
        lock = FolderLock(data_lock_file(self.preprocessed_dataset_folder), shared=True)
        lock.acquire(f"{self.preprocessed_dataset_folder} is being preprocessed. Wait for its end, then train.")
        self.locks.callback(lock.release)

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.heads.train()

    def train_step(self, batch: dict) -> dict:
        seed_everything(derive_seed(self.seed, "step", self.step, self.local_rank))
        labelled, target = self._to_device(batch["data"]), self._to_device(batch["target"])
        geometry = StrongGeometry(self._to_device(batch["boxes"]), batch["flips"])
        phase = self.phase
        with self._autocast():
            pseudo, monitored = self.pseudo_labels(self._to_device(batch["unlabelled_weak"]), phase.rectifying)
            pseudo = pseudo.under(geometry)
            student, student_map = self.student_pass(labelled, self._to_device(batch["unlabelled_strong"]))
            losses = self.objective(student, student_map, self.heads, target, pseudo, phase)
        self.apply_gradients(losses["loss"])
        self.finite_buffers.repair()  # not before the backward pass, which reads them
        if phase.rectifying and student_map is not None:
            self.update_rectifier(student.labelled_logits, student_map, target)
        decay = ema_decay(self.step, self.settings.ema_decay)
        self.teacher.update(unwrap(self.network), decay)
        self.teacher_heads.update(self.heads, decay)
        self.step += 1
        return {**{name: loss.detach() for name, loss in losses.items()}, **monitored}

    @property
    def phase(self) -> Phase:
        """Of the schedule."""
        return self.phases.at(self.step)

    @torch.no_grad()
    def pseudo_labels(self, weak: torch.Tensor, rectifying: bool) -> tuple[PseudoLabels, dict[str, torch.Tensor]]:
        """The teacher's (rectified) pseudo labels of the weak view, and shares of confident voxels."""
        logits = self.teacher_network(weak)
        features = self.teacher_taps.take()
        threshold = self.settings.confidence_threshold
        if not rectifying:
            raw = PseudoLabels.from_logits(logits)
            confident = (raw.confidence >= threshold).float().mean()
            return raw, {"confident_raw": confident, "confident": confident}
        # Not of PseudoLabels: the maximum alone costs a fortieth of the maximum and its class.
        confident_raw = (torch.softmax(logits.float(), 1).amax(1) >= threshold).float().mean()
        teacher_map = relationship_map(self.teacher_heads.module, features, logits.shape[2:], detach=True)
        rectified = PseudoLabels.from_logits(self.rectifier(logits.float(), teacher_map.float()))
        confident = (rectified.confidence >= threshold).float().mean()
        return rectified, {"confident_raw": confident_raw, "confident": confident}

    def student_pass(self, labelled: torch.Tensor, strong: torch.Tensor) -> tuple[StudentPass, torch.Tensor | None]:
        """One forward pass over both batches; M of the labelled patches."""
        outputs = self.network(torch.cat([labelled, strong]))
        student = StudentPass.split(outputs, self.student_taps.take(), len(labelled))
        if not self.settings.dim:
            return student, None
        return student, relationship_map(
            self.heads,
            student.features.map(lambda f: f[: len(labelled)]),
            labelled.shape[2:],
            self.settings.detach_features,
        )

    def apply_gradients(self, loss: torch.Tensor) -> None:
        """One optimiser step; a step with a non-finite gradient is left out and counted."""
        self.optimizer.zero_grad(set_to_none=True)
        scaler = self.grad_scaler
        (scaler.scale(loss) if scaler is not None else loss).backward()
        # Before the scaler looks for infinities: one process's must be seen by all.
        self._average_head_gradients(self.heads)
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norms = [
            torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
            for module in (self.network, self.heads)
            if next(module.parameters(), None) is not None  # a mean teacher has no heads
        ]
        finite = self.skipped.count(norms)
        if scaler is not None:
            scaler.step(self.optimizer)  # looks at the gradients itself; the count is read once an epoch
            scaler.update()
        elif finite:
            self.optimizer.step()
        else:
            self.print_to_log_file(f"WARNING: non-finite gradient at iteration {self.step}; the step is left out")
            self._stop_after_too_many_skipped_steps()

    def _stop_after_too_many_skipped_steps(self) -> int:
        """Steps left out so far.

        Raises:
            RuntimeError: All of the last ones were.
        """
        total, in_a_row = self.skipped.read()
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise RuntimeError(
                f"{in_a_row} iterations in a row had a non-finite loss or gradient (last: {self.step}). "
                "Look for NaN in the images (nnUNetv2_crln_plan_and_preprocess --verify_dataset_integrity) or lower "
                "the learning rate, then continue from the last checkpoint with --c."
            )
        return total

    def update_rectifier(
        self, logits: torch.Tensor, labelled_map: torch.Tensor, target: torch.Tensor | list[torch.Tensor]
    ) -> None:
        """Train mu alone on the rectified logits of the labelled patches (Eq. 16)."""
        if self.rectifier_optimizer is None:
            return
        labels = target[0] if isinstance(target, list) else target
        rectified = self.rectifier(logits.detach().float(), labelled_map.detach().float())
        self.rectifier_optimizer.zero_grad(set_to_none=True)
        self.objective.full_resolution(rectified, labels).backward()
        self._average_head_gradients(self.rectifier)
        for parameter in self.rectifier.parameters():
            if parameter.grad is not None:  # one bad batch must not end mu for good; no wait for the device
                parameter.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        self.rectifier_optimizer.step()
        self.rectifier.project()

    def _average_head_gradients(self, module: nn.Module) -> None:
        """Gradients of the added modules are averaged over processes; nnU-Net's wrapper covers the network alone."""
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        if not self.is_ddp or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # one collective for all of them
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def on_train_epoch_end(self, train_outputs: list[dict]):
        # The only place where the losses leave the device.
        names = list(train_outputs[0])
        values = torch.stack([torch.stack([o[name].float() for o in train_outputs]) for name in names], 1)
        means = finite_mean(values).tolist()  # steps that were left out have no say
        epoch = dict(zip(names, means, strict=True))
        super().on_train_epoch_end([{"loss": np.array(epoch["loss"])}])
        epoch["mu"] = self.rectifier.mu.item() if hasattr(self.rectifier, "mu") else float("nan")
        skipped = self._stop_after_too_many_skipped_steps()
        epoch["skipped_steps"] = skipped - self.skipped_before_epoch
        self.skipped_before_epoch = skipped
        if epoch["skipped_steps"]:
            self.print_to_log_file(f"WARNING: {epoch['skipped_steps']} steps of this epoch had a non-finite gradient")
        for curve in CURVES:
            self.logger.log(f"crln_{curve}", epoch.get(curve, float("nan")), self.current_epoch)
        self.print_to_log_file(
            "CRLN " + ", ".join(f"{c} {epoch[c]:.4g}" for c in CURVES if c in epoch and c != "skipped_steps")
        )

    def on_epoch_end(self):
        last = self.current_epoch == self.num_epochs - 1
        values = self.monitor.after_epoch(self.current_epoch, last, self.phase.rectifying) if self.monitor else {}
        for curve in MONITORED:
            value = values.get(curve, float("nan"))
            # nnU-Net's own log needs every epoch; a chart of NaN in W&B helps nobody.
            logger = self.logger if np.isfinite(value) else self.logger.local_logger
            logger.log(f"{PREFIX}{curve}", value, self.current_epoch)
        self._save_best()
        super().on_epoch_end()
        if self.monitor:
            self.monitor.draw_curves(self.logger.local_logger.my_fantastic_logging, last)

    def _save_best(self) -> None:
        """Save a new best network before nnU-Net saves the latest one, which then knows of it.

        In nnU-Net's order a continued training takes the best score from before that epoch and may replace the best
        network by a worse one.
        """
        score = self.logger.get_value("ema_fg_dice", step=-1)
        if self._best_ema is None or score > self._best_ema:
            self._best_ema = score
            self.print_to_log_file(f"Yayy! New best EMA pseudo Dice: {np.round(score, decimals=4)}")
            self.save_checkpoint(join(self.output_folder, "checkpoint_best.pth"))

    # ---------------------------------------------------------------- validation and deployment

    @contextlib.contextmanager
    def deployed_network(self):
        """``self.network`` is the network that will be deployed, for the length of the block."""
        student = self.network
        if self.settings.deploy == "teacher":
            self.network = self.teacher_network
        try:
            yield
        finally:
            self.network = student
            self._teach_at_full_resolution()

    def _teach_at_full_resolution(self) -> None:
        """Pseudo labels need the teacher's full-resolution output alone; validation asks it for all."""
        self.teacher.module.decoder.deep_supervision = False  # type: ignore[union-attr]

    def set_deep_supervision_enabled(self, enabled: bool):
        unwrap(self.network).decoder.deep_supervision = enabled  # type: ignore[union-attr]

    def validation_step(self, batch: dict) -> dict:
        with self.deployed_network():
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
            result = super().validation_step(batch)
        self.teacher_taps.clear()
        self.student_taps.clear()
        # In the precision in which checkpoints keep the log: a moving average continued from there must not differ.
        return {name: np.asarray(value, dtype=np.float64) for name, value in result.items()}

    def perform_actual_validation(self, save_probabilities: bool = False):
        self._lock_fold()
        with self.locks, self.deployed_network():
            super().perform_actual_validation(save_probabilities)

    # ---------------------------------------------------------------- saving and resuming

    def save_checkpoint(self, filename: str) -> None:
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        deployed = self.teacher.module if self.settings.deploy == "teacher" else unwrap(self.network)
        checkpoint = checkpoints.plain(
            {
                "network_weights": deployed.state_dict(),
                "optimizer_state": self.optimizer.state_dict(),
                "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
                "logging": self.logger.get_checkpoint(),
                "_best_ema": self._best_ema,
                "current_epoch": self.current_epoch + 1,
                "init_args": self.my_init_kwargs,
                "trainer_name": self.__class__.__name__,
                "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
                checkpoints.KEY: {
                    "student": unwrap(self.network).state_dict(),
                    "teacher": self.teacher.module.state_dict(),
                    "heads": self.heads.state_dict(),
                    "teacher_heads": self.teacher_heads.module.state_dict(),
                    "rectifier": self.rectifier.state_dict(),
                    "rectifier_optimizer": self.rectifier_optimizer.state_dict() if self.rectifier_optimizer else None,
                    "step": self.step,
                    "skipped": self.skipped.state_dict(),
                    "seed": self.seed,
                    "deploy": self.settings.deploy,
                },
            }
        )
        checkpoints.save(checkpoint, filename, keep_previous=os.path.basename(filename) == "checkpoint_latest.pth")

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        loaded = (
            checkpoints.load(filename_or_checkpoint, self.device)
            if isinstance(filename_or_checkpoint, str)
            else filename_or_checkpoint
        )
        if checkpoints.KEY not in loaded:
            raise UserError(
                f"{filename_or_checkpoint} was written by {loaded.get('trainer_name')} and has no CRLN state. To start "
                "from its weights use -pretrained_weights instead of --c."
            )
        if not self.was_initialized:
            self.initialize()
        state = loaded[checkpoints.KEY]
        self.seed = state["seed"]
        self.step = state["step"]
        if "skipped" in state:  # not in checkpoints of the first version
            self.skipped.load_state_dict(state["skipped"])
            self.skipped_before_epoch = state["skipped"]["total"]
        unwrap(self.network).load_state_dict(state["student"])
        self.teacher.module.load_state_dict(state["teacher"])
        self.heads.load_state_dict(state["heads"])
        self.teacher_heads.module.load_state_dict(state["teacher_heads"])
        self.rectifier.load_state_dict(state["rectifier"])
        if self.rectifier_optimizer is not None:
            self.rectifier_optimizer.load_state_dict(state["rectifier_optimizer"])
        self.optimizer.load_state_dict(loaded["optimizer_state"])
        skip_overflows_on_the_device(self.optimizer)
        if self.grad_scaler is not None and loaded["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(loaded["grad_scaler_state"])
        self.my_init_kwargs = loaded["init_args"]
        self.current_epoch = loaded["current_epoch"]
        restore(loaded["logging"], LOGGED, self.current_epoch)
        self.logger.load_checkpoint(loaded["logging"])
        self._best_ema = loaded["_best_ema"]
        self.inference_allowed_mirroring_axes = loaded["inference_allowed_mirroring_axes"]

    def on_train_end(self):
        super().on_train_end()
        previous = checkpoints.previous_file(join(self.output_folder, "checkpoint_latest.pth"))
        if self.local_rank == 0:
            previous.unlink(missing_ok=True)
        if self.monitor:
            self.monitor.after_training(self.current_epoch - 1, self.phase.rectifying)
        self.locks.close()

    # ---------------------------------------------------------------- small helpers

    def _unlabelled_batch_size(self) -> int:
        """Of this process: nnU-Net has divided the labelled batch over the processes already."""
        wanted = self.settings.unlabelled_batch_size
        if wanted is None:
            return self.batch_size
        return max(1, wanted // torch.distributed.get_world_size()) if self.is_ddp else wanted

    def _to_device(self, tensors):
        if isinstance(tensors, list):
            return [self._to_device(t) for t in tensors]
        return tensors.to(self.device, non_blocking=True)

    def _autocast(self):
        if self.device.type == "cuda":
            return autocast("cuda")
        if self.device.type == "cpu" and self.settings.cpu_bfloat16:
            return autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()


def _plans_file(plans: dict) -> str:
    """Where nnU-Net has these plans from; for messages."""
    folder = join(os.environ.get("nnUNet_preprocessed", ""), str(plans.get("dataset_name", "")))
    return join(folder, f"{plans.get('plans_name', 'plans')}.json")


@contextlib.contextmanager
def _environment(name: str, value: str):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
