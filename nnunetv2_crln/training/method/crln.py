"""Implement the method on tensors and modules, without knowledge of nnU-Net (Algorithm 1 of the paper)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_crln.modules.feature_taps import FeatureTaps, tapped_channels
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.class_labels import at_full_resolution
from nnunetv2_crln.training.method.finite_buffers import FiniteBuffers
from nnunetv2_crln.training.method.heads import Heads, build_rectifier
from nnunetv2_crln.training.method.known_labels import exclude_classes, impossible_classes
from nnunetv2_crln.training.method.objective import Objective, StudentPass
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.method.pseudo_labels import PseudoLabels
from nnunetv2_crln.training.method.strong_geometry import StrongGeometry
from nnunetv2_crln.training.method.teacher import EMATeacher, ema_decay, longest_decay
from nnunetv2_crln.utilities.processes import average_gradients
from nnunetv2_crln.utilities.wrapped_network import is_compiled, keep_batch_sizes_static, unwrap

Target = Tensor | list[Tensor]
"""Target of nnU-Net for the labelled patches: (L, 1, *grid), or a list with one per resolution of deep supervision."""


@dataclass(frozen=True)
class Batch:
    """Patches of one step.

    Attributes:
        labelled: Labelled patches, (L, channels, *grid).
        target: Labels of the labelled patches, (L, 1, *grid), or a list of them with deep supervision.
        weak: Unlabelled patches as the teacher sees them, (U, channels, *grid).
        strong: Unlabelled patches as the student sees them, (U, channels, *grid).
        geometry: Transformation from the geometry of the weak view to that of the strong view.
        known: True labels inside of the unlabelled patches, in the geometry of the weak view, (U, *grid), negative
            where there are none; None if nothing is known of any.
        annotated: Classes that are annotated in the case of each unlabelled patch, (U, C); None without partly
            annotated cases.
    """

    labelled: Tensor
    target: Target
    weak: Tensor
    strong: Tensor
    geometry: StrongGeometry
    known: Tensor | None = None
    annotated: Tensor | None = None

    @classmethod
    def on_device(cls, batch: dict[str, Any], device: torch.device) -> Batch:
        """Move a batch of the loader to a device without waiting for it.

        Args:
            batch: Batch of the loader: ``data``, ``target``, ``unlabelled_weak``, ``unlabelled_strong``, ``boxes``,
                ``flips`` and ``pasted``; optionally ``unlabelled_known`` and ``unlabelled_annotated``.
            device: Device of the network.

        Returns:
            The batch on the device.
        """

        def moved(value: Any) -> Any:
            if isinstance(value, list):
                return [moved(item) for item in value]
            return value.to(device, non_blocking=True)

        known, annotated = batch.get("unlabelled_known"), batch.get("unlabelled_annotated")
        return cls(
            known=None if known is None else moved(known),
            annotated=None if annotated is None else moved(annotated),
            labelled=moved(batch["data"]),
            target=moved(batch["target"]),
            weak=moved(batch["unlabelled_weak"]),
            strong=moved(batch["unlabelled_strong"]),
            geometry=StrongGeometry(moved(batch["boxes"]), batch["flips"], batch["pasted"]),
        )


@dataclass(frozen=True)
class Forward:
    """Results of the forward pass that the rest of the step needs.

    Attributes:
        losses: Unweighted terms by name, and their weighted sum as ``"loss"``; scalar tensors.
        monitored: Shares of confident voxels by name; scalar tensors.
        logits: Student's logits for the labelled patches, (L, C, *grid).
        labelled_map: Relationship map M of the labelled patches, (L, C, *grid); None without a dynamic interaction
            module.
        target: Labels of the labelled patches, (L, 1, *grid), or a list of them with deep supervision.
    """

    losses: dict[str, Tensor]
    monitored: dict[str, Tensor]
    logits: Tensor
    labelled_map: Tensor | None
    target: Target

    def detached(self) -> dict[str, Tensor]:
        """Return losses and monitored values without their graph, for the epoch's log."""
        return {**{name: loss.detach() for name, loss in self.losses.items()}, **self.monitored}


def _build_rectifier_optimizer(rectifier: nn.Module, settings: CRLNSettings) -> torch.optim.Optimizer | None:
    parameters = list(rectifier.parameters())
    if not parameters or not settings.dim:
        return None
    return torch.optim.SGD(parameters, settings.mu_learning_rate)


