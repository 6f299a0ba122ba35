"""One optimiser step: scale, average, clip, and leave out what is not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nnunetv2_crln.training.numerical_safety import SkippedSteps

MAX_GRADIENT_NORM = 12
"""nnU-Net's."""

MAX_SKIPPED_IN_A_ROW = 20


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module over the processes of a distributed training.

    nnU-Net's wrapper does so for its network alone; the added modules are averaged here.
    """
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not gradients or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])  # one collective for all of them
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class GradientStep:
    """Applies the gradients of network and heads; a step with a non-finite gradient is left out and counted.

    Args:
        optimizer: Of both.
        network: The student; its gradients are averaged over processes by its own wrapper.
        heads: The added modules.
        device: Of the gradients.
        warn: Prints a line into the training's log.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        network: nn.Module,
        heads: nn.Module,
        device: torch.device,
        warn: Callable[[str], None],
    ) -> None:
        self.optimizer = optimizer
        self.heads = heads
        self.modules: Sequence[nn.Module] = [
            module
            for module in (network, heads)
            if next(module.parameters(), None) is not None  # a mean teacher has no heads
        ]
        self.warn = warn
        self.skipped = SkippedSteps(device)
        self._skipped_before_epoch = 0

    def __call__(self, loss: Tensor, scaler: torch.amp.GradScaler | None, step: int) -> None:
        """Do one step.

        Args:
            loss: Scalar with its graph.
            scaler: Of half precision on CUDA, or None.
            step: Number of the step, for messages.

        Raises:
            RuntimeError: The last steps were all left out.
        """
        self.optimizer.zero_grad(set_to_none=True)
        (scaler.scale(loss) if scaler is not None else loss).backward()
        # Before the scaler looks for infinities: one process's must be seen by all.
        average_gradients(self.heads)
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norms = [torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM) for module in self.modules]
        finite = self.skipped.count(norms)
        if scaler is not None:
            scaler.step(self.optimizer)  # looks at the gradients itself; the count is read once an epoch
            scaler.update()
        elif finite:
            self.optimizer.step()
        else:
            self.warn(f"WARNING: non-finite gradient at iteration {step}; the step is left out")
            self.check(step)

    def check(self, step: int) -> int:
        """Return the number of steps left out so far; waits for the device.

        Raises:
            RuntimeError: The last steps were all left out.
        """
        total, in_a_row = self.skipped.read()
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise RuntimeError(
                f"{in_a_row} iterations in a row had a non-finite loss or gradient (last: {step}). "
                "Look for NaN in the images (nnUNetv2_crln_plan_and_preprocess --verify_dataset_integrity) or lower "
                "the learning rate, then continue from the last checkpoint with --c."
            )
        return total

    def skipped_in_epoch(self, step: int) -> int:
        """Return the number of steps left out since the last call; waits for the device.

        Raises:
            RuntimeError: The last steps were all left out.
        """
        total = self.check(step)
        in_epoch, self._skipped_before_epoch = total - self._skipped_before_epoch, total
        return in_epoch

    def state_dict(self) -> dict[str, int]:
        """Return the counts, for the checkpoint."""
        return self.skipped.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        self.skipped.load_state_dict(state)
        self._skipped_before_epoch = state["total"]
