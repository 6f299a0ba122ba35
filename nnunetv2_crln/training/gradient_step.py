"""Do one optimiser step: scale, average and clip the gradients, and skip the step if they are not finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nnunetv2_crln.training.loss_scale import SMALLEST_SCALE, update_scale
from nnunetv2_crln.training.skipped_steps import SkippedSteps
from nnunetv2_crln.utilities.processes import average_gradients

MAX_GRADIENT_NORM = 12
"""Limit of nnU-Net."""

MAX_SKIPPED_IN_A_ROW = 20


class GradientStep:
    """Apply the gradients of network and heads; skip and count steps with a non-finite gradient.

    Args:
        optimizer: Optimiser of both.
        network: Student; its own wrapper averages its gradients over processes.
        heads: Modules added to the network.
        device: Device of the gradients.
        print_line: Function that prints a line into the training's log.
        check_command: Command that looks for NaN in the images, for the message.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        network: nn.Module,
        heads: nn.Module,
        device: torch.device,
        print_line: Callable[[str], None],
        check_command: str = "nnUNetv2_crln_doctor",
    ) -> None:
        self.check_command = check_command
        self.optimizer = optimizer
        self.heads = heads
        self.modules: Sequence[nn.Module] = [
            module
            for module in (network, heads)
            if next(module.parameters(), None) is not None  # a mean teacher has no heads
        ]
        self._print_line = print_line
        self.skipped = SkippedSteps(device)
        self._skipped_before_epoch = 0
        self._of_epoch: list[tuple[Tensor, Sequence[str]]] = []
        self._suspects: Counter[str] = Counter()
        self._told_of_small_scale = False

    def __call__(self, loss: Tensor, scaler: torch.amp.GradScaler | None, step: int, cases: Sequence[str] = ()) -> None:
        """Do one step.

        Args:
            loss: Scalar tensor with its graph.
            scaler: Gradient scaler of half precision on CUDA, or None.
            step: Number of the step, for messages.
            cases: Cases of the batch, named if the step is skipped.

        Raises:
            RuntimeError: Too many steps in a row were skipped.
        """
        self.optimizer.zero_grad(set_to_none=True)
        (scaler.scale(loss) if scaler is not None else loss).backward()
        # Average before the scaler looks for infinities, so that all processes see those of each.
        average_gradients(self.heads)
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norms = [torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM) for module in self.modules]
        finite = self.skipped.count(norms)
        if scaler is not None:
            scaler.step(self.optimizer)  # checks the gradients itself; the count is read once per epoch
            update_scale(scaler, loss)
            # Gradients alone overflow now and then, when the scaler tries a larger scale: no case is to blame for that.
            self._of_epoch.append((torch.isfinite(loss.detach()), cases))
        elif finite:
            self.optimizer.step()
        else:
            self._suspects.update(set(cases))
            named = f" (cases of the batch: {', '.join(sorted(set(cases)))})" if cases else ""
            self._print_line(f"WARNING: non-finite gradient at iteration {step}; the step is skipped{named}")
            self.check(step)

    def check(self, step: int) -> int:
        """Return the number of steps skipped so far; this waits for the device.

        Args:
            step: Number of the last step, for the message.

        Raises:
            RuntimeError: Too many steps in a row were skipped.
        """
        total, in_a_row = self.skipped.read()
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise RuntimeError(
                f"{in_a_row} iterations in a row had a non-finite loss or gradient (last: {step}). "
                f"{self._named_suspects()}Look for NaN in the images ({self.check_command}) or lower the learning "
                "rate, then continue from the last checkpoint with --c."
            )
        return total

    def skipped_in_epoch(self, step: int) -> int:
        """Return the number of steps skipped since the last call; this waits for the device.

        Args:
            step: Number of the last step, for the message.

        Raises:
            RuntimeError: Too many steps in a row were skipped.
        """
        steps, self._of_epoch = self._of_epoch, []
        flags = torch.stack([finite for finite, _ in steps]).tolist() if steps else []
        bad = [cases for finite, (_, cases) in zip(flags, steps, strict=True) if not finite]
        for cases in bad:
            self._suspects.update(set(cases))
        total = self.check(step)
        if bad:
            self._print_line(f"WARNING: steps with a non-finite loss were skipped. {self._named_suspects()}".rstrip())
        in_epoch, self._skipped_before_epoch = total - self._skipped_before_epoch, total
        return in_epoch

    def tell_of_small_scale(self, scaler: torch.amp.GradScaler | None) -> None:
        """Warn once if the scale of the loss has become so small that gradients vanish; this waits for the device."""
        if scaler is None or self._told_of_small_scale or (scale := scaler.get_scale()) >= SMALLEST_SCALE:
            return
        self._told_of_small_scale = True
        self._print_line(
            f"WARNING: mixed precision: gradients overflowed so often that the loss is scaled by {scale:g}, expected "
            f"{SMALLEST_SCALE:g} or more. Small gradients become zero, and the training may learn nothing although it "
            f"goes on. Look for extreme values in the images ({self.check_command}) or lower the learning rate, then "
            "continue from the last checkpoint with --c, which scales as at the start."
        )

    def _named_suspects(self) -> str:
        """Return a sentence on the cases that most often took part in skipped steps."""
        most = [f"{case} ({times}×)" for case, times in self._suspects.most_common(5)]
        return f"Cases most often in skipped steps: {', '.join(most)}. " if most else ""

    def state_dict(self) -> dict[str, int]:
        """Return the counts, for the checkpoint."""
        return self.skipped.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        self.skipped.load_state_dict(state)
        self._skipped_before_epoch = state["total"]