class CRLN:
    """Combine student, teacher, prototypes, rectification and losses of cooperative rectification learning (CRLN).

    The teacher is an exponential moving average (EMA) of the student; the prototypes belong to the dynamic interaction
    module (DIM).

    Args:
        network: Student, possibly compiled and distributed; its decoder features are read by hooks.
        objective: Losses of a step; it has the hyper-parameters and knows the kind of the labels.
        ndim: Number of spatial dimensions, 2 or 3.
        device: Device of the network.
        compile_teacher: Compile the teacher as well.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        ndim: int,
        device: torch.device,
        compile_teacher: bool = False,
    ) -> None:
        self.settings = settings = objective.settings
        self.objective = objective
        self.num_classes = num_classes = objective.labels.num_classes
        regions = objective.labels.are_regions
        self.network = network
        self.student = unwrap(network)
        channels = tapped_channels(self.student)
        # The teacher is copied before the taps are attached, because hooks are copied with a module.
        self.teacher = EMATeacher(self.student)
        self.teach_at_full_resolution()
        self.teacher_network: Any = torch.compile(self.teacher.module) if compile_teacher else self.teacher.module
        for compiled in (self.network, self.teacher_network):
            keep_batch_sizes_static(compiled)  # type: ignore[arg-type]
        self.student_taps = FeatureTaps(self.student)
        self.teacher_taps = FeatureTaps(self.teacher.module)
        self.heads = Heads(channels, num_classes, ndim, settings, regions).to(device)
        self.teacher_heads = EMATeacher(self.heads)
        self.rectifier = build_rectifier(num_classes, ndim, settings, regions).to(device)
        self.objective.state.to(device)
        if is_compiled(network):
            self.objective.expect_compiled_network()
        self.rectifier_optimizer = _build_rectifier_optimizer(self.rectifier, settings)
        self.finite_buffers = FiniteBuffers(self.student)
        self.longest_decay = settings.ema_decay if settings.ema_decay is not None else longest_decay(0, 0)

    # ---------------------------------------------------------------- one step

    def start(self, first_step: bool, iterations_per_epoch: int = 0, total_iterations: int = 0) -> None:
        """Prepare for training from the student's present weights.

        Args:
            first_step: True if nothing was trained yet: the teacher becomes a copy of the student, whose weights may
                have been loaded after the teacher was built (``-pretrained_weights``).
            iterations_per_epoch: Number of iterations per epoch; with the next argument it sets the teacher's decay.
            total_iterations: Number of iterations of the training.
        """
        if self.settings.ema_decay is None:
            self.longest_decay = longest_decay(iterations_per_epoch, total_iterations)
        if first_step:
            self.teacher.copy_from(self.student)
        self.finite_buffers = FiniteBuffers(self.student)

    def forward(self, batch: Batch, phase: Phase, step: int) -> Forward:
        """Compute the pseudo labels and all losses of one step, with one student pass and one or two of the teacher.

        Args:
            batch: Patches of the step.
            phase: Training phase of the step.
            step: Index of the step, from 0.

        Returns:
            Losses, and the tensors that :meth:`after_gradient_step` needs.
        """
        impossible = impossible_classes(batch.known, batch.annotated)
        pseudo, monitored = self.pseudo_labels(batch.weak, phase.rectifying, impossible)
        student, labelled_map = self.student_pass(batch.labelled, batch.strong)
        self.objective.learn_from(pseudo)
        pseudo = self.objective.labels.with_known(pseudo, batch.known)
        copying = self.settings.copy_paste_probability > 0
        true = self.objective.labels.of_target(batch.target) if copying else None
        pseudo = pseudo.warped_by(batch.geometry, true)
        losses = self.objective(student, labelled_map, self.heads, batch.target, pseudo, phase)
        monitored |= self.objective.measure_and_balance_gradients(losses, student, phase, step)
        return Forward(losses, monitored, student.labelled_logits, labelled_map, batch.target)

    @torch.no_grad()
    def pseudo_labels(
        self, weak: Tensor, rectifying: bool, impossible: Tensor | None = None
    ) -> tuple[PseudoLabels, dict[str, Tensor]]:
        """Let the teacher label the weak view (Eq. 1) and rectify its logits if rectification has started (Eq. 8).

        Args:
            weak: Unlabelled patches, (U, channels, *grid).
            rectifying: True if rectification has started.
            impossible: True for classes that a voxel cannot have, (U, C, *grid); None if all are possible.

        Returns:
            The pseudo labels, and the shares of confident voxels before and after rectification as scalar tensors.
        """
        logits = self.teacher_network(weak)
        features = self.teacher_taps.take()
        possible = exclude_classes(logits, impossible)
        if not rectifying:
            raw = self.objective.labels.of_logits(possible)
            confident = raw.weight(self.objective.threshold).mean()
            return raw, {"confident_raw": confident, "confident": confident}
        confident_raw = self.objective.share_of_confident(possible)
        heads: Any = self.teacher_heads.module
        teacher_map = heads.second_opinion(possible, features)
        logits, teacher_map = logits.float(), teacher_map.float()
        if self.rectifier.decides_by_probability:
            logits, teacher_map = exclude_classes(logits, impossible), exclude_classes(teacher_map, impossible)
        trust = self.rectifier.trust(logits, teacher_map)
        rectified = self.objective.labels.of_logits(
            exclude_classes(self.rectifier(logits, teacher_map), impossible), trust
        )
        confident = rectified.weight(self.objective.threshold).mean()
        return rectified, {"confident_raw": confident_raw, "confident": confident}

    def student_pass(self, labelled: Tensor, strong: Tensor) -> tuple[StudentPass, Tensor | None]:
        """Pass both kinds of patches through the student at once.

        Args:
            labelled: Labelled patches, (L, channels, *grid).
            strong: Strong view of the unlabelled patches, (U, channels, *grid).

        Returns:
            Outputs of the student, and the relationship map M of the labelled patches, (L, C, *grid), or None without
            a DIM.
        """
        outputs = self.network(torch.cat([labelled, strong]))
        student = StudentPass.split(outputs, self.student_taps.take(), len(labelled))
        features = student.features.map(lambda f: f[: len(labelled)])
        return student, self.heads.relationship_map(features, labelled.shape[2:], self.settings.detach_features)

    def after_gradient_step(self, forward: Forward, phase: Phase, step: int) -> None:
        """Train mu and update the teacher, once the student has been updated.

        Args:
            forward: Results of the step's forward pass.
            phase: Training phase of the step.
            step: Number of the step, from 0.
        """
        self.finite_buffers.repair()  # not before the backward pass, which reads them
        if phase.rectifying and forward.labelled_map is not None:
            self._update_rectifier(forward.logits, forward.labelled_map, forward.target)
        decay = ema_decay(step, self.longest_decay)
        self.teacher.update(self.student, decay)
        self.teacher_heads.update(self.heads, decay)

    def _update_rectifier(self, logits: Tensor, labelled_map: Tensor, target: Target) -> None:
        """Train mu alone on the rectified logits of the labelled patches (Eq. 16)."""
        if self.rectifier_optimizer is None:
            return
        labels = at_full_resolution(target)
        rectified = self.rectifier(logits.detach().float(), labelled_map.detach().float())
        self.rectifier_optimizer.zero_grad(set_to_none=True)
        self.objective.full_resolution(rectified, labels).backward()
        average_gradients(self.rectifier)
        for parameter in self.rectifier.parameters():
            if parameter.grad is not None:  # one bad batch must not spoil mu for good; no wait for the device
                parameter.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        self.rectifier_optimizer.step()
        self.rectifier.project()

    # ---------------------------------------------------------------- interface for the trainer

    @property
    def mu(self) -> float:
        """Correction parameter of Eq. 8; NaN if nothing is rectified by one. Reading it waits for the device."""
        mu = self.rectifier.correction_parameter() if self.settings.dim else None
        return float("nan") if mu is None else mu.item()

    @property
    def deploys_teacher(self) -> bool:
        """True if the teacher will be deployed, False for the student."""
        return self.settings.deploy == "teacher"

    def deployed(self) -> nn.Module:
        """Return the plain network that will be deployed."""
        return self.teacher.module if self.deploys_teacher else self.student

    def teach_at_full_resolution(self) -> None:
        """Switch off the teacher's deep supervision: pseudo labels need only its full-resolution output."""
        self.teacher.module.decoder.deep_supervision = False  # type: ignore[union-attr]

    @contextlib.contextmanager
    def ignoring_features(self, network: nn.Module) -> Iterator[None]:
        """Release the features of passes that are not training steps, within the ``with`` block.

        They are released after each pass: nothing takes them, and torch.compile would compile again for a network whose
        last features are still there.

        Args:
            network: Network, possibly compiled or distributed.
        """

        def forget(*_: Any) -> None:
            self.teacher_taps.clear()
            self.student_taps.clear()

        hook = network.register_forward_hook(forget)
        try:
            yield
        finally:
            hook.remove()
            forget()  # of passes that went round the wrapper

    def _parts(self) -> Sequence[tuple[str, nn.Module]]:
        return (
            ("student", self.student),
            ("teacher", self.teacher.module),
            ("heads", self.heads),
            ("teacher_heads", self.teacher_heads.module),
            ("rectifier", self.rectifier),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts, for the checkpoint."""
        optimizer = self.rectifier_optimizer.state_dict() if self.rectifier_optimizer else None
        state = {name: module.state_dict() for name, module in self._parts()}
        return {**state, "objective": self.objective.state.state_dict(), "rectifier_optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of :meth:`state_dict`; other keys are ignored."""
        for name, module in self._parts():
            module.load_state_dict(state[name])
        self.objective.load_state_dict(state.get("objective", {}))  # checkpoints of older versions lack it
        if self.rectifier_optimizer is not None:
            self.rectifier_optimizer.load_state_dict(state["rectifier_optimizer"])
            for group in self.rectifier_optimizer.param_groups:
                group["lr"] = self.settings.mu_learning_rate  # which may have changed since then
